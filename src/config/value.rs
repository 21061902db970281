//! Parsers of setting values. Their errors name the text that was found and what is allowed.

use std::{net::SocketAddr, time::Duration};

use jiff::SignedDuration;
use patterns::NamePattern;
use regex::Regex;
use tracing::level_filters::LevelFilter;

/// A text for an error message: quoted, escaped and cut.
pub(super) fn quoted(text: &str) -> String {
    const MAX_CHARS: usize = 80;
    if text.chars().count() <= MAX_CHARS {
        return format!("{text:?}");
    }
    let start: String = text.chars().take(MAX_CHARS).collect();
    format!("{start:?}…")
}

/// A key for an error message. If a space or a colon is missing, a whole line is the key, possibly with a secret.
pub(super) fn quoted_key(key: &str) -> &str {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    if !key.is_empty() && key.len() <= 64 && key.bytes().all(is_word) { key } else { "(not shown)" }
}

/// The name that was probably meant: equal apart from case and separators, or with a typo or two.
pub(super) fn closest<'n>(text: &str, names: &[&'n str]) -> Option<&'n str> {
    let normalise = |name: &str| name.to_ascii_lowercase().replace(['-', '_'], "");
    let typed = normalise(text);
    let length = typed.chars().count();
    names
        .iter()
        .filter_map(|name| {
            let (known, max) = (normalise(name), 1.max(name.len() / 4));
            // A typo changes the length by at most one, which rules out other lengths cheaply.
            let is_similar_length = known.len().abs_diff(length) <= max;
            let distance = is_similar_length.then(|| strsim::osa_distance(&typed, &known))?;
            (distance <= max).then_some((distance, *name))
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// One of several words, case-insensitive.
pub(super) fn keyword<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, String> {
    let text = text.trim();
    if let Some((_, value)) = words.iter().find(|(word, _)| word.eq_ignore_ascii_case(text)) {
        return Ok(*value);
    }
    let names: Vec<_> = words.iter().map(|(word, _)| *word).collect();
    let suggestion = closest(text, &names).map(|name| format!("; did you mean {name:?}?")).unwrap_or_default();
    Err(format!("{} is not one of {}{suggestion}", quoted(text), names.join(", ")))
}

/// The booleans of Go's `strconv.ParseBool` and of YAML 1.1, case-insensitive.
pub(super) fn boolean(text: &str) -> Result<bool, String> {
    match text.trim().to_ascii_lowercase().as_str() {
        "1" | "t" | "true" | "y" | "yes" | "on" => Ok(true),
        "0" | "f" | "false" | "n" | "no" | "off" => Ok(false),
        _ => Err(format!("{} is not a boolean; write true or false", quoted(text))),
    }
}

fn integer(text: &str, max: i64, unit: &str) -> Result<i64, String> {
    let number = text.trim().parse::<i64>();
    let number =
        number.map_err(|_| format!("{} is not a whole number{unit}; write it without a unit", quoted(text)))?;
    if number > max {
        return Err(format!("{number} is too large; the maximum is {max}"));
    }
    Ok(number)
}

/// Ten years in seconds, which clocks can add without overflow.
pub(super) const MAX_SECONDS: i64 = 10 * 366 * 24 * 60 * 60;

/// Seconds. None: 0 or less, which disables the setting.
pub(super) fn seconds(text: &str) -> Result<Option<Duration>, String> {
    Ok(positive(integer(text, MAX_SECONDS, " of seconds")?))
}

/// Minutes. None: 0 or less, which disables the setting.
pub(super) fn minutes(text: &str) -> Result<Option<Duration>, String> {
    Ok(positive(integer(text, MAX_SECONDS / 60, " of minutes")?.saturating_mul(60)))
}

/// Ten years in hours.
pub(super) const MAX_HOURS: i64 = MAX_SECONDS / 3600;

/// Hours, also fractions of one. None: 0 or less, which disables the setting.
pub(super) fn hours(text: &str) -> Result<Option<Duration>, String> {
    let hours = text.trim().parse::<f64>().ok().filter(|hours| hours.is_finite());
    let hours = hours.ok_or_else(|| format!("{} is not a number of hours; write it without a unit", quoted(text)))?;
    if hours > MAX_HOURS as f64 {
        return Err(format!("{hours} is too large; the maximum is {MAX_HOURS}"));
    }
    if hours <= 0.0 {
        return Ok(None);
    }
    let seconds = hours * 3600.0;
    if seconds < 1.0 {
        return Err(format!("{hours} is too small; the minimum is one second, 0.0003, and 0 disables the setting"));
    }
    Ok(Some(Duration::from_secs_f64(seconds)))
}

/// A GiB in KiB.
pub(super) const MAX_KIB: i64 = 1 << 20;

/// KiB, returned in bytes. None: 0 or less, which disables the setting.
pub(super) fn kib(text: &str) -> Result<Option<u64>, String> {
    let kib = integer(text, MAX_KIB, " of KiB")?;
    Ok(u64::try_from(kib).ok().filter(|kib| *kib > 0).map(|kib| kib * 1024))
}

fn positive(seconds: i64) -> Option<Duration> {
    u64::try_from(seconds).ok().filter(|seconds| *seconds > 0).map(Duration::from_secs)
}

/// A regular expression.
pub(super) fn regular_expression(text: &str) -> Result<Regex, String> {
    Regex::new(text).map_err(|error| match error {
        regex::Error::CompiledTooBig(limit) => format!("{} needs more than {limit} bytes when compiled", quoted(text)),
        error => {
            let message = error.to_string();
            let reason = message.lines().last().unwrap_or_default().trim_start_matches("error: ");
            format!("{} is not a valid regular expression: {reason}", quoted(text))
        }
    })
}

/// The largest count.
pub(super) const MAX_COUNT: i64 = 10_000;

/// From 1 to [`MAX_COUNT`].
pub(super) fn count(text: &str) -> Result<usize, String> {
    match usize::try_from(integer(text, MAX_COUNT, "")?) {
        Ok(count) if count > 0 => Ok(count),
        _ => Err(format!("{} is too small; the minimum is 1", text.trim())),
    }
}

/// A duration with units, as `500ms`, `1s`, `1m30s`; from a millisecond to ten minutes.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let allowed = "write it as 500ms, 1s or 2m, from 1ms to 10m";
    let duration = text.trim().parse::<SignedDuration>().ok().and_then(|duration| Duration::try_from(duration).ok());
    duration
        .filter(|duration| (Duration::from_millis(1)..=Duration::from_secs(600)).contains(duration))
        .ok_or_else(|| format!("{} is not a valid duration; {allowed}", quoted(text)))
}

/// Bytes, or a quantity with a Kubernetes unit (`64Mi`, `1G`); from one WebAssembly page (64Ki) to its address space
/// (4Gi).
pub(super) fn memory(text: &str) -> Result<usize, String> {
    const UNITS: [(&str, u64); 7] = [
        ("Ki", 1 << 10),
        ("Mi", 1 << 20),
        ("Gi", 1 << 30),
        ("k", 1_000),
        ("M", 1_000_000),
        ("G", 1_000_000_000),
        ("", 1),
    ];
    let text = text.trim();
    let bytes = UNITS.iter().find_map(|(unit, factor)| {
        let number = text.strip_suffix(unit)?;
        if !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        number.parse::<u64>().ok()?.checked_mul(*factor)
    });
    bytes
        .filter(|bytes| ((64 << 10)..=(4 << 30)).contains(bytes))
        .and_then(|bytes| usize::try_from(bytes).ok())
        .ok_or_else(|| format!("{} is not a valid size; write it as 64Mi or 1Gi, from 64Ki to 4Gi", quoted(text)))
}

/// The levels of the original program's logger. The three above `error` mean `error`: no level hides errors.
pub(super) const LEVELS: [(&str, LevelFilter); 7] = [
    ("debug", LevelFilter::DEBUG),
    ("info", LevelFilter::INFO),
    ("warn", LevelFilter::WARN),
    ("error", LevelFilter::ERROR),
    ("dpanic", LevelFilter::ERROR),
    ("panic", LevelFilter::ERROR),
    ("fatal", LevelFilter::ERROR),
];

/// One of [`LEVELS`].
pub(super) fn level(text: &str) -> Result<LevelFilter, String> {
    keyword(text, &LEVELS)
}

/// A listen address in Go's form. None: `0`, which disables the listener. An empty host means all addresses.
pub(super) fn listener(text: &str) -> Result<Option<SocketAddr>, String> {
    let text = text.trim();
    if text == "0" {
        return Ok(None);
    }
    let full = match text.rsplit_once(':') {
        Some(("", port)) => format!("[::]:{port}"),
        Some(("localhost", port)) => format!("127.0.0.1:{port}"),
        _ => text.to_owned(),
    };
    full.parse().map(Some).map_err(|_| {
        format!("{} is not a listen address; write :8080, 127.0.0.1:8080, [::]:8080, or 0 for none", quoted(text))
    })
}

/// A name, or a shell glob as Go's `path.Match` reads it.
pub(super) fn glob(text: &str) -> Result<String, String> {
    match NamePattern::new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!("{} is not a valid shell glob: {error}", quoted(text))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_booleans_of_go_and_yaml() {
        for text in ["1", "t", "T", "TRUE", "true", "True", "yes", "on", " Y "] {
            assert_eq!(boolean(text), Ok(true), "{text}");
        }
        for text in ["0", "f", "FALSE", "no", "Off"] {
            assert_eq!(boolean(text), Ok(false), "{text}");
        }
        for text in ["ture", "2", "enabled", ""] {
            assert!(boolean(text).is_err(), "{text}");
        }
    }

    #[test]
    fn limits_numbers() {
        assert_eq!(seconds("120"), Ok(Some(Duration::from_secs(120))));
        assert_eq!(seconds("0"), Ok(None));
        assert_eq!(seconds("-5"), Ok(None));
        assert_eq!(minutes(" 1440 "), Ok(Some(Duration::from_secs(86_400))));
        assert_eq!(count("3"), Ok(3));
        for text in ["2m", "1.5", "", "9223372036854775807", "99999999999999999999"] {
            assert!(seconds(text).is_err(), "{text}");
            assert!(minutes(text).is_err(), "{text}");
        }
        for text in ["0", "-1", "10001", "two"] {
            assert!(count(text).is_err(), "{text}");
        }
    }

    #[test]
    fn parses_durations_and_sizes_with_known_units() {
        for (text, milliseconds) in [("1s", 1_000), ("500ms", 500), ("2m", 120_000), ("1m30s", 90_000)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "1", "0s", "-1s", "11m", "1 parsec"] {
            assert!(duration(text).is_err(), "{text}");
        }
        for (text, bytes) in
            [("64Mi", 64 << 20), ("1Gi", 1 << 30), ("65536", 65_536), ("64Ki", 65_536), ("2M", 2_000_000)]
        {
            assert_eq!(memory(text), Ok(bytes), "{text}");
        }
        for text in ["", "Mi", "-1Mi", "1.5Gi", "64", "5Gi", "64mb", "18446744073709551616Gi", "99999999999999999Gi"] {
            assert!(memory(text).is_err(), "{text}");
        }
    }

    #[test]
    fn parses_listen_addresses_as_go_does() {
        for (text, address) in [
            (":8080", Some("[::]:8080")),
            ("0", None),
            ("127.0.0.1:0", Some("127.0.0.1:0")),
            ("[::]:80", Some("[::]:80")),
            ("localhost:9", Some("127.0.0.1:9")),
        ] {
            assert_eq!(listener(text), Ok(address.map(|address| address.parse().unwrap())), "{text}");
        }
        for text in ["8080", ":", ":http", ":70000", "metrics:80", "::80"] {
            assert!(listener(text).is_err(), "{text}");
        }
    }

    #[test]
    fn validates_globs_as_go_does() {
        for text in ["*", "prod-*", "a?c", "[a-z]x", "[^a]x", r"a\*b", "[\\]]", "plain", "a]b", "[a-z0-9]*"] {
            assert!(glob(text).is_ok(), "{text}");
        }
        for text in ["[", "[a", "[]", "[]a]", "[a-]", "[-a]", "[^]", "*\\", "[a\\", "x[a-"] {
            assert!(glob(text).is_err(), "{text}");
        }
    }

    #[test]
    fn suggests_the_closest_name() {
        let names = ["includeNamespaces", "skipNames", "dryRun", "name"];
        assert_eq!(closest("dryrun", &names), Some("dryRun"));
        assert_eq!(closest("include_namespace", &names), Some("includeNamespaces"));
        assert_eq!(closest("nmae", &names), Some("name"));
        assert_eq!(closest("somethingElse", &names), None);
    }
}
