//! Detects targets at which images of different registries can conflict.

use std::collections::HashMap;

use crate::model::{Reference, Target};

/// With this token in its repository prefix, a target keeps registries apart.
const REGISTRY_TOKEN: &str = "$registry";

/// By name of each target whose prefix does not keep registries apart: the first registry seen, until there is a second.
#[derive(Debug, Default)]
pub struct RegistriesInUse(HashMap<String, Seen>);

#[derive(Debug)]
enum Seen {
    One(String),
    Several,
}

impl RegistriesInUse {
    /// Records that an image of this source is copied to this target. Returns two registries the first time that there
    /// are two.
    pub fn record(&mut self, target: &Target, source: &Reference) -> Option<[String; 2]> {
        if target.repo_prefix.contains(REGISTRY_TOKEN) {
            return None;
        }
        match self.0.get_mut(&target.name) {
            None => {
                self.0.insert(target.name.clone(), Seen::One(source.registry().to_owned()));
                None
            }
            Some(Seen::Several) => None,
            Some(Seen::One(first)) if first == source.registry() => None,
            Some(seen) => match std::mem::replace(seen, Seen::Several) {
                Seen::One(first) => Some([first, source.registry().to_owned()]),
                Seen::Several => None,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mirror::testing::target;

    #[test]
    fn reports_a_second_registry_once_unless_the_prefix_contains_it() {
        let image = |text: &str| text.parse::<Reference>().unwrap();
        let mut plain = RegistriesInUse::default();
        let target = target("r.io");
        assert_eq!(plain.record(&target, &image("app:1")), None);
        assert_eq!(plain.record(&target, &image("team/app:1")), None);
        assert_eq!(plain.record(&target, &image("quay.io/app:1")), Some(["docker.io".into(), "quay.io".into()]));
        assert_eq!(plain.record(&target, &image("ghcr.io/app:1")), None);
        let prefixed = Target { repo_prefix: "mirror/$registry".into(), ..Target::clone(&target) };
        let mut separated = RegistriesInUse::default();
        for text in ["app:1", "quay.io/app:1"] {
            assert_eq!(separated.record(&prefixed, &image(text)), None);
        }
    }
}
