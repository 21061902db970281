//! The status page: what `/status` tells, as HTML for people. Rendered here; `endpoints` serves it.
//!
//! Everything that comes from a cluster, a registry or a plugin is escaped twice: askama escapes HTML, and `finish` what
//! controls or hides text.

mod assets;
mod concerns;
mod explanations;
mod finish;
mod frame;
mod image;
mod image_row;
mod links;
mod moment;
mod numbers;
mod overview;
mod problem;
mod side;
mod state_label;

pub use assets::asset;
pub use explanations::Explanations;
pub use image::image;
pub use overview::overview;
pub use problem::problem;
pub use side::PluginsNow;
