//! How wasmtime is set up. The build compiles the default plugins with these very settings: an engine with others
//! refuses what was compiled ahead of time.

use wasmtime::{Config, WasmFeatures};

/// Code that can be interrupted by epochs, without the tables that only backtraces need, and that computes the same on
/// every processor.
pub fn engine_config() -> Config {
    let mut config = Config::new();
    config.epoch_interruption(true).wasm_backtrace_max_frames(None).generate_address_map(false);
    // What a NaN's bits are, and how relaxed SIMD rounds, is up to the processor otherwise.
    config.cranelift_nan_canonicalization(true).relaxed_simd_deterministic(true);
    config.wasm_features(WasmFeatures::all(), false).wasm_features(features(), true);
    // For the code that wasmtime itself writes between the components in a component. Plugins may not use it: the look
    // at them before they are compiled refuses it.
    config.wasm_features(WasmFeatures::MULTI_MEMORY, true);
    config
}

/// The proposals that plugins may use: what the compilers of the examples emit by themselves, tail calls, and relaxed
/// SIMD. Each of the others would be code that a stranger's module reaches and no policy needs.
pub fn features() -> WasmFeatures {
    let wanted = WasmFeatures::WASM2
        | WasmFeatures::EXTENDED_CONST
        | WasmFeatures::RELAXED_SIMD
        | WasmFeatures::TAIL_CALL
        | WasmFeatures::COMPONENT_MODEL;
    // Every version of the standard names it; wasmtime is built without a garbage collector.
    wanted - WasmFeatures::GC_TYPES
}
