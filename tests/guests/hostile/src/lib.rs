//! A plugin that misbehaves as configured: in `configure`, or for image uses of the namespace `trouble`. It answers `pass`
//! for all others.

#[allow(unsafe_code, reason = "generated: the exports of a component take raw pointers")]
mod bindings {
    wit_bindgen::generate!({ path: "../../../wit", world: "plugin" });

    #[cfg(target_family = "wasm")]
    export!(Component with_types_in self);

    pub struct Component;
}

use std::{hint::black_box, sync::OnceLock};

use bindings::{
    Component,
    exports::k8s_copycat::policy::{
        lifecycle, path_mapping, repository_prefix,
        skip::{self, Answer, Error, ImageUse},
        target_selection::{self, Target},
    },
    k8s_copycat::policy::log::{Level, log},
};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Behaviour {
    /// In `configure`.
    RefuseConfig,
    LoopInConfigure,
    PanicInConfigure,
    /// In `skip`.
    Loop,
    Bomb,
    Panic,
    Recurse,
    Fail,
    Chatter,
    LongReason,
    Keep,
    Skip,
    /// In `target-selection`.
    Select(Vec<String>),
    /// In `path-mapping`.
    Path(String),
    /// In `repository-prefix`.
    Prefix(String),
    /// In `path-mapping` and `repository-prefix`, for all namespaces: the prefix, and the first path component.
    Version(String),
}

static BEHAVIOUR: OnceLock<Behaviour> = OnceLock::new();

fn behaviour(image_use: &ImageUse) -> Option<&'static Behaviour> {
    if image_use.workload.namespace == "trouble" { BEHAVIOUR.get() } else { None }
}

fn forever() -> ! {
    loop {
        black_box(());
    }
}

#[allow(unconditional_recursion, reason = "it must overflow the stack")]
fn recurse(depth: [u64; 64]) -> u64 {
    black_box(recurse(black_box(depth))) + 1
}

impl lifecycle::Guest for Component {
    fn configure(config: String) -> Result<(), Error> {
        let behaviour = serde_json::from_str(&config).map_err(|error| Error::InvalidConfig(error.to_string()))?;
        match behaviour {
            Behaviour::RefuseConfig => return Err(Error::InvalidConfig("owner: must be a team".to_owned())),
            Behaviour::LoopInConfigure => forever(),
            Behaviour::PanicInConfigure => panic!(),
            _ => {}
        }
        BEHAVIOUR.set(behaviour).map_err(|_| Error::Internal("configured twice".to_owned()))
    }
}

impl skip::Guest for Component {
    fn decide(image_use: ImageUse) -> Result<Answer, Error> {
        match behaviour(&image_use) {
            Some(Behaviour::Loop) => forever(),
            Some(Behaviour::Bomb) => {
                let mut hoard = Vec::new();
                loop {
                    hoard.push(black_box(vec![1u8; 1 << 20]));
                }
            }
            Some(Behaviour::Panic) => panic!(),
            Some(Behaviour::Recurse) => Ok(Answer::Skip(recurse([0; 64]).to_string())),
            Some(Behaviour::Fail) => Err(Error::InvalidRequest("no such team".to_owned())),
            Some(Behaviour::Chatter) => {
                (0..10_000).for_each(|line| log(Level::Info, &format!("line {line}")));
                Ok(Answer::Pass)
            }
            Some(Behaviour::LongReason) => Ok(Answer::Skip("long ".repeat(1 << 20))),
            Some(Behaviour::Keep) => Ok(Answer::Keep),
            Some(Behaviour::Skip) => Ok(Answer::Skip("because".to_owned())),
            _ => Ok(Answer::Pass),
        }
    }
}

impl target_selection::Guest for Component {
    fn select(image_use: ImageUse, _: Vec<Target>) -> Result<Option<Vec<String>>, Error> {
        Ok(match behaviour(&image_use) {
            Some(Behaviour::Select(names)) => Some(names.clone()),
            _ => None,
        })
    }
}

impl path_mapping::Guest for Component {
    fn rewrite(image_use: ImageUse, _: Target) -> Result<Option<String>, Error> {
        if let Some(Behaviour::Version(version)) = BEHAVIOUR.get() {
            return Ok(Some(format!("{version}/{}", image_use.image.repository)));
        }
        Ok(match behaviour(&image_use) {
            Some(Behaviour::Path(path)) => Some(path.clone()),
            _ => None,
        })
    }
}

impl repository_prefix::Guest for Component {
    fn render(image_use: ImageUse, _: Target) -> Result<Option<String>, Error> {
        if let Some(Behaviour::Version(version)) = BEHAVIOUR.get() {
            return Ok(Some(version.clone()));
        }
        Ok(match behaviour(&image_use) {
            Some(Behaviour::Prefix(prefix)) => Some(prefix.clone()),
            _ => None,
        })
    }
}
