//! Log lines.

use tracing::level_filters::LevelFilter;
use tracing_subscriber::{
    Layer,
    filter::Targets,
    fmt::{self, MakeWriter, format::JsonFields},
    layer::SubscriberExt as _,
    util::{SubscriberInitExt as _, TryInitError},
};

use super::{json_lines::JsonLines, text_fields::TextFields};

/// What every target of this program's own begins with.
pub(super) const PROGRAM: &str = env!("CARGO_CRATE_NAME");

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line, with the original's keys: `level`, `ts`, `logger`, `msg`, then the event's fields.
    Json,
    /// For people.
    Text {
        /// Whether levels and fields are coloured; `NO_COLOR` wins.
        color: bool,
    },
}

/// Logging was set up twice.
#[derive(Debug, thiserror::Error)]
#[error("logging is set up already")]
pub struct LoggingError(#[from] TryInitError);

/// Sets up logging for the whole process.
///
/// The level holds for this program. Its dependencies are heard from `warn` on, whatever the level: below it they tell
/// of every frame and header, tokens among them.
///
/// # Errors
///
/// When logging was set up before.
pub fn init_logging<W>(level: LevelFilter, format: LogFormat, writer: W) -> Result<(), LoggingError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let layer = match format {
        LogFormat::Json => {
            fmt::layer().fmt_fields(JsonFields::new()).event_format(JsonLines).with_writer(writer).boxed()
        }
        LogFormat::Text { color } => {
            let layer = fmt::layer().fmt_fields(TextFields).with_writer(writer);
            if color { layer.boxed() } else { layer.with_ansi(false).boxed() }
        }
    };
    tracing_subscriber::registry().with(layer.with_filter(filter(level))).try_init()?;
    Ok(())
}

fn filter(level: LevelFilter) -> Targets {
    Targets::new().with_target(PROGRAM, level).with_default(level.min(LevelFilter::WARN))
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn the_level_is_the_programs_and_dependencies_are_heard_from_warn_on() {
        for (level, target, event, heard) in [
            (LevelFilter::DEBUG, "k8s_copycat::mirror", Level::DEBUG, true),
            (LevelFilter::INFO, "k8s_copycat::mirror", Level::DEBUG, false),
            (LevelFilter::DEBUG, "hyper::client", Level::INFO, false),
            (LevelFilter::DEBUG, "hyper::client", Level::WARN, true),
            (LevelFilter::ERROR, "hyper::client", Level::WARN, false),
            (LevelFilter::ERROR, "k8s_copycat", Level::ERROR, true),
        ] {
            assert_eq!(filter(level).would_enable(target, &event), heard, "{level} {target} {event}");
        }
    }
}
