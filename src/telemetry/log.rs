//! Log set-up: text on a terminal, JSON otherwise. Everything goes to standard error.

use std::{
    io::{self, IsTerminal},
    sync::OnceLock,
};

use tracing::Subscriber;
use tracing_subscriber::{
    EnvFilter,
    filter::{LevelFilter, ParseError},
    fmt::MakeWriter,
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

use super::{access, batch::Stderr, json::Json};

/// `--log-format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// One JSON object per line.
    Json,
    /// For people.
    Text,
}

impl Format {
    /// Text where a person reads, JSON where a collector does.
    fn detect() -> Self {
        if io::stderr().is_terminal() {
            Self::Text
        } else {
            Self::Json
        }
    }
}

/// `--log-level` is not understood.
#[derive(Debug, thiserror::Error)]
pub enum BadLevel {
    /// One part has no level: tracing would take a misspelt level for the name of a module and log nothing else.
    #[error(
        "log level {0:?}: use off, error, warn, info, debug or trace, or module=level such as hawser::proxy=debug, separated by commas"
    )]
    NoLevel(String),
    /// One part cannot be parsed.
    #[error(
        "log level {text:?}: {source}; use off, error, warn, info, debug or trace, or module=level, separated by commas"
    )]
    Syntax {
        /// What was given.
        text: String,
        /// What is wrong with it.
        source: ParseError,
    },
}

/// The log cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The level is not understood.
    #[error(transparent)]
    Level(#[from] BadLevel),
    /// A second call.
    #[error("the log is set up already")]
    Again(#[source] tracing_subscriber::util::TryInitError),
}

/// Installs the subscriber. `level` has the syntax of `tracing_subscriber::EnvFilter`, `None` chooses the format by whether
/// standard error is a terminal.
pub fn init(format: Option<Format>, level: &str) -> Result<(), InitError> {
    let format = format.unwrap_or_else(Format::detect);
    let colours = format == Format::Text && io::stderr().is_terminal();
    subscriber(format, parse(level)?, colours, Stderr)
        .try_init()
        .map_err(InitError::Again)?;
    // The filter never changes, and to ask it costs more than a line.
    if tracing::enabled!(target: access::TARGET, tracing::Level::INFO) {
        let _once = ACCESS.set(format);
    }
    Ok(())
}

/// The format of access lines. As JSON they go around the subscriber.
static ACCESS: OnceLock<Format> = OnceLock::new();

/// The format of access lines, if [`init`] was told to write any.
pub(super) fn access() -> Option<Format> {
    ACCESS.get().copied()
}

/// Checks a level without setting anything up, for the command line.
pub fn check_level(level: &str) -> Result<(), BadLevel> {
    parse(level).map(drop)
}

/// The client of the API server calls every failed attempt an error; Hawser says what it means, once a minute. Naming
/// the module in the level brings it back.
const QUIET: &str = "kube_client=off";

fn parse(level: &str) -> Result<EnvFilter, BadLevel> {
    // Spans and fields may contain commas and equal signs; the parser judges those alone.
    if !level.contains('[') {
        for part in level.split(',') {
            let has_level = part.contains('=') || part.trim().parse::<LevelFilter>().is_ok();
            if part.trim().is_empty() || !has_level {
                return Err(BadLevel::NoLevel(level.to_owned()));
            }
        }
    }
    let trimmed: String = level.split_whitespace().collect();
    EnvFilter::builder()
        .parse(format!("{QUIET},{trimmed}"))
        .map_err(|source| BadLevel::Syntax {
            text: level.to_owned(),
            source,
        })
}

type Boxed = Box<dyn Subscriber + Send + Sync>;

/// What [`init`] installs, with any writer.
pub(super) fn subscriber<W>(format: Format, filter: EnvFilter, colours: bool, writer: W) -> Boxed
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let layer = tracing_subscriber::fmt::layer()
        .with_ansi(colours)
        .with_writer(writer);
    let registry = tracing_subscriber::registry().with(filter);
    match format {
        Format::Text => Box::new(registry.with(layer)),
        Format::Json => Box::new(registry.with(layer.event_format(Json))),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::{io::Write, sync::Arc};

    use parking_lot::Mutex;

    use super::*;

    /// Keeps what is written.
    #[derive(Clone, Default)]
    pub(in crate::telemetry) struct Captured(Arc<Mutex<Vec<u8>>>);

    impl Captured {
        pub(in crate::telemetry) fn text(&self) -> String {
            String::from_utf8(self.0.lock().clone()).expect("UTF-8")
        }
    }

    impl Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Captured {
        type Writer = Self;

        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    #[test]
    fn levels_and_modules_are_understood() {
        for level in [
            "info",
            "WARN",
            "off",
            "info,hawser::proxy=debug",
            "warn, hawser::access=off",
            "info,[request{id=1}]=trace",
        ] {
            assert!(check_level(level).is_ok(), "{level}");
        }
    }

    #[test]
    fn a_bad_level_is_an_error_that_says_what_to_write() {
        for level in ["", "verbose", "info,", "info,loud", "hawser=loud", "hawser"] {
            let error = check_level(level).expect_err(level).to_string();
            assert!(error.contains("trace"), "{error}");
        }
    }
}
