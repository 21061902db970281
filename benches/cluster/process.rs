//! The resource usage of processes, from the kernel.

use std::{fs, path::Path, process::Command, time::Duration};

/// The resource usage of a running process.
pub struct Usage {
    /// Resident memory, in bytes.
    pub resident: u64,
    /// Of which pages of files: the program itself.
    pub file: u64,
    /// The peak of resident memory, in bytes.
    pub peak: u64,
    /// CPU time of all threads.
    pub cpu: Duration,
}

impl Usage {
    /// Of the process with this ID.
    pub fn of(id: u32) -> Self {
        let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
        let bytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            let kibibytes: u64 = line.trim_start_matches(':').trim_end_matches("kB").trim().parse().unwrap();
            kibibytes * 1024
        };
        let cpu = ticks(&format!("/proc/{id}/stat"), [13, 14]);
        Self { resident: bytes("VmRSS"), file: bytes("RssFile"), peak: bytes("VmHWM"), cpu }
    }
}

/// CPU time of all ended child processes.
pub fn cpu_of_children() -> Duration {
    ticks("/proc/self/stat", [15, 16])
}

/// The sum of two fields of a `stat` file, user and system time; counted from 0.
fn ticks(path: &str, fields: [usize; 2]) -> Duration {
    // 10 ms on all supported architectures of Linux.
    const TICK: Duration = Duration::from_millis(10);
    let stat = fs::read_to_string(path).unwrap();
    // The second field, the name, may have spaces; the third follows its closing parenthesis.
    let fields_from_third: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    fields.iter().map(|field| TICK * fields_from_third[field - 2].parse::<u32>().unwrap()).sum()
}

/// Drops the cached pages of a file, so that the next start reads it from disk.
pub fn forget_pages(file: &Path) {
    let input = format!("if={}", file.display());
    let status = Command::new("dd").args([&input, "iflag=nocache", "count=0", "status=none"]).status().unwrap();
    assert!(status.success(), "dd can't drop the pages of {}", file.display());
}
