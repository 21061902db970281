//! Log lines as JSON, with the keys that the original writes.

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

use super::logging::PROGRAM;
use crate::model::printable_json;

/// The keys that every line begins with; a field of such a name gets an underscore.
const KEYS: [&str; 4] = ["level", "ts", "logger", "msg"];

/// One JSON object a line: [`KEYS`], then the fields of the event and of the spans around it, by name; the innermost
/// wins. Times are RFC 3339 in UTC, to the nanosecond.
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
            // A span without fields has an empty text, which is no JSON.
            if let Ok(of_span) = serde_json::from_str::<Map<String, Value>>(&formatted.fields) {
                of_span.into_iter().for_each(|(name, value)| fields.insert(&name, value));
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

/// The module below the program's own crate, with dots: `mirror.copy`; another crate's target as it is.
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
        self.insert(field.name(), with_causes(value).into());
    }
}

/// An error and what caused it, in one line.
pub(super) fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use tracing_subscriber::{fmt::MakeWriter, layer::SubscriberExt as _};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Lines {
        type Writer = Self;

        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    /// The lines that `log` writes.
    fn lines(log: impl FnOnce()) -> Vec<String> {
        let lines = Lines::default();
        let layer = tracing_subscriber::fmt::layer()
            .fmt_fields(JsonFields::new())
            .event_format(JsonLines)
            .with_writer(lines.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), log);
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] io::Error);

    #[test]
    fn a_line_has_the_originals_keys_first_and_its_fields_flat() {
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
    fn nothing_of_a_line_acts_on_a_terminal() {
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
    fn fields_of_spans_are_told_and_keys_stand_once() {
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
