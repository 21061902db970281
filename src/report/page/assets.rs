//! The files that pages load. Their addresses contain their hashes, so that browsers can keep them for ever.

use std::sync::LazyLock;

use crate::model::Digest;

/// Hexadecimal digits of the hash in an address.
const HASH_DIGITS: usize = 16;

static ASSETS: LazyLock<[Asset; 3]> = LazyLock::new(|| {
    [
        Asset::new("page", "css", "text/css; charset=utf-8", include_str!("assets/page.css")),
        Asset::new("page", "js", "text/javascript; charset=utf-8", include_str!("assets/page.js")),
        Asset::new("icon", "svg", "image/svg+xml", include_str!("assets/icon.svg")),
    ]
});

/// A file that pages load.
#[derive(Debug)]
pub struct Asset {
    /// Its name below `/assets/`.
    pub name: String,
    /// Its media type.
    pub content_type: &'static str,
    /// Its content.
    pub content: &'static str,
}

impl Asset {
    fn new(name: &str, extension: &str, content_type: &'static str, content: &'static str) -> Self {
        let digest = Digest::sha256(content.as_bytes()).to_string();
        let hash = digest.split_once(':').and_then(|(_, hex)| hex.get(..HASH_DIGITS)).unwrap_or_default();
        Self { name: format!("{name}-{hash}.{extension}"), content_type, content }
    }
}

/// The addresses of all of them.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    pub css: &'static str,
    pub script: &'static str,
    pub icon: &'static str,
}

impl Addresses {
    pub fn get() -> Self {
        let [css, script, icon] = &*ASSETS;
        Self { css: &css.name, script: &script.name, icon: &icon.name }
    }
}

/// The asset of this name; none if there is no such, as after an upgrade.
pub fn asset(name: &str) -> Option<&'static Asset> {
    ASSETS.iter().find(|asset| asset.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_change_with_the_content() {
        let [one, other] = ["a", "b"].map(|content| Asset::new("page", "css", "text/css", content).name);
        assert!(one.starts_with("page-") && one.ends_with(".css") && one.len() == 5 + HASH_DIGITS + 4, "{one}");
        assert_ne!(one, other);
        let Addresses { css, script, icon } = Addresses::get();
        for name in [css, script, icon] {
            assert_eq!(asset(name).unwrap().name, name);
        }
        assert!(asset("page.css").is_none());
    }

    #[test]
    fn they_load_nothing_from_elsewhere() {
        for asset in ASSETS.iter() {
            let text = asset.content.replace("http://www.w3.org/2000/svg", "");
            for foreign in ["http:", "https:", "@import", "url(", "eval(", "innerHTML"] {
                assert!(!text.contains(foreign), "{}: {foreign}", asset.name);
            }
        }
    }
}
