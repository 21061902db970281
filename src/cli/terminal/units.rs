//! Numbers for people.

use std::time::Duration;

/// A number of bytes: `14 B`, `1.5 kB`, `600.0 MB`.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [(u64, &str); 4] =
        [(1_000_000_000_000, "TB"), (1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB")];
    match UNITS.into_iter().find(|(unit, _)| bytes >= *unit) {
        // Tenths, rounded down, so that less than all never looks like all.
        Some((unit, name)) => format!("{}.{} {name}", bytes / unit, bytes % unit / (unit / 10)),
        None => format!("{bytes} B"),
    }
}

/// A time: `0.3 s`, `34 s`, `2m05s`, `3h07m`.
pub fn duration(time: Duration) -> String {
    match time.as_secs() {
        0..10 => format!("{:.1} s", time.as_secs_f64()),
        seconds @ 10..60 => format!("{seconds} s"),
        seconds @ 60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        seconds => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_the_unit_that_fits() {
        let texts = [0, 999, 1_000, 1_550, 599_999_999, 1_000_000_000, u64::MAX].map(bytes);
        assert_eq!(texts, ["0 B", "999 B", "1.0 kB", "1.5 kB", "599.9 MB", "1.0 GB", "18446744.0 TB"]);
    }

    #[test]
    fn times_have_the_unit_that_fits() {
        let texts = [300, 9_940, 34_900, 125_000, 11_220_000].map(|time| duration(Duration::from_millis(time)));
        assert_eq!(texts, ["0.3 s", "9.9 s", "34 s", "2m05s", "3h07m"]);
    }
}
