//! Times: when, and how long ago.

use askama::Template;
use jiff::{Timestamp, tz::TimeZone};

use super::numbers::about;

/// A time in UTC, and how far it is from now.
#[derive(Clone, Debug, PartialEq, Eq, Template)]
#[template(
    source = r#"<time datetime="{{ iso }}">{{ clock }}</time><span class="ago"> ({{ relative }})</span>"#,
    ext = "html"
)]
pub struct Moment {
    pub iso: String,
    /// `14:05:10`; on another day `27 Nov, 14:05`.
    pub clock: String,
    relative: String,
}

/// The time of a snapshot, to which other times are related.
#[derive(Clone, Copy, Debug)]
pub struct Now(Timestamp);

impl Now {
    /// From the text of a document.
    pub fn new(iso: &str) -> Self {
        Self(iso.parse().unwrap_or(Timestamp::UNIX_EPOCH))
    }

    pub fn moment(self, iso: &str) -> Moment {
        let Ok(time) = iso.parse::<Timestamp>() else {
            return Moment { iso: iso.to_owned(), clock: iso.to_owned(), relative: "unknown".to_owned() };
        };
        let [time_in_utc, now] = [time, self.0].map(|time| time.to_zoned(TimeZone::UTC));
        let format = match (time_in_utc.date() == now.date(), time_in_utc.year() == now.year()) {
            (true, _) => "%H:%M:%S",
            (false, true) => "%-d %b, %H:%M",
            (false, false) => "%-d %b %Y, %H:%M",
        };
        let seconds = self.0.as_second().saturating_sub(time.as_second());
        let relative = match seconds {
            0.. => format!("{} ago", about(seconds.unsigned_abs())),
            ..0 => format!("in {}", about(seconds.unsigned_abs())),
        };
        Moment { iso: iso.to_owned(), clock: time_in_utc.strftime(format).to_string(), relative }
    }

    pub fn optional(self, iso: Option<&String>) -> Option<Moment> {
        iso.map(|iso| self.moment(iso))
    }

    /// Seconds from a time until now; none if it is not a time, or not past.
    pub fn seconds_since(self, iso: &str) -> Option<u64> {
        u64::try_from(self.0.as_second().checked_sub(iso.parse::<Timestamp>().ok()?.as_second())?).ok()
    }

    /// Seconds between two times; none if one is not a time.
    pub fn seconds_between(one: &str, other: &str) -> Option<u64> {
        let [one, other] = [one, other].map(|time| time.parse::<Timestamp>().ok());
        u64::try_from(other?.as_second().checked_sub(one?.as_second())?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_by_clock_and_distance() {
        let now = Now::new("2026-11-27T14:05:10Z");
        for (time, shown) in [
            ("2026-11-27T14:05:10Z", "14:05:10 0 s ago"),
            ("2026-11-27T12:00:00Z", "12:00:00 2 h ago"),
            ("2026-11-27T14:06:10Z", "14:06:10 in 1 min"),
            ("2026-11-20T09:07:00Z", "20 Nov, 09:07 7 days ago"),
            ("2025-11-02T09:07:00Z", "2 Nov 2025, 09:07 390 days ago"),
            ("<b>", "<b> unknown"),
        ] {
            let moment = now.moment(time);
            assert_eq!(format!("{} {}", moment.clock, moment.relative), shown);
        }
        let html = now.moment("2026-11-27T14:05:00Z").to_string();
        assert_eq!(
            html,
            "<time datetime=\"2026-11-27T14:05:00Z\">14:05:00</time><span class=\"ago\"> (10 s ago)</span>"
        );
        assert!(!now.moment("<b>").to_string().contains("<b>"));
    }
}
