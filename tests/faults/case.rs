//! One image to copy, and its faults.

use std::fmt;

use demo::Image;

use super::environment::SILENT_SOURCE;
use crate::support::faulty::{FOREVER, Fault, RequestKind, ScheduledFault, keep_alive_tag};

/// How a workload refers to an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReferenceForm {
    Tag,
    /// Without a tag.
    Digest,
    /// Tag and digest.
    Both,
}

/// An image in a repository of its own.
#[derive(Clone)]
pub struct Case {
    /// At the source and at the target.
    pub repository: String,
    pub image: Image,
    /// Refers to the image.
    pub signature: Option<Image>,
    pub reference_form: ReferenceForm,
    /// Index of the source that has the image, or [`super::environment::SILENT_SOURCE`].
    pub source: usize,
    /// Whether the target accepts manifests with missing content.
    pub skips_validation: bool,
    pub source_faults: Vec<ScheduledFault>,
    pub target_faults: Vec<ScheduledFault>,
}

/// The tag at the source.
pub const TAG: &str = "1";

impl Case {
    /// At the first source, without faults.
    pub fn new(repository: &str, image: Image) -> Self {
        Self {
            repository: repository.to_owned(),
            image,
            signature: None,
            reference_form: ReferenceForm::Tag,
            source: 0,
            skips_validation: false,
            source_faults: Vec::new(),
            target_faults: Vec::new(),
        }
    }

    /// Adds a fault that occurs once at the source.
    pub fn source(mut self, at: RequestKind, after: usize, fault: Fault) -> Self {
        self.source_faults.push(ScheduledFault::once(at, after, fault));
        self
    }

    /// Adds a fault that occurs once at the target.
    pub fn target(mut self, at: RequestKind, after: usize, fault: Fault) -> Self {
        self.target_faults.push(ScheduledFault::once(at, after, fault));
        self
    }

    /// Signs it.
    pub fn signed(mut self) -> Self {
        let (artifact_type, content) =
            ("application/vnd.cncf.notary.signature", format!("signature of {}", self.repository));
        self.signature = Some(Image::artifact(artifact_type, &content, Some(self.image.root())));
        self
    }

    /// Lets the target accept manifests with missing content.
    pub fn skip_validation(mut self) -> Self {
        self.skips_validation = true;
        self
    }

    /// The reference in the workload.
    pub fn reference(&self, host: &str) -> String {
        let (repository, digest) = (&self.repository, self.image.digest());
        match self.reference_form {
            ReferenceForm::Tag => format!("{host}/{repository}:{TAG}"),
            ReferenceForm::Digest => format!("{host}/{repository}@{digest}"),
            ReferenceForm::Both => format!("{host}/{repository}:{TAG}@{digest}"),
        }
    }

    /// The destination as the program prints it.
    pub fn destination(&self, host: &str) -> String {
        match self.reference_form {
            ReferenceForm::Tag | ReferenceForm::Both => format!("{host}/{}:{TAG}", self.repository),
            ReferenceForm::Digest => self.reference(host),
        }
    }

    /// The tags of the copy.
    pub fn tags(&self) -> Vec<String> {
        let kept = keep_alive_tag(self.image.digest());
        match self.reference_form {
            ReferenceForm::Tag => vec![TAG.to_owned()],
            ReferenceForm::Digest => vec![kept],
            ReferenceForm::Both => vec![TAG.to_owned(), kept],
        }
    }

    /// Moves the image to a host that never answers.
    pub fn silent(mut self) -> Self {
        self.source = SILENT_SOURCE;
        self
    }

    /// Whether it has no faults.
    pub fn is_healthy(&self) -> bool {
        self.source != SILENT_SOURCE && self.source_faults.is_empty() && self.target_faults.is_empty()
    }

    /// Whether all its faults are transient.
    pub fn is_transient(&self) -> bool {
        self.source != SILENT_SOURCE
            && self.source_faults.iter().chain(&self.target_faults).all(|scheduled| scheduled.times != FOREVER)
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (blobs, validation) =
            (self.image.blobs().len(), if self.skips_validation { ", without validation" } else { "" });
        let sizes: Vec<usize> = self.image.blobs().iter().map(|blob| blob.bytes.len()).collect();
        let source =
            if self.source == SILENT_SOURCE { "the silent host".to_owned() } else { format!("source {}", self.source) };
        writeln!(
            f,
            "{} by {:?} from {source}{validation}: {blobs} blobs of {sizes:?} bytes, {}",
            self.repository,
            self.reference_form,
            if self.signature.is_some() { "signed" } else { "not signed" }
        )?;
        for (side, all) in [("source", &self.source_faults), ("target", &self.target_faults)] {
            for scheduled in all {
                let ScheduledFault { at, after, times, fault } = scheduled;
                let times = if *times == FOREVER { "permanent".to_owned() } else { format!("{times} times") };
                writeln!(f, "  {side}: {at:?} after {after}, {times}: {fault:?}")?;
            }
        }
        Ok(())
    }
}
