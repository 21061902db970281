//! `verify`: looks whether the targets have everything of every image; changes nothing.

mod args;
mod document;
mod junit;
mod progress_file;
mod text;

use std::{
    io::{self, IsTerminal as _, Write as _},
    process::ExitCode,
    sync::Arc,
};

use super::{CommandError, build, collect, terminal};
use crate::{
    config::Config,
    mirror::{DeepReading, DesiredImage, Verifier},
    model::{Verdict, VerifiedImage, Wholeness},
};

pub use args::{VerifyArgs, VerifyFormat};
pub use progress_file::ProgressFileError;

/// An image that can't be verified, because the policy has no decision.
pub struct UndecidedUse {
    pub image: String,
    pub workload: String,
    pub reason: String,
}

/// Everything that a verification found.
pub struct Verified {
    pub images: Vec<VerifiedImage>,
    pub undecided: Vec<UndecidedUse>,
    /// The budget of bytes was too small to read all blobs.
    pub was_cut: bool,
}

impl Verified {
    fn count(&self, wholeness: Wholeness) -> usize {
        self.images.iter().filter(|image| image.wholeness == wholeness).count()
    }
}

/// Verifies the images in the cluster or in manifest files. Exit code 1 if there is something to fail on.
pub async fn verify(config: &Config, args: &VerifyArgs) -> Result<ExitCode, CommandError> {
    let (policy, _) = build::policy(config, Arc::new(())).await?;
    let uses = collect::image_uses(config, &args.files).await?;
    let decisions = policy.decide(uses.clone()).await;
    drop(policy);
    let mut desired = Vec::new();
    let mut undecided = Vec::new();
    for (image_use, decision) in uses.into_iter().zip(decisions) {
        match decision.verdict {
            Verdict::Mirror { source, destinations } => desired.push(DesiredImage { image_use, source, destinations }),
            Verdict::Error { reason, .. } => undecided.push(UndecidedUse {
                image: image_use.image,
                workload: image_use.workload.id.to_string(),
                reason,
            }),
            Verdict::Skip(_) => {}
        }
    }
    let read = match &args.progress {
        Some(file) => progress_file::read(file)?,
        None => Default::default(),
    };
    let deep = args.deep.then(|| DeepReading::new(args.bytes, args.rate, read));
    let verifier = build::verifier(config, !args.no_source, deep)?;
    let progress = Progress::new(desired.len());
    let images = verifier.verify(desired, |image| progress.verified(image)).await;
    progress.finish();
    let mut was_cut = false;
    if let Some(deep) = into_deep(verifier) {
        let (read, cut) = deep.into_read();
        was_cut = cut;
        if let Some(file) = &args.progress {
            // What was read is to be read again once everything was.
            progress_file::write(file, if cut { &read } else { progress_file::nothing() })?;
        }
    }
    let verified = Verified { images, undecided, was_cut };
    print(&verified, args.output)?;
    let fails = |wholeness| args.fail_on().contains(&wholeness) && verified.count(wholeness) > 0;
    let fails = Wholeness::ALL.into_iter().any(fails) || !verified.undecided.is_empty();
    Ok(if fails { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn into_deep(verifier: Verifier) -> Option<DeepReading> {
    verifier.into_settings().deep
}

fn print(verified: &Verified, output: VerifyFormat) -> Result<(), CommandError> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let written = match output {
        VerifyFormat::Text => text::write(&mut out, verified, terminal::stdout_width()),
        VerifyFormat::Json => document::write(&mut out, verified),
        VerifyFormat::Junit => junit::write(&mut out, verified),
    };
    match written.and_then(|()| out.flush()) {
        // The reader may need only the first lines.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(CommandError::Output(error)),
        _ => Ok(()),
    }
}

/// How many images are verified, on a terminal.
struct Progress {
    total: usize,
    done: std::sync::atomic::AtomicUsize,
    is_shown: bool,
}

impl Progress {
    fn new(total: usize) -> Self {
        Self { total, done: 0.into(), is_shown: io::stderr().is_terminal() }
    }

    fn verified(&self, _: &VerifiedImage) {
        let done = self.done.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
        if self.is_shown {
            // A closed standard error is not a failure.
            let _ = write!(io::stderr(), "\r{done} images verified, of at most {}\u{1b}[K", self.total);
        }
    }

    fn finish(&self) {
        if self.is_shown {
            let _ = write!(io::stderr(), "\r\u{1b}[K");
        }
    }
}
