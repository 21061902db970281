//! The contract's types and calls, generated from `wit/`.

wasmtime::component::bindgen!({ path: "wit", world: "plugin" });

pub use exports::k8s_copycat::policy as hooks;
pub use self::k8s_copycat::policy::{log, types};
