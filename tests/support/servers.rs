//! Executables and ports of servers.

use std::{
    env,
    net::TcpListener,
    path::PathBuf,
    process,
    sync::{
        LazyLock,
        atomic::{AtomicU16, Ordering},
    },
};

/// The executable `name`: from `KUBEBUILDER_ASSETS`, the folder of `tests/servers/install`, or `PATH`.
pub fn program(name: &str) -> PathBuf {
    let set = |variable: &str| env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    let installed = set("COPYCAT_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|cache| cache.join("k8s-copycat")))
        .or_else(|| set("HOME").map(|home| home.join(".cache/k8s-copycat")))
        .map(|cache| cache.join("servers/bin"));
    let path = env::var_os("PATH").unwrap_or_default();
    let directories = [set("KUBEBUILDER_ASSETS"), set("COPYCAT_SERVERS"), installed]
        .into_iter()
        .flatten()
        .chain(env::split_paths(&path));
    directories
        .map(|directory| directory.join(name))
        .find(|file| file.is_file())
        .unwrap_or_else(|| panic!("{name} is not installed: run `make test-servers` (tests/servers/install)"))
}

/// A free port on loopback that no other call in this process returns.
///
/// It is below the kernel's ephemeral ports (from 32768), so that no connection takes it before the server does. Concurrent
/// test runs start at different ports.
pub fn free_port() -> u16 {
    const FIRST: u16 = 15_000;
    const COUNT: u16 = 15_000;
    static NEXT: LazyLock<AtomicU16> = LazyLock::new(|| AtomicU16::new((process::id() * 97 % u32::from(COUNT)) as u16));
    for _ in 0..COUNT {
        let port = FIRST + NEXT.fetch_add(1, Ordering::Relaxed) % COUNT;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port between {FIRST} and {}", FIRST + COUNT)
}
