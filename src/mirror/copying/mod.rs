//! Copying one image: inspects what is missing at the target, selects platforms, uploads, and verifies.

mod attempt;
mod blob_locks;
mod copier;
mod endpoints;
mod failure;
mod find_manifest;
mod further_sources;
mod image_upload;
mod inspection;
mod inspector;
mod manifest_tree_limits;
mod owner;
mod platform_selector;
mod platforms;
mod present_parts;
mod push;
mod referrers;
mod repair_tally;
mod settings;
mod source;
mod subsets;
mod target_lookup;
mod transfer;

pub use copier::Copier;
pub(super) use failure::at_target;
pub use further_sources::{FurtherPlace, FurtherSource};
pub(super) use manifest_tree_limits::ManifestTreeLimits;
pub use platforms::PlatformSettings;
pub(super) use platforms::RequestedPlatforms;
pub(super) use referrers::{
    Discoverer, Discovery, Look, MAX_LEVELS, MAX_REFERRERS_OF_IMAGE, SubjectReferrers, Subjects, has_all_layers,
};
pub use referrers::{ReferrerSelection, ReferrerSettings};
pub use settings::CopySettings;
pub(super) use source::{Source, Sources};
pub(super) use target_lookup::is_same;
