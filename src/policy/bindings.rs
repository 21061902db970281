//! The contract's types and functions, generated from `wit/`.

wasmtime::component::bindgen!({ path: "wit", world: "plugin" });

pub use self::k8s_copycat::policy::{log, types};
pub use exports::k8s_copycat::policy as hooks;
