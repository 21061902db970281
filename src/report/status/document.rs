//! The document that `/status` serves; `docs/status.schema.json` is made from these types.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The version of the document. Fields may be added within a version.
pub const API_VERSION: &str = "k8s-copycat/v1";

/// The state of a replica: a summary of everything, and one page of the images that match the query.
///
/// All times are in RFC 3339, in UTC. What counts "since the start" is kept in memory only, and starts again with the process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// `k8s-copycat/v1`
    pub api_version: String,
    /// `Status`
    pub kind: String,
    /// The version of the program.
    pub version: String,
    /// When the state was collected; at most a few seconds ago.
    pub time: String,
    /// Which replica mirrors. Only that one knows the state of images: on a standby the lists are empty.
    pub leader: Leader,
    /// What the replica does: `standby`, `listing` (the workloads of the cluster), `deciding`, `mirroring`, or `paused` (the
    /// Lease could not be renewed).
    pub phase: String,
    /// The setting `dryRun`.
    pub dry_run: bool,
    /// The setting `dryPull`.
    pub dry_pull: bool,
    /// Counts of everything, whatever the query.
    pub summary: Summary,
    /// The configured targets.
    pub targets: Vec<Target>,
    /// The registries, sources and targets, that were queried within the last 10 minutes, at which images fail, or that have a
    /// known quota.
    pub registries: Vec<Registry>,
    /// The watches of the cluster that were interrupted within the last 10 minutes: changes of these objects are noticed late.
    #[serde(default)]
    pub watches: Vec<Watch>,
    /// The images that match the query, the worst first: one entry for each image and destination, and one for each image
    /// that is undecided or skipped.
    pub images: Vec<Image>,
    /// Which part of the matching images this is.
    pub page: Page,
}

/// Which replica mirrors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Leader {
    /// Whether this replica is the leader.
    pub is_leader: bool,
    /// The holder of the Lease: the Pod's name, an underscore and a random suffix. Null without leader election, and if it is
    /// not known yet.
    pub identity: Option<String>,
}

/// Counts of everything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Images at their destinations by what is at the target. All states are always there: `missing`, `stale` (there, but not
    /// what the source has now), `conflict` (another image owns the destination), `unknown` (the first check or copy has not
    /// ended, or the target did not answer), `unverified` (there, but the last check could not compare it with the source), `dry_run`, `mirrored`.
    pub images: BTreeMap<String, usize>,
    /// Image uses that are not mirrored: `undecided` (invalid reference, failing plugin) and `skipped` (by policy).
    pub image_uses: BTreeMap<String, usize>,
    /// Images by what happens to them now: `waiting`, `copying` (inspected or copied), `cooldown`.
    pub queue: BTreeMap<String, usize>,
    /// Images whose signatures or other referrers are not all at the target, as far as the last look found.
    #[serde(default)]
    pub lacking_referrers: usize,
    /// Images by the result of their last verification in the background. All results are always there: `missing`, `incomplete`
    /// (parts are missing), `corrupt` (parts have other bytes or another length), `unknown`, `drifted`, `whole`, and `none` (not
    /// verified since the start).
    #[serde(default)]
    pub verified: BTreeMap<String, usize>,
    /// Workloads.
    pub workloads: usize,
    /// Since when the image that has waited longest has had to be copied (missing, stale or unknown); null for none.
    pub oldest_not_mirrored: Option<String>,
    /// Bytes of blobs uploaded to targets since midnight UTC, or since the start if that is later.
    pub bytes_today: u64,
    /// Passes over all workloads.
    pub passes: Passes,
}

/// Passes over all workloads: periodic (`forceReconcileMinutes`) and forced ones.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Passes {
    /// When the running pass began; null if none is running.
    pub running_since: Option<String>,
    /// The last one that ended; null before the first.
    pub last: Option<Pass>,
    /// When the next periodic pass begins; null if there is none.
    pub next: Option<String>,
}

/// A pass that has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Pass {
    /// When it began.
    pub began: String,
    /// When it ended.
    pub ended: String,
    /// Workloads that were not skipped.
    pub workloads: usize,
    /// Containers whose images are at all of their destinations.
    pub images: usize,
    /// Failures.
    pub failures: usize,
}

/// A configured target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// Its name in the configuration.
    pub name: String,
    /// `ecr`, `docker` or `oci-layout`.
    pub kind: String,
    /// `host[:port][/path]`, or `oci:FOLDER`.
    pub address: String,
    /// Images by what is at this target, as in the summary.
    pub images: BTreeMap<String, usize>,
}

/// A registry, and the requests to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Registry {
    /// `host[:port]`
    pub registry: String,
    /// Requests within the last 10 minutes.
    pub requests: u64,
    /// Those of them without a response, or with status 403, 429, or 500 and above.
    pub failed: u64,
    /// The time of the first request that is counted: requests are counted from here.
    pub since: Option<String>,
    /// The last failed request since the start; null for none.
    pub last_failure: Option<RequestFailure>,
    /// Pulls that the registry's quota has left; null if it reports none.
    pub pulls_left: Option<u64>,
    /// Of so many in all; null if the registry does not say.
    #[serde(default)]
    pub pulls_limit: Option<u64>,
    /// When the registry reported the quota.
    pub pulls_left_at: Option<String>,
    /// How often it asked the program to slow down, since the start.
    pub throttled: u64,
    /// Images whose last attempt failed at this registry: it is their source and could not be read, or their target and could
    /// not be written to.
    #[serde(default)]
    pub images_failing: usize,
}

/// An interrupted watch of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Watch {
    /// What is watched: `pods`, `deployments`, …
    pub resource: String,
    /// How often it was interrupted within the last 10 minutes.
    pub interruptions: u64,
    /// The first of these interruptions.
    pub since: String,
    /// The last one.
    pub last: String,
}

/// A failed request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RequestFailure {
    /// When it failed.
    pub time: String,
    /// The response's status; null without a response.
    pub status: Option<u16>,
}

/// An image at a destination, or an image that is undecided or skipped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Image {
    /// The image as written by the oldest workload that uses it.
    pub image: String,
    /// The fully qualified source; null if it is undecided or skipped.
    pub source: Option<String>,
    /// The destination; null if it is undecided or skipped.
    pub destination: Option<String>,
    /// The target's name; null if it is undecided or skipped.
    pub target: Option<String>,
    /// What is at the target, as in the summary; or `undecided`, or `skipped`.
    pub state: String,
    /// What happens to it now: `idle`, `waiting`, `copying` or `cooldown`.
    pub activity: String,
    /// Why it is not mirrored, not checked, or skipped; null if the last attempt succeeded and no verification has found damage
    /// since.
    pub reason: Option<String>,
    /// The image that owns the destination, and its workload; null unless there is a conflict.
    pub owner: Option<String>,
    /// The digest at the target when it was last seen.
    pub digest_at_target: Option<String>,
    /// The digest that it is to have.
    pub digest_at_source: Option<String>,
    /// The result of the last attempt: `copied`, `already_there`, `would_copy`, `would_pull` or `failed`; null before the first.
    pub last_result: Option<String>,
    /// When the last attempt ended.
    pub last_checked: Option<String>,
    /// How long the last attempt took, in milliseconds.
    pub took_milliseconds: Option<u64>,
    /// Bytes of blobs that the last attempt uploaded.
    pub bytes: Option<u64>,
    /// The further sources (`sources` in the configuration) that gave the image or a part of it in the last attempt, because
    /// its registry could not.
    #[serde(default)]
    pub copied_from: Vec<String>,
    /// At most four attempts before the last one, the newest first; of attempts in a row that only found the image in place,
    /// the last one.
    #[serde(default)]
    pub earlier_attempts: Vec<Attempt>,
    /// What belongs to it: signatures, attestations, SBOMs; null before the first look.
    #[serde(default)]
    pub referrers: Option<Referrers>,
    /// The last verification in the background since the start; null before the first.
    #[serde(default)]
    pub verification: Option<Verification>,
    /// When it was last found to be mirrored, since the start.
    pub last_mirrored: Option<String>,
    /// When this process first saw it; for an undecided or skipped image, since when it is.
    pub first_seen: String,
    /// The first failed attempt since the last success; null if the last attempt succeeded.
    pub failing_since: Option<String>,
    /// Failed attempts since the last success.
    pub failures: u32,
    /// When it is tried again; null if it is not scheduled.
    pub next_try: Option<String>,
    /// How far the copy is; null unless bytes are being copied.
    pub progress: Option<Progress>,
    /// The workloads that use it, oldest first; at most 10.
    pub workloads: Vec<Workload>,
    /// The number of workloads that use it.
    pub workload_count: usize,
}

impl Image {
    /// When an image that is not scheduled is tried again; none if [`Image::next_try`] or its activity tells.
    pub fn tried_again(&self) -> Option<&'static str> {
        match (&*self.state, &*self.activity) {
            _ if self.next_try.is_some() => None,
            ("conflict", "idle") => {
                Some("in the next pass, periodic or forced, or when a workload that uses the destination changes")
            }
            ("undecided", _) => Some(
                "when the workload or the configuration changes; after a plugin's failure by itself, within 5 minutes",
            ),
            _ => None,
        }
    }
}

/// An attempt to mirror an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Attempt {
    /// `copied`, `already_there`, `would_copy`, `would_pull` or `failed`.
    pub result: String,
    /// Why it failed; null if it did not.
    pub reason: Option<String>,
    /// When it ended.
    pub ended: String,
    /// How long it took, in milliseconds.
    pub took_milliseconds: u64,
    /// Bytes of blobs that it uploaded.
    pub bytes: u64,
    /// The further sources that gave the image or a part of it.
    #[serde(default)]
    pub copied_from: Vec<String>,
}

/// The last verification of an image: whether its target has every manifest and every blob.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Verification {
    /// When it ended.
    pub at: String,
    /// `missing`, `incomplete`, `corrupt`, `unknown`, `drifted` or `whole`.
    pub result: String,
    /// What is missing or wrong, or why that is not known; null if it is whole.
    pub reason: Option<String>,
    /// The last attempt to verify it again, if that told nothing and the image is known to be damaged; else null.
    #[serde(default)]
    pub unanswered: Option<Unanswered>,
}

/// A verification that told nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Unanswered {
    /// When it ended.
    pub at: String,
    /// Why.
    pub reason: Option<String>,
}

/// The last look for what belongs to an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Referrers {
    /// When it ended.
    pub looked: String,
    /// Signatures and other referrers that are at the target.
    pub at_target: usize,
    /// Those that are not, although they should be; and manifests whose referrers the source did not tell.
    pub failed: usize,
    /// Why; of at most five.
    pub failures: Vec<ReferrerFailure>,
}

/// Why a referrer is not at the target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReferrerFailure {
    /// Its digest and artifact type, or its tag, or the manifest that it belongs to.
    pub referrer: String,
    /// The reason.
    pub reason: String,
}

/// How far a copy is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// When the attempt began.
    pub started: String,
    /// Bytes of blobs that were sent.
    pub bytes: u64,
    /// Bytes of all blobs to be sent; grows while the manifests of an index are still being read.
    pub total_bytes: u64,
}

/// A workload.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Workload {
    /// As in Kubernetes: `Deployment`.
    pub kind: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// A part of the matching images.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Page {
    /// The number of images that match the query.
    pub total: usize,
    /// How many of them precede this page.
    pub offset: usize,
    /// The largest number of images on a page.
    pub limit: usize,
    /// The offset of the next page; null on the last one.
    pub next: Option<usize>,
}
