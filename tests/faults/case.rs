//! One image on its way, and what goes wrong there.

use std::fmt;

use demo::Image;

use super::world::SILENT;
use crate::support::faulty::{Fault, Kind, Planned, STAYS, keeping_tag};

/// How a workload names an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// By a tag.
    Tag,
    /// By its digest alone.
    Digest,
    /// By both.
    Both,
}

/// An image in a repository of its own.
#[derive(Clone)]
pub struct Case {
    /// The path at the source and at the target.
    pub repository: String,
    pub image: Image,
    pub named: Named,
    /// Which of the sources has it, or [`super::world::SILENT`].
    pub source: usize,
    /// Whether the target takes manifests whatever they name.
    pub lax: bool,
    pub at_source: Vec<Planned>,
    pub at_target: Vec<Planned>,
}

/// The tag at the source.
pub const TAG: &str = "1";

impl Case {
    /// At the first source, and nothing goes wrong.
    pub fn new(repository: &str, image: Image) -> Self {
        Self {
            repository: repository.to_owned(),
            image,
            named: Named::Tag,
            source: 0,
            lax: false,
            at_source: Vec::new(),
            at_target: Vec::new(),
        }
    }

    /// This goes wrong once at the source.
    pub fn source(mut self, at: Kind, after: usize, fault: Fault) -> Self {
        self.at_source.push(Planned::once(at, after, fault));
        self
    }

    /// This goes wrong once at the target.
    pub fn target(mut self, at: Kind, after: usize, fault: Fault) -> Self {
        self.at_target.push(Planned::once(at, after, fault));
        self
    }

    /// The target takes manifests whatever they name.
    pub fn lax(mut self) -> Self {
        self.lax = true;
        self
    }

    /// The image as a workload writes it.
    pub fn reference(&self, host: &str) -> String {
        let (repository, digest) = (&self.repository, self.image.digest());
        match self.named {
            Named::Tag => format!("{host}/{repository}:{TAG}"),
            Named::Digest => format!("{host}/{repository}@{digest}"),
            Named::Both => format!("{host}/{repository}:{TAG}@{digest}"),
        }
    }

    /// Where it goes, as the program tells it.
    pub fn destination(&self, host: &str) -> String {
        match self.named {
            Named::Tag | Named::Both => format!("{host}/{}:{TAG}", self.repository),
            Named::Digest => self.reference(host),
        }
    }

    /// The tags that it has at the target once it is there.
    pub fn tags(&self) -> Vec<String> {
        let kept = keeping_tag(self.image.digest());
        match self.named {
            Named::Tag => vec![TAG.to_owned()],
            Named::Digest => vec![kept],
            Named::Both => vec![TAG.to_owned(), kept],
        }
    }

    /// From a host that never answers.
    pub fn silent(mut self) -> Self {
        self.source = SILENT;
        self
    }

    /// Whether nothing goes wrong with it, whatever becomes of those beside it.
    pub fn is_healthy(&self) -> bool {
        self.source != SILENT && self.at_source.is_empty() && self.at_target.is_empty()
    }

    /// Whether all that goes wrong passes.
    pub fn passes(&self) -> bool {
        self.source != SILENT && self.at_source.iter().chain(&self.at_target).all(|planned| planned.times != STAYS)
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (blobs, lax) = (self.image.blobs().len(), if self.lax { ", lax" } else { "" });
        let sizes: Vec<usize> = self.image.blobs().iter().map(|blob| blob.bytes.len()).collect();
        let source =
            if self.source == SILENT { "the silent host".to_owned() } else { format!("source {}", self.source) };
        writeln!(f, "{} by {:?} from {source}{lax}: {blobs} blobs of {sizes:?} bytes", self.repository, self.named)?;
        for (side, all) in [("source", &self.at_source), ("target", &self.at_target)] {
            for planned in all {
                let Planned { at, after, times, fault } = planned;
                let times = if *times == STAYS { "staying".to_owned() } else { format!("{times} times") };
                writeln!(f, "  {side}: {at:?} after {after}, {times}: {fault:?}")?;
            }
        }
        Ok(())
    }
}
