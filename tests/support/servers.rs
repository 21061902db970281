//! Where the servers' programs and their ports are found.

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

/// The program `name`: from `KUBEBUILDER_ASSETS`, then where `tests/servers/install` puts it, then from the `PATH`.
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

/// A port on loopback that nobody listens on, and that no other call in this process returns.
///
/// It lies below the ports that the kernel hands out by itself (from 32768), so that no connection takes it before the
/// server does that it is for. Test runs beside each other start at different places.
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
