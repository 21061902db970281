//! Whether images of several registries can come to lie under one name at a target.

use std::collections::HashMap;

use crate::model::{Reference, Target};

/// The token that tells registries apart in a target's repository prefix.
const REGISTRY_TOKEN: &str = "$registry";

/// For each target whose names do not tell registries apart: the registry seen first, until there is a second.
#[derive(Debug, Default)]
pub struct RegistriesInUse(HashMap<String, Seen>);

#[derive(Debug)]
enum Seen {
    One(String),
    Several,
}

impl RegistriesInUse {
    /// An image of this source goes to this target. Answers with two registries once there are two, the first time only.
    pub fn take_in(&mut self, target: &Target, source: &Reference) -> Option<[String; 2]> {
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
    fn a_second_registry_is_told_once_unless_the_prefix_tells_them_apart() {
        let image = |text: &str| text.parse::<Reference>().unwrap();
        let mut plain = RegistriesInUse::default();
        let target = target("r.io");
        assert_eq!(plain.take_in(&target, &image("app:1")), None);
        assert_eq!(plain.take_in(&target, &image("team/app:1")), None);
        assert_eq!(plain.take_in(&target, &image("quay.io/app:1")), Some(["docker.io".into(), "quay.io".into()]));
        assert_eq!(plain.take_in(&target, &image("ghcr.io/app:1")), None);
        let prefixed = Target { repo_prefix: "mirror/$registry".into(), ..Target::clone(&target) };
        let mut told_apart = RegistriesInUse::default();
        for text in ["app:1", "quay.io/app:1"] {
            assert_eq!(told_apart.take_in(&prefixed, &image(text)), None);
        }
    }
}
