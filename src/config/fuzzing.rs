//! Loads a configuration from a text, for the fuzz target.

use std::path::Path;

use super::{ConfigErrors, Flags, Loaded, file::parse_yaml, load::build_config, reader::Reader};

/// As [`super::load`] of a file with this text.
///
/// # Errors
/// All errors.
pub fn load_text(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<Loaded, ConfigErrors> {
    let mut reader = Reader::new(env);
    let file = Path::new("config.yaml");
    let document = parse_yaml(&mut reader, file, text);
    build_config(reader, file, document.as_ref(), &Flags::default())
}
