//! The message and fields of log lines as text.

use std::{error::Error, fmt};

use tracing::field::{Field, Visit};
use tracing_subscriber::{
    field::RecordFields,
    fmt::{FormatFields, format::Writer},
};

use crate::model::{error_chain, printable};

/// As `tracing-subscriber` writes them, but with control characters escaped and with the causes of errors.
pub(super) struct TextFields;

impl<'w> FormatFields<'w> for TextFields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut visitor = Fields { writer, is_first: true, result: Ok(()) };
        fields.record(&mut visitor);
        visitor.result
    }
}

struct Fields<'w> {
    writer: Writer<'w>,
    is_first: bool,
    result: fmt::Result,
}

impl Fields<'_> {
    fn write(&mut self, field: &Field, text: &str) {
        if self.result.is_ok() {
            self.result = self.try_write(field.name(), &printable(text));
        }
    }

    fn try_write(&mut self, name: &str, text: &str) -> fmt::Result {
        if !std::mem::take(&mut self.is_first) {
            self.writer.write_char(' ')?;
        }
        let name = name.strip_prefix("r#").unwrap_or(name);
        match name {
            "message" => self.writer.write_str(text),
            _ if self.writer.has_ansi_escapes() => {
                write!(self.writer, "\x1b[3m{name}\x1b[0m\x1b[2m=\x1b[0m{text}")
            }
            _ => write!(self.writer, "{name}={text}"),
        }
    }
}

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.write(field, &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.write(field, value);
        } else {
            self.record_debug(field, &value);
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.write(field, &error_chain(value));
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;
    use crate::report::testing::{LogBuffer, Outer};

    #[test]
    fn lines_escape_control_characters_and_line_breaks() {
        for ansi in [false, true] {
            let lines = LogBuffer::default();
            let layer = tracing_subscriber::fmt::layer()
                .fmt_fields(TextFields)
                .with_ansi(ansi)
                .without_time()
                .with_writer(lines.clone());
            let error = Outer(io::Error::other("in\u{202e}ner"));
            tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
                let error = &error as &(dyn Error + 'static);
                tracing::warn!(error, source = %"a\x1b]0;x\x07\u{9b}2J", r#type = "q\n", count = 3, "not\nmir{}rored", '\u{200b}');
            });
            let text = lines.text();
            let text =
                text.replace("\x1b[3m", "").replace("\x1b[2m", "").replace("\x1b[33m", "").replace("\x1b[0m", "");
            let rest = "not\\nmir\\u{200b}rored error=outer: in\\u{202e}ner \
                        source=a\\u{1b}]0;x\\u{7}\\u{9b}2J type=\"q\\n\" count=3\n";
            assert!(text.ends_with(rest), "{text:?}");
            assert_eq!(text.chars().filter(|c| c.is_control()).count(), 1, "{text:?}");
        }
    }
}
