//! The result as JSON; `docs/verification.schema.json` is made from these types.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use schemars::JsonSchema;
use serde::Serialize;

use super::{UndecidedUse, Verified};
use crate::model::{PartProblem, VerifiedImage, Wholeness, WorkloadId, printable_json};

/// The result of a verification: a summary, and one entry for each image at each destination.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Verification {
    /// `k8s-copycat/v1`
    api_version: &'static str,
    /// `Verification`
    kind: &'static str,
    /// The version of the program.
    version: &'static str,
    summary: Summary,
    /// The images at their destinations, by destination.
    images: Vec<Image>,
    /// Image uses without a decision: it is not known where they would be.
    undecided: Vec<Undecided>,
}

/// Counts.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Summary {
    /// Images at their destinations by result. All are always there: `missing`, `incomplete` (a manifest, a blob, a tag or a
    /// signature or another referrer is missing), `corrupt` (a part has other bytes or another length), `unknown` (a part
    /// could not be checked), `drifted` (whole, but the source or the target's tag has something else now), `whole`.
    images: BTreeMap<&'static str, usize>,
    /// Image uses without a decision.
    undecided: usize,
    /// Manifests and blobs that were looked at.
    parts: usize,
    /// Bytes of blobs that were read and hashed (`--deep`).
    bytes_read: u64,
    /// Whether `--bytes` was too small to read all blobs.
    cut: bool,
    /// Blobs that were not read because `--bytes` was too small.
    blobs_not_read: usize,
    /// Their bytes.
    bytes_not_read: u64,
    /// What `--bytes` has to be at least to read the largest blob that was not read; null if the next run with the same
    /// `--bytes` and `--progress` reads more, until none is left.
    bytes_needed: Option<u64>,
    /// The blob that needs so many; null if there is none.
    blob_needing_most: Option<String>,
}

/// An image at a destination.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Image {
    /// As written by the oldest workload that uses it.
    image: String,
    /// The fully qualified source.
    source: String,
    destination: String,
    /// The target's name.
    target: String,
    /// As in the summary.
    result: &'static str,
    /// Why it is not whole, or why it could not be compared with its source; null if there is nothing to tell.
    reason: Option<String>,
    digest_at_target: Option<String>,
    /// What the source has now, or the reference names; null if the source was not asked or did not answer.
    digest_at_source: Option<String>,
    /// The digests that Pods run, the newest Pod's first.
    running: Vec<String>,
    /// Manifests and blobs that were looked at, those of referrers included; each blob counts once for all images of a repository.
    parts: usize,
    /// Bytes of blobs that were read and hashed.
    bytes_read: u64,
    /// What is wrong; at most 20.
    problems: Vec<Problem>,
    /// The number of all problems.
    problem_count: usize,
    /// The workloads that use it, oldest first; at most 10.
    workloads: Vec<Workload>,
}

/// What is wrong with a part of an image.
#[derive(Debug, Serialize, JsonSchema)]
struct Problem {
    digest: String,
    /// `manifest` or `blob`; `tag`, which names the image or keeps it; `referrer`, the manifest of a signature, an attestation
    /// or another referrer, or the list that names it; `referrer_blob`
    part: &'static str,
    /// `missing`, `corrupt` or `unknown`
    kind: &'static str,
    message: String,
}

/// A workload.
#[derive(Debug, Serialize, JsonSchema)]
struct Workload {
    /// As in Kubernetes: `Deployment`.
    kind: &'static str,
    namespace: String,
    name: String,
}

/// An image use without a decision.
#[derive(Debug, Serialize, JsonSchema)]
struct Undecided {
    /// As written.
    image: String,
    /// `KIND NAMESPACE/NAME`
    workload: String,
    reason: String,
}

pub fn write(out: &mut dyn Write, verified: &Verified) -> io::Result<()> {
    let not_read = &verified.not_read;
    let document = Verification {
        api_version: "k8s-copycat/v1",
        kind: "Verification",
        version: env!("CARGO_PKG_VERSION"),
        summary: Summary {
            images: Wholeness::ALL.into_iter().map(|result| (result.name(), verified.count(result))).collect(),
            undecided: verified.undecided.len(),
            parts: verified.images.iter().map(|image| image.parts).sum(),
            bytes_read: verified.images.iter().map(|image| image.bytes_read).sum(),
            cut: not_read.blobs > 0,
            blobs_not_read: not_read.blobs,
            bytes_not_read: not_read.bytes,
            bytes_needed: not_read.largest.as_ref().map(|(_, size)| *size),
            blob_needing_most: not_read.largest.as_ref().map(|(digest, _)| digest.to_string()),
        },
        images: verified.images.iter().map(image).collect(),
        undecided: verified.undecided.iter().map(undecided).collect(),
    };
    writeln!(out, "{}", printable_json(&document)?)
}

fn image(image: &VerifiedImage) -> Image {
    Image {
        image: image.image.clone(),
        source: image.source.to_string(),
        destination: image.destination.to_string(),
        target: image.destination.target.name.clone(),
        result: image.wholeness.name(),
        reason: image.reason.clone(),
        digest_at_target: image.digest_at_target.as_ref().map(ToString::to_string),
        digest_at_source: image.digest_at_source.as_ref().map(ToString::to_string),
        running: image.running.iter().map(ToString::to_string).collect(),
        parts: image.parts,
        bytes_read: image.bytes_read,
        problems: image.problems.iter().map(problem).collect(),
        problem_count: image.problem_count,
        workloads: image.workloads.iter().map(workload).collect(),
    }
}

fn problem(problem: &PartProblem) -> Problem {
    Problem {
        digest: problem.digest.to_string(),
        part: problem.part.name(),
        kind: problem.kind.name(),
        message: problem.message.clone(),
    }
}

fn workload(id: &WorkloadId) -> Workload {
    Workload { kind: id.kind.name(), namespace: id.namespace.clone(), name: id.name.clone() }
}

fn undecided(undecided: &UndecidedUse) -> Undecided {
    let UndecidedUse { image, workload, reason } = undecided;
    Undecided { image: image.clone(), workload: workload.clone(), reason: reason.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `UPDATE_SCHEMA=1` writes it.
    #[test]
    fn the_schema_in_the_repository_is_up_to_date() {
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/verification.schema.json");
        let schema = serde_json::to_string_pretty(&schemars::schema_for!(Verification)).unwrap() + "\n";
        if std::env::var_os("UPDATE_SCHEMA").is_some() {
            std::fs::write(&file, &schema).unwrap();
        }
        assert_eq!(std::fs::read_to_string(file).unwrap(), schema, "run this test with UPDATE_SCHEMA=1");
    }
}
