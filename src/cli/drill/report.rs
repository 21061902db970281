//! What came up, image by image.

use std::io::{self, Write};

use serde::Serialize;

use super::args::DrillFormat;
use crate::{
    model::{printable, printable_json},
    restore::{ReportedImage, Runtime},
};

/// What became of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Came {
    /// It came from the mirror.
    Up,
    /// The restore covers it, and it did not come.
    Failed,
    /// The restore does not cover it, and it did not come.
    Uncovered,
    /// The restore does not cover it, and something came nevertheless.
    Unexpected,
}

impl Came {
    pub fn new(is_covered: bool, came: bool) -> Self {
        match (is_covered, came) {
            (true, true) => Self::Up,
            (true, false) => Self::Failed,
            (false, false) => Self::Uncovered,
            (false, true) => Self::Unexpected,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Failed => "failed",
            Self::Uncovered => "not covered",
            Self::Unexpected => "unexpected",
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Page<'p> {
    api_version: &'static str,
    kind: &'static str,
    runtime: Runtime,
    tool: &'p str,
    summary: Counts,
    images: &'p [Pulled],
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Counts {
    images: usize,
    up: usize,
    failed: usize,
    uncovered: usize,
    unexpected: usize,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Pulled {
    image: String,
    came: Came,
    mirror: Option<String>,
    reason: Option<String>,
    workloads: Vec<String>,
}

/// Prints each image as it is known, and the counts at the end.
pub struct Progress {
    format: DrillFormat,
    tool: String,
    runtime: Runtime,
    images: Vec<Pulled>,
}

impl Progress {
    pub fn new(format: DrillFormat, tool: String, runtime: Runtime) -> Self {
        Self { format, tool, runtime, images: Vec::new() }
    }

    pub fn begin(&self) -> io::Result<()> {
        self.print_text(|out| writeln!(out, "{}; only the mirror can be reached", self.tool))
    }

    pub fn add(&mut self, image: &ReportedImage, came: Came, error: Option<String>) -> io::Result<()> {
        let reason = match came {
            Came::Up => None,
            Came::Failed => error,
            Came::Uncovered => image.reason.clone().or(error),
            Came::Unexpected => {
                Some("the restore does not cover it, and still something was pulled: are the files its own?".to_owned())
            }
        };
        self.print_text(|out| {
            write!(out, "{:11}  {}", came.word(), printable(&image.image))?;
            match (&reason, image.workloads.first()) {
                (Some(reason), Some(workload)) => writeln!(out, "  ({}): {}", printable(workload), printable(reason)),
                (Some(reason), None) => writeln!(out, ": {}", printable(reason)),
                (None, _) => writeln!(out),
            }
        })?;
        self.images.push(Pulled {
            image: image.image.clone(),
            came,
            mirror: image.mirror.clone(),
            reason,
            workloads: image.workloads.clone(),
        });
        Ok(())
    }

    pub fn end(&self) -> io::Result<()> {
        let counts = self.counts();
        match self.format {
            DrillFormat::Text => self.print_text(|out| {
                let Counts { images, up, failed, uncovered, unexpected } = counts;
                writeln!(
                    out,
                    "{images} images: {up} came up, {failed} failed, {uncovered} not covered, {unexpected} unexpected"
                )
            }),
            DrillFormat::Json => {
                let page = Page {
                    api_version: "k8s-copycat/v1",
                    kind: "DrillReport",
                    runtime: self.runtime,
                    tool: &self.tool,
                    summary: counts,
                    images: &self.images,
                };
                print(|out| writeln!(out, "{}", printable_json(&page)?))
            }
        }
    }

    pub fn has_failed(&self, is_strict: bool) -> bool {
        let Counts { failed, uncovered, unexpected, .. } = self.counts();
        failed + unexpected > 0 || (is_strict && uncovered > 0)
    }

    fn counts(&self) -> Counts {
        let count = |came| self.images.iter().filter(|pulled| pulled.came == came).count();
        Counts {
            images: self.images.len(),
            up: count(Came::Up),
            failed: count(Came::Failed),
            uncovered: count(Came::Uncovered),
            unexpected: count(Came::Unexpected),
        }
    }

    fn print_text(&self, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
        if self.format == DrillFormat::Text { print(write) } else { Ok(()) }
    }
}

fn print(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match write(&mut out).and_then(|()| out.flush()) {
        // The reader may need only the first lines.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}
