//! Asks the plugins: WebAssembly components in a sandbox, a chain for each hook.
