//! Hooks on the command line.

use std::fmt;

use clap::{ValueEnum, builder::PossibleValue};

use crate::model::Hook;

/// A hook, by the name of its interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HookName(Hook);

impl HookName {
    /// Every hook, in the order asked.
    pub const ALL: [Self; 4] =
        [Self(Hook::Skip), Self(Hook::TargetSelection), Self(Hook::PathMapping), Self(Hook::RepositoryPrefix)];

    /// The hook.
    pub fn hook(self) -> Hook {
        self.0
    }
}

impl fmt::Display for HookName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl ValueEnum for HookName {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.0.name()))
    }
}
