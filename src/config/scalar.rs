//! What a setting's text may be. Each reader takes the text as it was written and says, where it can't be that, what
//! was found and what is allowed.

use std::{net::SocketAddr, time::Duration};

use jiff::SignedDuration;
use patterns::NamePattern;
use regex::Regex;
use tracing::level_filters::LevelFilter;

/// A text for an error message: quoted, escaped, and cut.
pub(super) fn shown(text: &str) -> String {
    const LONGEST: usize = 80;
    if text.chars().count() <= LONGEST {
        return format!("{text:?}");
    }
    let start: String = text.chars().take(LONGEST).collect();
    format!("{start:?}…")
}

/// A key for an error message: where a blank or a colon was forgotten, a whole line becomes the key, secrets and all.
pub(super) fn shown_key(key: &str) -> &str {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    if !key.is_empty() && key.len() <= 64 && key.bytes().all(word) { key } else { "(not shown)" }
}

/// The name that was probably meant: the same in other capitals, or a slip or two away.
pub(super) fn near<'n>(text: &str, names: &[&'n str]) -> Option<&'n str> {
    let plain = |name: &str| name.to_ascii_lowercase().replace(['-', '_'], "");
    let meant = plain(text);
    let length = meant.chars().count();
    names
        .iter()
        .filter_map(|name| {
            let (known, most) = (plain(name), 1.max(name.len() / 4));
            // A slip changes the length by one at most: what is much longer need not be measured.
            let may_be_near = known.len().abs_diff(length) <= most;
            let distance = may_be_near.then(|| strsim::osa_distance(&meant, &known))?;
            (distance <= most).then_some((distance, *name))
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// One of a few words in any case, or what to write.
pub(super) fn word<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, String> {
    let text = text.trim();
    if let Some((_, value)) = words.iter().find(|(word, _)| word.eq_ignore_ascii_case(text)) {
        return Ok(*value);
    }
    let names: Vec<_> = words.iter().map(|(word, _)| *word).collect();
    let meant = near(text, &names).map(|name| format!("; did you mean {name:?}?")).unwrap_or_default();
    Err(format!("{} is none of {}{meant}", shown(text), names.join(", ")))
}

/// What Go's `strconv.ParseBool` and YAML 1.1 read, in any case.
pub(super) fn boolean(text: &str) -> Result<bool, String> {
    match text.trim().to_ascii_lowercase().as_str() {
        "1" | "t" | "true" | "y" | "yes" | "on" => Ok(true),
        "0" | "f" | "false" | "n" | "no" | "off" => Ok(false),
        _ => Err(format!("{} is not a boolean; write true or false", shown(text))),
    }
}

fn integer(text: &str, most: i64, unit: &str) -> Result<i64, String> {
    let number = text.trim().parse::<i64>();
    let number = number.map_err(|_| format!("{} is no whole number{unit}; write it without a unit", shown(text)))?;
    if number > most {
        return Err(format!("{number} is too large; at most {most} is allowed"));
    }
    Ok(number)
}

/// Ten years: nothing waits longer, and clocks can add it without overflow.
const LONGEST_WAIT: i64 = 10 * 366 * 24 * 60 * 60;

/// Seconds; 0 and less turn it off.
pub(super) fn seconds(text: &str) -> Result<Option<Duration>, String> {
    Ok(positive(integer(text, LONGEST_WAIT, " of seconds")?))
}

/// Minutes; 0 and less turn it off.
pub(super) fn minutes(text: &str) -> Result<Option<Duration>, String> {
    Ok(positive(integer(text, LONGEST_WAIT / 60, " of minutes")?.saturating_mul(60)))
}

/// KiB, as bytes; 0 and less turn it off.
pub(super) fn kib(text: &str) -> Result<Option<u64>, String> {
    let kib = integer(text, 1 << 20, " of KiB")?;
    Ok(u64::try_from(kib).ok().filter(|kib| *kib > 0).map(|kib| kib * 1024))
}

fn positive(seconds: i64) -> Option<Duration> {
    u64::try_from(seconds).ok().filter(|seconds| *seconds > 0).map(Duration::from_secs)
}

/// What is matched anywhere in a text.
pub(super) fn regular_expression(text: &str) -> Result<Regex, String> {
    Regex::new(text).map_err(|error| match error {
        regex::Error::CompiledTooBig(limit) => format!("{} needs more than {limit} bytes when compiled", shown(text)),
        error => {
            let explained = error.to_string();
            let reason = explained.lines().last().unwrap_or_default().trim_start_matches("error: ");
            format!("{} is no regular expression: {reason}", shown(text))
        }
    })
}

/// From 1 to 10,000.
pub(super) fn count(text: &str) -> Result<usize, String> {
    match usize::try_from(integer(text, 10_000, "")?) {
        Ok(count) if count > 0 => Ok(count),
        _ => Err(format!("{} is too small; at least 1 is needed", text.trim())),
    }
}

/// A time with its unit, as `500ms`, `1s`, `1m30s`; from a millisecond to ten minutes.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let allowed = "write a time as 500ms, 1s or 2m, from 1ms to 10m";
    let duration = text.trim().parse::<SignedDuration>().ok().and_then(|duration| Duration::try_from(duration).ok());
    duration
        .filter(|duration| (Duration::from_millis(1)..=Duration::from_secs(600)).contains(duration))
        .ok_or_else(|| format!("{} is no such time; {allowed}", shown(text)))
}

/// Bytes, or with a unit as Kubernetes writes it (`64Mi`, `1G`); from one page of WebAssembly memory to all it can
/// address.
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
        .ok_or_else(|| format!("{} is no such size; write it as 64Mi or 1Gi, from 64Ki to 4Gi", shown(text)))
}

/// The levels of the original's logger. The three above `error` log as `error`: a level that hides errors does not
/// exist here.
pub(super) fn level(text: &str) -> Result<LevelFilter, String> {
    word(
        text,
        &[
            ("debug", LevelFilter::DEBUG),
            ("info", LevelFilter::INFO),
            ("warn", LevelFilter::WARN),
            ("error", LevelFilter::ERROR),
            ("dpanic", LevelFilter::ERROR),
            ("panic", LevelFilter::ERROR),
            ("fatal", LevelFilter::ERROR),
        ],
    )
}

/// Where to listen, in Go's form; none for `0`, which turns the listener off. A missing host means every IPv4
/// address; for IPv6 as well, the host is `[::]`.
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
        format!("{} is no address to listen on; write :8080, 127.0.0.1:8080, [::]:8080, or 0 for none", shown(text))
    })
}

/// A name, or a shell glob as Go's `path.Match` reads it.
pub(super) fn glob(text: &str) -> Result<String, String> {
    match NamePattern::new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!("{} is not a valid shell glob: {error}", shown(text))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn booleans_are_the_union_of_what_people_write() {
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
    fn numbers_have_bounds() {
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
    fn times_and_sizes_need_units_that_are_known() {
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
    fn listeners_are_written_as_in_go() {
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
    fn globs_are_those_of_go() {
        for text in ["*", "prod-*", "a?c", "[a-z]x", "[^a]x", r"a\*b", "[\\]]", "plain", "a]b", "[a-z0-9]*"] {
            assert!(glob(text).is_ok(), "{text}");
        }
        for text in ["[", "[a", "[]", "[]a]", "[a-]", "[-a]", "[^]", "*\\", "[a\\", "x[a-"] {
            assert!(glob(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_slip_finds_what_was_meant() {
        let names = ["includeNamespaces", "skipNames", "dryRun", "name"];
        assert_eq!(near("dryrun", &names), Some("dryRun"));
        assert_eq!(near("include_namespace", &names), Some("includeNamespaces"));
        assert_eq!(near("nmae", &names), Some("name"));
        assert_eq!(near("somethingElse", &names), None);
    }
}
