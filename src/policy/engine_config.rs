//! How wasmtime is set up. The build compiles the default plugins with these very settings: an engine with others
//! refuses what was compiled ahead of time.

use wasmtime::Config;

/// Code that can be interrupted by epochs, and without the tables that only backtraces need.
pub fn engine_config() -> Config {
    let mut config = Config::new();
    config.epoch_interruption(true).wasm_backtrace_max_frames(None).generate_address_map(false);
    config
}
