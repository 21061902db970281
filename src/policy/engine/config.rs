//! The settings of wasmtime. The build script compiles the default plugins with this same file: an engine rejects code
//! that was compiled with other settings.

use wasmtime::{Config, WasmFeatures};

/// Compiled code can be interrupted by epochs, gives the same results on every processor, and has no tables for
/// backtraces.
pub fn engine_config() -> Config {
    let mut config = Config::new();
    config.epoch_interruption(true).wasm_backtrace_max_frames(None).generate_address_map(false);
    // Otherwise the bits of a NaN and the rounding of relaxed SIMD depend on the processor.
    config.cranelift_nan_canonicalization(true).relaxed_simd_deterministic(true);
    config.wasm_features(WasmFeatures::all(), false).wasm_features(features(), true);
    // For the adapters that wasmtime generates between nested components. The check before compilation rejects plugins
    // that use it themselves.
    config.wasm_features(WasmFeatures::MULTI_MEMORY, true);
    config
}

/// The proposals that plugins may use: what the compilers of the examples emit by default, tail calls, and relaxed
/// SIMD. No policy needs the others; each would add code that an untrusted module can reach.
pub fn features() -> WasmFeatures {
    let features = WasmFeatures::WASM2
        | WasmFeatures::EXTENDED_CONST
        | WasmFeatures::RELAXED_SIMD
        | WasmFeatures::TAIL_CALL
        | WasmFeatures::COMPONENT_MODEL;
    // Part of every version of the standard, but wasmtime is built without a garbage collector.
    features - WasmFeatures::GC_TYPES
}
