//! What compiling one module may take: in proportion to its length, and no more than there is.

use std::{fs, path::Path, thread, time::Duration};

const MIB: u64 = 1 << 20;

/// Enough for the compiler and its threads, whatever the module.
const BASE_MEMORY: u64 = 256 * MIB;
/// For each byte of the module; compilers of honest code were seen to take less than half of it.
const MEMORY_FACTOR: u64 = 40;
const MOST_MEMORY: u64 = 1024 * MIB;
/// Below this, starting the compiler is of no use.
const LEAST_MEMORY: u64 = 32 * MIB;
const BASE_CPU: u64 = 10;
/// Seconds for each MiB of the module; three times of what honest code was seen to take.
const CPU_PER_MIB: u64 = 5;
/// How much longer it may take by the clock: the processor may be lent out, or held to half of its time.
const CLOCK_FACTOR: u64 = 4;
/// More threads would want more memory.
const MOST_THREADS: usize = 4;

/// The limits of one compiling process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// In bytes.
    pub memory: u64,
    /// Whether the memory is less than a module of this length could have elsewhere.
    pub is_scarce: bool,
    /// In seconds.
    pub cpu: u64,
    pub deadline: Duration,
    pub threads: usize,
}

impl Allowance {
    /// For a module of so many bytes, as things are now; none where there is no memory for a compiler at all.
    pub fn of(length: usize) -> Result<Self, u64> {
        Self::with(length, room())
    }

    fn with(length: usize, room: Option<u64>) -> Result<Self, u64> {
        let length = u64::try_from(length).unwrap_or(u64::MAX);
        let wanted = BASE_MEMORY.saturating_add(length.saturating_mul(MEMORY_FACTOR)).min(MOST_MEMORY);
        let memory = room.map_or(wanted, |room| wanted.min(room));
        if memory < LEAST_MEMORY {
            return Err(memory);
        }
        let cpu = BASE_CPU + length.div_ceil(MIB).saturating_mul(CPU_PER_MIB);
        let threads = thread::available_parallelism().map_or(1, usize::from).min(MOST_THREADS);
        let deadline = Duration::from_secs(cpu.saturating_mul(CLOCK_FACTOR));
        Ok(Self { memory, is_scarce: memory < wanted, cpu, deadline, threads })
    }
}

/// What this process may still take for another one, in bytes: of the machine, and of each control group that it is in.
fn room() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let of_groups = groups.lines().filter_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        if controllers.is_empty() {
            Some(rooms_above(Path::new("/sys/fs/cgroup"), path, "memory.max", "memory.current", ""))
        } else if controllers.split(',').any(|controller| controller == "memory") {
            let (limit, usage) = ("memory.limit_in_bytes", "memory.usage_in_bytes");
            Some(rooms_above(Path::new("/sys/fs/cgroup/memory"), path, limit, usage, "total_"))
        } else {
            None
        }
    });
    of_groups.flatten().chain(available().map(|available| left(available, 0))).min()
}

/// The group and those around it. In a container their path may be one of the host, and what is mounted the group itself.
/// `prefix` is that of the statistics that count the groups below.
fn rooms_above(root: &Path, path: &str, limit: &str, usage: &str, prefix: &str) -> Vec<u64> {
    let path = Path::new(path.trim_start_matches('/'));
    let room = |group: &Path| {
        let group = root.join(group);
        let number = |name: &str| fs::read_to_string(group.join(name)).ok()?.trim().parse::<u64>().ok();
        // No number is `max`.
        let limit = number(limit)?;
        let statistics = fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
        // Pages of files are given up before anybody is killed.
        let files = ["inactive_file", "active_file"].map(|name| field(&statistics, &format!("{prefix}{name}")));
        let files = files.into_iter().flatten().sum();
        Some(left(limit, number(usage)?.saturating_sub(files)))
    };
    path.ancestors().filter_map(room).collect()
}

/// An eighth is kept for what the program does meanwhile, and a quarter of the rest for taking the result over, which is
/// a third of what the compiler has.
fn left(limit: u64, used: u64) -> u64 {
    let kept = (limit / 8).min(64 * MIB);
    limit.saturating_sub(used).saturating_sub(kept) / 4 * 3
}

fn available() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()?.saturating_mul(1024))
}

/// `123` of the line `name 123`.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_follows_the_length_and_ends_somewhere() {
        let of = |mib: usize| Allowance::with(mib << 20, None).unwrap();
        assert_eq!((of(0).memory, of(0).cpu), (BASE_MEMORY, BASE_CPU));
        assert!(of(1).memory > BASE_MEMORY && of(18).memory > of(3).memory && of(18).cpu > of(3).cpu);
        assert_eq!(of(64).memory, MOST_MEMORY);
        assert!(!of(64).is_scarce);
    }

    #[test]
    fn it_is_no_more_than_there_is() {
        let scarce = Allowance::with(1 << 20, Some(100 * MIB)).unwrap();
        assert!(scarce.is_scarce && scarce.memory == 100 * MIB);
        assert_eq!(Allowance::with(1 << 20, Some(10 * MIB)), Err(10 * MIB));
        assert!(left(256 * MIB, 40 * MIB) <= 184 * MIB);
        assert_eq!(left(256 * MIB, 300 * MIB), 0);
    }

    #[test]
    fn limits_are_read_from_the_group_and_from_those_around_it() {
        let root = tempfile::tempdir().unwrap();
        let pod = root.path().join("kubepods/pod1");
        fs::create_dir_all(&pod).unwrap();
        let rooms = |path: &str| rooms_above(root.path(), path, "memory.max", "memory.current", "");
        let write = |folder: &Path, max: &str, current: u64| {
            fs::write(folder.join("memory.max"), max).unwrap();
            fs::write(folder.join("memory.current"), format!("{current}\n")).unwrap();
            fs::write(folder.join("memory.stat"), format!("anon 1\nactive_file 0\ninactive_file {MIB}\n")).unwrap();
        };
        write(&pod, "max\n", 1);
        assert!(rooms("/kubepods/pod1").is_empty());
        write(&pod, &format!("{}\n", 256 * MIB), 41 * MIB);
        assert_eq!(rooms("/kubepods/pod1"), [left(256 * MIB, 40 * MIB)]);
        write(&root.path().join("kubepods"), &format!("{}\n", 512 * MIB), MIB);
        assert_eq!(rooms("/kubepods/pod1").len(), 2);
        // The path of the host's, and the container's own group at the root.
        write(root.path(), &format!("{}\n", 128 * MIB), MIB);
        assert_eq!(rooms("/of/the/host"), [left(128 * MIB, 0)]);
    }
}
