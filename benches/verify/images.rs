//! The images of a cluster: two tags of each repository, on few base images, some for two platforms.

use demo::{Format, Image, Layer};
use serde_json::json;

use crate::registry::{Reference, Registry};

const TAGS: [&str; 2] = ["1", "2"];
/// Base images, and what languages add to them.
const BASES: usize = 20;
const RUNTIMES: usize = 60;
/// One of so many repositories has images for two platforms.
const INDEX_EVERY: usize = 4;

/// Bytes of layers, a thousandth of real ones: base, runtime, dependencies of an application, and its code.
const SIZES: [usize; 4] = [64 << 10, 32 << 10, 16 << 10, 4 << 10];

/// Pushes so many images, all layers random.
pub async fn push(source: &Registry, count: usize) -> Vec<Reference> {
    let images = (0..count).map(|number| {
        let repository = number / TAGS.len();
        let architectures: &[&str] =
            if repository.is_multiple_of(INDEX_EVERY) { &["amd64", "arm64"] } else { &["amd64"] };
        let images: Vec<Image> = architectures
            .iter()
            .enumerate()
            .map(|(platform, architecture)| {
                let numbers = [repository % BASES, repository % RUNTIMES, repository, number];
                let layers = numbers.iter().zip(SIZES).enumerate().map(|(kind, (number, size))| {
                    let seed = (kind * 10 + platform) * 1_000_000 + number;
                    Layer::random(seed as u64, size).unwrap()
                });
                Image::single(Format::Oci, architecture, &layers.collect::<Vec<_>>())
            })
            .collect();
        let image = if let [single] = images.as_slice() { single.clone() } else { Image::index(Format::Oci, &images) };
        (format!("team-{}/app-{repository}", repository % 50), TAGS[number % TAGS.len()], image)
    });
    source.push(images).await
}

/// A Deployment for each image.
pub fn workloads(host: &str, images: &[Reference]) -> String {
    let items = images.iter().enumerate().map(|(number, Reference { repository, tag, .. })| {
        let image = format!("{host}/{repository}:{tag}");
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": format!("app-{number}") },
            "spec": { "template": { "spec": { "containers": [{ "name": "main", "image": image }] } } },
        })
    });
    json!({ "apiVersion": "v1", "kind": "List", "items": items.collect::<Vec<_>>() }).to_string()
}
