//! Log lines to stderr; while a live table is painted, held back until it prints them above itself.
//!
//! ```text
//! tracing ──► Sink ──no table──► stderr
//!                  ──a table───► held (bounded) ──► taken with each repaint, or released when the table ends
//! ```
//! Whatever `RUST_LOG` says, no credential of a header is shown: see [`shows_no_bytes`].

use anyhow::Context as _;
use std::ffi::OsString;
use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tracing::{Level, Metadata};
use tracing_subscriber::filter::{Targets, filter_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Lines held back between two repaints. More are counted, and the count is printed in their place.
const HELD_LINES_MAX: usize = 1_000;

/// What is logged where `RUST_LOG` does not say: the engine's own news, other crates' warnings.
const FILTER_DEFAULT: &str = "warn,tickwire=info";

/// Lines that wait for a table to print them.
#[derive(Debug, Default)]
struct Held {
    lines: Vec<String>,
    dropped: u64,
}

impl Held {
    fn push(&mut self, line: String) {
        if self.lines.len() < HELD_LINES_MAX {
            self.lines.push(line);
        } else {
            self.dropped += 1;
        }
    }

    fn take(&mut self) -> Vec<String> {
        let mut lines = std::mem::take(&mut self.lines);
        if self.dropped > 0 {
            lines.push(format!("{} log lines more than a repaint holds were left out\n", self.dropped));
            self.dropped = 0;
        }
        lines
    }
}

/// `Some` while a table is painted.
static HELD: Mutex<Option<Held>> = Mutex::new(None);

fn held() -> MutexGuard<'static, Option<Held>> {
    // A panic elsewhere while it was locked leaves whole lines behind: nothing to distrust.
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Crates that log what goes over the wire: tokio-tungstenite's whole upgrade request at `trace`, the HTTP crates' headers
/// and frames at `debug` and `trace`.
const WIRE_CRATES: [&str; 9] = [
    "tungstenite",
    "tokio_tungstenite",
    "reqwest",
    "hyper",
    "hyper_util",
    "h2",
    "rustls",
    "tokio_rustls",
    "rustls_platform_verifier",
];

/// False for what may hold bytes as they go over the wire, a credential among them: it is never logged, however detailed the
/// log that was asked for.
fn shows_no_bytes(target: &str, level: Level) -> bool {
    let name = target.split("::").next().unwrap_or(target);
    level <= Level::INFO || !WIRE_CRATES.contains(&name)
}

/// Whether this looks like a level, a module's path, or one with a level: what does not would be a target that nothing is logged for.
fn is_filter(part: &str) -> bool {
    let is_name =
        |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    match part.split_once('=') {
        Some((target, level)) => target.split("::").all(is_name) && is_name(level),
        None => part.split("::").all(is_name),
    }
}

/// What is logged: what `RUST_LOG` says where it says anything.
///
/// # Errors
/// It is no filter.
fn filter(rust_log: Option<OsString>) -> anyhow::Result<Targets> {
    let Some(text) = rust_log else { return Ok(FILTER_DEFAULT.parse()?) };
    let text = text.to_str().with_context(|| format!("RUST_LOG={} is not UTF-8", text.display()))?;
    // What stands empty between two commas would be taken for every target.
    let parts: Vec<_> = text.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
    if parts.is_empty() {
        return Ok(FILTER_DEFAULT.parse()?);
    }
    let refused = || {
        let allowed =
            "LEVEL or TARGET=LEVEL, with commas between them; levels are off, error, warn, info, debug and trace";
        format!("RUST_LOG={text}: expected {allowed}")
    };
    if let Some(part) = parts.iter().find(|part| !is_filter(part)) {
        return Err(anyhow::anyhow!("{part:?} is neither")).with_context(refused);
    }
    parts.join(",").parse().with_context(refused)
}

/// Starts logging, by `RUST_LOG` where it is set.
///
/// # Errors
/// A `RUST_LOG` that is no filter; that logging was started before.
pub(super) fn start() -> anyhow::Result<()> {
    let filter = filter(std::env::var_os("RUST_LOG"))?;
    let is_safe = |metadata: &Metadata<'_>| shows_no_bytes(metadata.target(), *metadata.level());
    let lines = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(|| Sink);
    let subscriber = tracing_subscriber::registry().with(filter).with(filter_fn(is_safe)).with(lines);
    subscriber.try_init().map_err(|error| anyhow::anyhow!("logging: {error}"))
}

/// Holds log lines back from now on.
pub(super) fn hold() {
    held().get_or_insert_default();
}

/// The lines held back since the last call.
pub(super) fn take() -> Vec<String> {
    held().as_mut().map(Held::take).unwrap_or_default()
}

/// Stops holding lines back, and prints those that were.
pub(super) fn release() {
    let lines = held().take().map(|mut held| held.take()).unwrap_or_default();
    let mut stderr = io::stderr().lock();
    for line in lines {
        // Where stderr is gone there is nobody left to tell.
        let _ = stderr.write_all(line.as_bytes());
    }
}

/// Where tracing writes one whole line at a time.
#[derive(Clone, Copy, Debug)]
struct Sink;

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match held().as_mut() {
            Some(held) => held.push(String::from_utf8_lossy(bytes).into_owned()),
            None => io::stderr().lock().write_all(bytes)?,
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().lock().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt as _;

    #[test]
    fn what_may_hold_a_credential_is_not_logged_and_its_news_is() {
        assert!(!shows_no_bytes("tungstenite::handshake::client", Level::TRACE));
        assert!(!shows_no_bytes("h2::codec::framed_write", Level::DEBUG));
        assert!(shows_no_bytes("rustls::conn", Level::WARN));
        assert!(shows_no_bytes("hyper_util", Level::INFO));
        assert!(shows_no_bytes("tickwire::engine", Level::TRACE));
        assert!(shows_no_bytes("h2_of_somebody_else", Level::TRACE));
    }

    #[test]
    fn what_rust_log_says_is_logged_and_no_filter_is_refused_with_what_is_one() {
        let shows = |rust_log: Option<&str>, target: &str, level: Level| {
            filter(rust_log.map(OsString::from)).expect("a filter").would_enable(target, &level)
        };
        assert!(shows(None, "tickwire::engine", Level::INFO));
        assert!(!shows(None, "tickwire::engine", Level::DEBUG));
        assert!(shows(None, "hyper", Level::WARN));
        assert!(!shows(None, "hyper", Level::INFO));
        assert!(shows(Some("error,tickwire::hot=debug"), "tickwire::hot::core", Level::DEBUG));
        assert!(!shows(Some("error,tickwire::hot=debug"), "tickwire::engine", Level::WARN));
        assert!(!shows(Some("off"), "tickwire::engine", Level::ERROR));
        assert!(shows(Some("DEBUG"), "tickwire::engine", Level::DEBUG));
        assert!(shows(Some("tickwire"), "tickwire::engine", Level::TRACE), "a target alone is all of it");
        assert!(shows(Some(" warn, tickwire=info,"), "tickwire::engine", Level::INFO));
        assert!(!shows(Some(" warn, tickwire=info,"), "hyper", Level::INFO));
        for nothing in ["", ",", " "] {
            assert!(shows(Some(nothing), "tickwire::engine", Level::INFO), "{nothing:?} says nothing");
        }
        let others = [
            "tickwire:debug",
            "warn;tickwire",
            "tickwire=",
            "=info",
            "tickwire[span]=debug",
            "warn tickwire",
            "a::=info",
        ];
        for text in ["tickwire=loud", "tickwire=info=debug", "a=1,b=9"].into_iter().chain(others) {
            let error = format!("{:#}", filter(Some(text.into())).expect_err(text));
            assert!(error.starts_with(&format!("RUST_LOG={text}: ")) && error.contains("TARGET=LEVEL"), "{error}");
        }
        let error = filter(Some(OsString::from_vec(b"warn\xff".to_vec()))).expect_err("no text").to_string();
        assert!(error.contains("is not UTF-8"), "{error}");
    }

    #[test]
    fn held_lines_come_out_once_in_order() {
        let mut held = Held::default();
        held.push("one\n".into());
        held.push("two\n".into());
        assert_eq!(held.take(), ["one\n", "two\n"]);
        assert!(held.take().is_empty());
    }

    #[test]
    fn a_flood_between_two_repaints_is_bounded_and_counted() {
        let mut held = Held::default();
        for _ in 0..HELD_LINES_MAX + 7 {
            held.push("line\n".into());
        }
        let lines = held.take();
        assert_eq!(lines.len(), HELD_LINES_MAX + 1);
        assert!(lines[HELD_LINES_MAX].starts_with("7 log lines more"), "{}", lines[HELD_LINES_MAX]);
        assert!(held.take().is_empty(), "the count starts again");
    }
}
