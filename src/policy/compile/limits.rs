//! The limits of one compilation: proportional to the size of the module, and within the available memory.

use std::{fs, path::Path, thread, time::Duration};

const MIB: u64 = 1 << 20;

/// For the compiler and its threads, whatever the module.
const BASE_MEMORY: u64 = 256 * MIB;
/// Per byte of the module. Measured with ordinary plugins, the compiler takes less than half of it.
const MEMORY_FACTOR: u64 = 40;
const MAX_MEMORY: u64 = 1024 * MIB;
/// The compiler does not run with less.
const MIN_MEMORY: u64 = 32 * MIB;
const BASE_CPU: u64 = 10;
/// Seconds per MiB of the module. Ordinary plugins take a third of it.
const CPU_PER_MIB: u64 = 5;
/// The deadline in multiples of the CPU time: the processor may be shared or throttled.
const DEADLINE_FACTOR: u64 = 4;
/// More threads would need more memory.
const MAX_THREADS: usize = 4;

/// The limits of one compiler process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompileLimits {
    /// In bytes.
    pub memory: u64,
    /// Whether `memory` is less than a module of this size may use, as not more is available.
    pub is_scarce: bool,
    /// In seconds.
    pub cpu: u64,
    pub deadline: Duration,
    pub threads: usize,
}

impl CompileLimits {
    /// The limits for a module of `size` bytes.
    ///
    /// # Errors
    /// The available memory in bytes, if it is too little for the compiler.
    pub fn for_size(size: usize) -> Result<Self, u64> {
        Self::within(size, available_memory())
    }

    fn within(size: usize, available: Option<u64>) -> Result<Self, u64> {
        let size = u64::try_from(size).unwrap_or(u64::MAX);
        let desired = BASE_MEMORY.saturating_add(size.saturating_mul(MEMORY_FACTOR)).min(MAX_MEMORY);
        let memory = available.map_or(desired, |available| desired.min(available));
        if memory < MIN_MEMORY {
            return Err(memory);
        }
        let cpu = BASE_CPU + size.div_ceil(MIB).saturating_mul(CPU_PER_MIB);
        let threads = thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
        let deadline = Duration::from_secs(cpu.saturating_mul(DEADLINE_FACTOR));
        Ok(Self { memory, is_scarce: memory < desired, cpu, deadline, threads })
    }
}

/// The bytes that a child process may use, given the free memory of the machine and of each cgroup of this process.
fn available_memory() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let in_groups = groups.lines().filter_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        if controllers.is_empty() {
            Some(available_in_groups(Path::new("/sys/fs/cgroup"), path, "memory.max", "memory.current", ""))
        } else if controllers.split(',').any(|controller| controller == "memory") {
            let (limit, usage) = ("memory.limit_in_bytes", "memory.usage_in_bytes");
            Some(available_in_groups(Path::new("/sys/fs/cgroup/memory"), path, limit, usage, "total_"))
        } else {
            None
        }
    });
    in_groups.flatten().chain(free_memory().map(|free| share_for_child(free, 0))).min()
}

/// For the cgroup at `path` and each of its ancestors. In a container, `path` may be the host's, while `root` is the
/// container's own cgroup. `prefix` is that of the statistics that include descendant cgroups.
fn available_in_groups(root: &Path, path: &str, limit: &str, usage: &str, prefix: &str) -> Vec<u64> {
    let path = Path::new(path.trim_start_matches('/'));
    let available = |group: &Path| {
        let group = root.join(group);
        let number = |name: &str| fs::read_to_string(group.join(name)).ok()?.trim().parse::<u64>().ok();
        // `max` is not a number: no limit.
        let limit = number(limit)?;
        let statistics = fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
        // The kernel reclaims the page cache before it kills a process.
        let files = ["inactive_file", "active_file"].map(|name| field(&statistics, &format!("{prefix}{name}")));
        let files = files.into_iter().flatten().sum();
        Some(share_for_child(limit, number(usage)?.saturating_sub(files)))
    };
    path.ancestors().filter_map(available).collect()
}

/// Keeps an eighth, at most 64 MiB, for this process, and a quarter of the rest for the result of the compiler, which
/// is at most a third of the compiler's memory.
fn share_for_child(limit: u64, used: u64) -> u64 {
    let reserved = (limit / 8).min(64 * MIB);
    limit.saturating_sub(used).saturating_sub(reserved) / 4 * 3
}

fn free_memory() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()?.saturating_mul(1024))
}

/// The number in the line `NAME NUMBER`.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_with_the_module_up_to_a_maximum() {
        let of = |mib: usize| CompileLimits::within(mib << 20, None).unwrap();
        assert_eq!((of(0).memory, of(0).cpu), (BASE_MEMORY, BASE_CPU));
        assert!(of(1).memory > BASE_MEMORY && of(18).memory > of(3).memory && of(18).cpu > of(3).cpu);
        assert_eq!(of(64).memory, MAX_MEMORY);
        assert!(!of(64).is_scarce);
    }

    #[test]
    fn stays_within_the_available_memory() {
        let scarce = CompileLimits::within(1 << 20, Some(100 * MIB)).unwrap();
        assert!(scarce.is_scarce && scarce.memory == 100 * MIB);
        assert_eq!(CompileLimits::within(1 << 20, Some(10 * MIB)), Err(10 * MIB));
        assert!(share_for_child(256 * MIB, 40 * MIB) <= 184 * MIB);
        assert_eq!(share_for_child(256 * MIB, 300 * MIB), 0);
    }

    #[test]
    fn reads_limits_of_the_cgroup_and_its_ancestors() {
        let root = tempfile::tempdir().unwrap();
        let pod = root.path().join("kubepods/pod1");
        fs::create_dir_all(&pod).unwrap();
        let available = |path: &str| available_in_groups(root.path(), path, "memory.max", "memory.current", "");
        let write = |folder: &Path, max: &str, current: u64| {
            fs::write(folder.join("memory.max"), max).unwrap();
            fs::write(folder.join("memory.current"), format!("{current}\n")).unwrap();
            fs::write(folder.join("memory.stat"), format!("anon 1\nactive_file 0\ninactive_file {MIB}\n")).unwrap();
        };
        write(&pod, "max\n", 1);
        assert!(available("/kubepods/pod1").is_empty());
        write(&pod, &format!("{}\n", 256 * MIB), 41 * MIB);
        assert_eq!(available("/kubepods/pod1"), [share_for_child(256 * MIB, 40 * MIB)]);
        write(&root.path().join("kubepods"), &format!("{}\n", 512 * MIB), MIB);
        assert_eq!(available("/kubepods/pod1").len(), 2);
        // A path of the host, with the container's own cgroup at the root.
        write(root.path(), &format!("{}\n", 128 * MIB), MIB);
        assert_eq!(available("/of/the/host"), [share_for_child(128 * MIB, 0)]);
    }
}
