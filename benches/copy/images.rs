//! The images to copy: deterministic, with incompressible layers.

use demo::{Format, Image, Layer};

use crate::registry::{Reference, Registry};

const MEBIBYTE: usize = 1 << 20;
const REPOSITORIES: usize = 200;

/// Images that are copied together.
pub struct Case {
    pub name: &'static str,
    /// Whether the source uses TLS.
    pub tls: bool,
    pub images: Vec<Reference>,
    /// The same images, some with a newer version; empty if that is not measured.
    pub newer: Vec<Reference>,
}

/// The names of all cases.
pub const NAMES: [&str; 5] = ["A", "A-TLS", "B", "C", "D"];

impl Case {
    /// Pushes the images of a case to `source`.
    pub async fn prepare(name: &str, source: &Registry) -> Self {
        let case = |name, images| Self { name, tls: false, images, newer: Vec::new() };
        match name {
            "A" => case("A", one(source, "bench/large", layers(0, 1, 512)).await),
            "A-TLS" => {
                let images = one(source, "bench/large", layers(0, 1, 512)).await;
                Self { tls: true, ..case("A-TLS", images) }
            }
            "B" => case("B", one(source, "bench/many", layers(100, 40, 4)).await),
            "C" => {
                let platforms = ["amd64", "arm64", "ppc64le", "s390x"];
                let images = platforms.iter().zip((200..).step_by(100));
                let images = images.map(|(name, seed)| Image::single(Format::Oci, name, &layers(seed, 5, 8)));
                let index = Image::index(Format::Oci, &images.collect::<Vec<_>>());
                let pushed = source.push([("bench/index".to_owned(), "1", index)]).await;
                case("C", pushed)
            }
            "D" => {
                let base = layers(600, 1, 100);
                let image = |number: usize, more: &[Layer]| {
                    let own = Layer::random(1000 + number as u64, MEBIBYTE / 16).unwrap();
                    let layers = [&base, &[own][..], more].concat();
                    (format!("bench/shared-{number}"), Image::single(Format::Oci, "amd64", &layers))
                };
                let first = (0..REPOSITORIES).map(|number| image(number, &[]));
                let images = source.push(first.map(|(repository, image)| (repository, "1", image))).await;
                let changed = [10, 100, 190];
                let second = changed.map(|number| image(number, &layers(700 + number as u64, 1, 4)));
                let second = source.push(second.map(|(repository, image)| (repository, "2", image))).await;
                let mut newer = images.clone();
                for (number, reference) in changed.into_iter().zip(second) {
                    newer[number] = reference;
                }
                Self { newer, ..case("D", images) }
            }
            _ => panic!("unknown case {name}; the cases are {NAMES:?}"),
        }
    }
}

async fn one(source: &Registry, repository: &str, layers: Vec<Layer>) -> Vec<Reference> {
    source.push([(repository.to_owned(), "1", Image::single(Format::Oci, "amd64", &layers))]).await
}

fn layers(seed: u64, count: u64, mebibytes: usize) -> Vec<Layer> {
    (seed..seed + count).map(|seed| Layer::random(seed, mebibytes * MEBIBYTE).unwrap()).collect()
}
