//! Reading a configuration without a file, for the fuzz targets, which see it only when they are built.

use std::path::Path;

use super::{Flags, Loaded, Mistakes, file::tree_of, load::settle, reader::Reader};

/// As [`super::load`], of a file with this text.
///
/// # Errors
/// All mistakes.
pub fn load_text(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<Loaded, Mistakes> {
    let mut reader = Reader::new(env);
    let file = Path::new("config.yaml");
    let document = tree_of(&mut reader, file, text);
    settle(reader, file, document.as_ref(), &Flags::default())
}
