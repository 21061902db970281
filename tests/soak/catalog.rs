//! The images that workloads may use.

use std::collections::HashMap;

use demo::{Format, Image, Layer};
use fastrand::Rng;

/// All images that a source has or had.
#[derive(Default)]
pub struct Catalog {
    by_digest: HashMap<String, Image>,
    next: u64,
}

impl Catalog {
    /// Creates a unique image.
    pub fn create(&mut self, random: &mut Rng) -> Image {
        self.next += 1;
        let own = if random.u8(..8) == 0 {
            Layer::random(self.next, random.usize(1000..20_000))
        } else {
            Layer::files(&[("number", &self.next.to_string())])
        };
        let own = own.unwrap();
        // Few base layers, so that many images share one.
        let base = Layer::files(&[("base", &random.u8(..10).to_string())]).unwrap();
        let single = |architecture| Image::single(Format::Oci, architecture, &[base.clone(), own.clone()]);
        let image = if random.u8(..4) == 0 {
            Image::index(Format::Oci, &["amd64", "arm64"].map(single))
        } else {
            single("amd64")
        };
        self.by_digest.insert(image.digest().to_owned(), image.clone());
        image
    }

    /// The image with this digest.
    pub fn get(&self, digest: &str) -> &Image {
        &self.by_digest[digest]
    }
}
