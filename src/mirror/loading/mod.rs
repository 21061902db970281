//! Loads an image layout into a target: every name of the layout, as it is.
//!
//! The names were decided when the layout was written, so no policy decides again. Within a repository everything that an image
//! consists of goes first, then what belongs to it (signatures and other referrers), and the tags last.

mod blob_turns;
mod content;
mod list_order;
mod loader;
mod name_load;
mod names;
mod outcome;
mod referrer_list;
mod repository_load;
mod settings;

pub use loader::Loader;
pub use outcome::{LoadEvent, Loaded};
pub use settings::LoadSettings;
