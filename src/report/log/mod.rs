//! Log lines.

mod json;
mod observer;
mod text;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::{
    Layer,
    filter::Targets,
    fmt::{self, MakeWriter, format::JsonFields},
    layer::SubscriberExt as _,
    util::{SubscriberInitExt as _, TryInitError},
};

use json::{JsonLines, PROGRAM};
use text::TextFields;

pub use observer::LogObserver;

/// The format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object per line with the original's keys: `level`, `ts`, `logger`, `msg`, then the event's fields.
    Json,
    /// Text.
    Text {
        /// Whether to use colours; `NO_COLOR` takes precedence.
        color: bool,
    },
}

/// Logging was initialised twice.
#[derive(Debug, thiserror::Error)]
#[error("logging is already initialised")]
pub struct LoggingError(#[from] TryInitError);

/// Initialises logging for the process.
///
/// `level` applies to this program. Dependencies log at `warn` and above only: below it they log every frame and header,
/// including tokens. The Kubernetes client's lines about requests that failed are left out: each is returned as an error
/// too, and while the API server is away there would be one every two seconds.
///
/// # Errors
///
/// If logging is already initialised.
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
    let dependencies = level.min(LevelFilter::WARN);
    Targets::new()
        .with_target(PROGRAM, level)
        .with_target("kube_client::client::builder", LevelFilter::OFF)
        .with_default(dependencies)
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn the_level_applies_to_the_program_and_dependencies_log_from_warn() {
        for (level, target, event, is_logged) in [
            (LevelFilter::DEBUG, "k8s_copycat::mirror", Level::DEBUG, true),
            (LevelFilter::INFO, "k8s_copycat::mirror", Level::DEBUG, false),
            (LevelFilter::DEBUG, "hyper::client", Level::INFO, false),
            (LevelFilter::DEBUG, "hyper::client", Level::WARN, true),
            (LevelFilter::ERROR, "hyper::client", Level::WARN, false),
            (LevelFilter::ERROR, "k8s_copycat", Level::ERROR, true),
            (LevelFilter::DEBUG, "kube_client::client::builder", Level::ERROR, false),
            (LevelFilter::DEBUG, "kube_client::client::tls", Level::WARN, true),
        ] {
            assert_eq!(filter(level).would_enable(target, &event), is_logged, "{level} {target} {event}");
        }
    }
}
