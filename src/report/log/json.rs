//! Log lines as JSON with the original's keys, which `tracing-subscriber`'s own format cannot write.

use std::{error::Error, fmt};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    fmt::{
        FmtContext, FormatEvent, FormattedFields,
        format::{JsonFields, Writer},
    },
    registry::LookupSpan,
};

use crate::model::{error_chain, printable_json};

/// The prefix of this program's own log targets.
pub(super) const PROGRAM: &str = env!("CARGO_CRATE_NAME");

/// The first keys of every line; a field with such a name gets an underscore appended.
const KEYS: [&str; 4] = ["level", "ts", "logger", "msg"];

/// One JSON object per line: [`KEYS`], then the fields of the event and its spans, by name; the innermost takes precedence.
/// Times are RFC 3339 in UTC with nanoseconds.
pub(super) struct JsonLines;

impl<S> FormatEvent<S, JsonFields> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, JsonFields>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Fields::default();
        for span in context.event_scope().into_iter().flat_map(|scope| scope.from_root()) {
            let extensions = span.extensions();
            let Some(formatted) = extensions.get::<FormattedFields<JsonFields>>() else { continue };
            // A span without fields has an empty text, which is not JSON.
            if let Ok(span_fields) = serde_json::from_str::<Map<String, Value>>(&formatted.fields) {
                span_fields.into_iter().for_each(|(name, value)| fields.insert(&name, value));
            }
        }
        event.record(&mut fields);

        let metadata = event.metadata();
        let level = metadata.level().as_str().to_ascii_lowercase();
        let time = Timestamp::now().to_string();
        let logger = logger(metadata.target());
        write!(writer, "{{")?;
        for (number, (key, value)) in KEYS.iter().zip([level, time, logger, fields.message]).enumerate() {
            let comma = if number == 0 { "" } else { "," };
            write!(writer, "{comma}\"{key}\":{}", json(&value)?)?;
        }
        for (name, value) in &fields.others {
            write!(writer, ",{}:{}", json(name)?, json(value)?)?;
        }
        writeln!(writer, "}}")
    }
}

fn json(value: &impl Serialize) -> Result<String, fmt::Error> {
    printable_json(value).map_err(|_| fmt::Error)
}

/// The module within this program, with dots: `mirror.copy`; for other crates their target.
fn logger(target: &str) -> String {
    let module = target.strip_prefix(PROGRAM).and_then(|rest| rest.strip_prefix("::")).unwrap_or(target);
    module.replace("::", ".")
}

#[derive(Default)]
struct Fields {
    message: String,
    others: Map<String, Value>,
}

impl Fields {
    fn insert(&mut self, name: &str, value: Value) {
        // A field named by a keyword is written `r#type` in the source.
        let name = name.strip_prefix("r#").unwrap_or(name);
        let name = if KEYS.contains(&name) { format!("{name}_") } else { name.to_owned() };
        self.others.insert(name, value);
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        if field.name() == "message" {
            self.message = text;
        } else {
            self.insert(field.name(), text.into());
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.message);
        } else {
            self.insert(field.name(), value.into());
        }
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.insert(field.name(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.insert(field.name(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.insert(field.name(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.insert(field.name(), value.into());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.insert(field.name(), error_chain(value).into());
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;
    use crate::report::testing::{LogBuffer, Outer};

    /// The lines that `log` writes.
    fn lines(log: impl FnOnce()) -> Vec<String> {
        let lines = LogBuffer::default();
        let layer = tracing_subscriber::fmt::layer()
            .fmt_fields(JsonFields::new())
            .event_format(JsonLines)
            .with_writer(lines.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), log);
        let text = lines.text();
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_line_has_the_originals_keys_first_then_its_fields() {
        let error = Outer(io::Error::other("inner"));
        let lines = lines(|| {
            let error = &error as &(dyn Error + 'static);
            tracing::warn!(
                target: "k8s_copycat::mirror::copy",
                error, namespace = "shop", bytes = 12_u64, dry = false, digest = %"sha256:0a", "copy \"failed\"\nonce"
            );
            tracing::info!(target: "hyper::client", "{}", 1);
        });
        let [line, other] = lines.as_slice() else { panic!("{lines:?}") };
        assert!(line.starts_with(r#"{"level":"warn","ts":"2"#), "{line}");
        let rest = r#"Z","logger":"mirror.copy","msg":"copy \"failed\"\nonce","bytes":12,"digest":"sha256:0a","dry":false,"error":"outer: inner","namespace":"shop"}"#;
        assert!(line.ends_with(rest), "{line}");
        let parsed: Value = serde_json::from_str(other).unwrap();
        assert_eq!((&parsed["logger"], &parsed["msg"]), (&"hyper.client".into(), &"1".into()));
        parsed["ts"].as_str().unwrap().parse::<Timestamp>().unwrap();
    }

    #[test]
    fn lines_escape_control_characters() {
        let hostile = "a\x1b[2J\u{9b}2J\x7f\u{202e}\u{e0041}";
        let lines = lines(|| tracing::info!(source = hostile, target = %hostile, "{hostile}"));
        let [line] = lines.as_slice() else { panic!("{lines:?}") };
        assert!(line.is_ascii() && !line.contains(char::is_control), "{line:?}");
        let parsed: Value = serde_json::from_str(line).unwrap();
        for key in ["msg", "source", "target"] {
            assert_eq!(parsed[key], hostile, "{key}");
        }
    }

    #[test]
    fn fields_of_spans_are_included_and_keys_are_unique() {
        let lines = lines(|| {
            let outer = tracing::info_span!("outer", source = "nginx", attempt = 1_u64).entered();
            let inner = tracing::info_span!("inner").entered();
            tracing::info!(attempt = 2_u64, level = "high", r#type = "index", "tried");
            drop((inner, outer));
        });
        let [line] = lines.as_slice() else { panic!("{lines:?}") };
        let rest = r#""msg":"tried","attempt":2,"level_":"high","source":"nginx","type":"index"}"#;
        assert!(line.ends_with(rest), "{line}");
    }
}
