//! A plugin that does what no plugin should, as its configuration says: in `configure`, or to the image uses of the
//! namespace `trouble`. It passes on all others.

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
enum Deed {
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
    /// In both of them, whatever the namespace: the prefix, and what the path begins with.
    Version(String),
}

static DEED: OnceLock<Deed> = OnceLock::new();

fn deed(image_use: &ImageUse) -> Option<&'static Deed> {
    if image_use.workload.namespace == "trouble" { DEED.get() } else { None }
}

fn forever() -> ! {
    loop {
        black_box(());
    }
}

#[allow(unconditional_recursion, reason = "what it is for")]
fn recurse(depth: [u64; 64]) -> u64 {
    black_box(recurse(black_box(depth))) + 1
}

impl lifecycle::Guest for Component {
    fn configure(config: String) -> Result<(), Error> {
        let deed = serde_json::from_str(&config).map_err(|error| Error::InvalidConfig(error.to_string()))?;
        match deed {
            Deed::RefuseConfig => return Err(Error::InvalidConfig("owner: must be a team".to_owned())),
            Deed::LoopInConfigure => forever(),
            Deed::PanicInConfigure => panic!(),
            _ => {}
        }
        DEED.set(deed).map_err(|_| Error::Internal("configured twice".to_owned()))
    }
}

impl skip::Guest for Component {
    fn decide(image_use: ImageUse) -> Result<Answer, Error> {
        match deed(&image_use) {
            Some(Deed::Loop) => forever(),
            Some(Deed::Bomb) => {
                let mut hoard = Vec::new();
                loop {
                    hoard.push(black_box(vec![1u8; 1 << 20]));
                }
            }
            Some(Deed::Panic) => panic!(),
            Some(Deed::Recurse) => Ok(Answer::Skip(recurse([0; 64]).to_string())),
            Some(Deed::Fail) => Err(Error::InvalidRequest("no such team".to_owned())),
            Some(Deed::Chatter) => {
                (0..10_000).for_each(|line| log(Level::Info, &format!("line {line}")));
                Ok(Answer::Pass)
            }
            Some(Deed::LongReason) => Ok(Answer::Skip("long ".repeat(1 << 20))),
            Some(Deed::Keep) => Ok(Answer::Keep),
            Some(Deed::Skip) => Ok(Answer::Skip("because".to_owned())),
            _ => Ok(Answer::Pass),
        }
    }
}

impl target_selection::Guest for Component {
    fn select(image_use: ImageUse, _: Vec<Target>) -> Result<Option<Vec<String>>, Error> {
        Ok(match deed(&image_use) {
            Some(Deed::Select(names)) => Some(names.clone()),
            _ => None,
        })
    }
}

impl path_mapping::Guest for Component {
    fn rewrite(image_use: ImageUse, _: Target) -> Result<Option<String>, Error> {
        if let Some(Deed::Version(version)) = DEED.get() {
            return Ok(Some(format!("{version}/{}", image_use.image.repository)));
        }
        Ok(match deed(&image_use) {
            Some(Deed::Path(path)) => Some(path.clone()),
            _ => None,
        })
    }
}

impl repository_prefix::Guest for Component {
    fn render(image_use: ImageUse, _: Target) -> Result<Option<String>, Error> {
        if let Some(Deed::Version(version)) = DEED.get() {
            return Ok(Some(version.clone()));
        }
        Ok(match deed(&image_use) {
            Some(Deed::Prefix(prefix)) => Some(prefix.clone()),
            _ => None,
        })
    }
}
