//! Numbers for people.

use std::time::Duration;

/// With separators: `20,000`.
pub fn count<N: TryInto<u64>>(number: N) -> String {
    let digits = number.try_into().unwrap_or(u64::MAX).to_string();
    let mut shown = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

/// `1 image`, `2,000 images`.
pub fn counted(number: usize, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

/// A number of bytes: `14 B`, `1.5 kB`, `600.0 MB`. Rounded down, so that less than all never looks like all.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [(u64, &str); 4] =
        [(1_000_000_000_000, "TB"), (1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB")];
    match UNITS.into_iter().find(|(unit, _)| bytes >= *unit) {
        Some((unit, name)) => format!("{}.{} {name}", count(bytes / unit), bytes % unit / (unit / 10)),
        None => format!("{bytes} B"),
    }
}

/// A duration with the unit that fits: `40 ms`, `1.5 s`, `34 s`, `2 min 5 s`, `3 h 7 min`, `4 days`.
pub fn duration(time: Duration) -> String {
    match time.as_secs() {
        0 => format!("{} ms", time.as_millis()),
        1..10 => format!("{:.1} s", time.as_secs_f64()),
        seconds @ 10..60 => format!("{seconds} s"),
        seconds @ 60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        seconds @ 3600..172_800 => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
        seconds => format!("{} days", seconds / 86_400),
    }
}

/// The same with one unit, for what is long ago: `34 s`, `2 min`, `3 h`, `4 days`.
pub fn about(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_separators() {
        assert_eq!(
            [0, 12, 999, 1_000, 20_000, 1_234_567].map(count::<u64>),
            ["0", "12", "999", "1,000", "20,000", "1,234,567"]
        );
        assert_eq!(counted(1, "image", "images"), "1 image");
        assert_eq!(counted(0, "image", "images"), "0 images");
    }

    #[test]
    fn units_fit() {
        let texts = [0, 999, 1_000, 1_550, 599_999_999, 1_000_000_000].map(bytes);
        assert_eq!(texts, ["0 B", "999 B", "1.0 kB", "1.5 kB", "599.9 MB", "1.0 GB"]);
        let texts =
            [40, 1_500, 34_900, 125_000, 11_220_000, 400_000_000].map(|time| duration(Duration::from_millis(time)));
        assert_eq!(texts, ["40 ms", "1.5 s", "34 s", "2 min 5 s", "3 h 7 min", "4 days"]);
        assert_eq!([5, 125, 11_220, 400_000].map(about), ["5 s", "2 min", "3 h", "4 days"]);
    }
}
