//! `tickwire ctl`: asks a running engine over its control socket, and shows the answer.
//!
//! ```text
//! arguments ──► request ──line──► control socket ──line──► --json: as it came | status, book: tables | else: what was done
//!                                                └─ events: one line each, until it ends
//! ```
//! One thread, one connection, one request. What the engine refuses is an error here, with what it allows.

use super::args::{CtlArguments, CtlCommand};
use super::exit::CommandError;
use crate::config;
use crate::net::{ControlRequest, ControlResponse};
use crate::telemetry::{BookReport, EngineStatus, book_text, status_text};
use anyhow::{Context as _, anyhow};
use serde_json::{Map, Value};
use std::io::{self, BufRead as _, BufReader, ErrorKind, Read as _, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// Longest answer: the status of some ten thousand subscriptions is a few megabytes.
const ANSWER_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Asks what the arguments say, and prints the answer on stdout.
pub(super) fn run(arguments: &CtlArguments) -> Result<(), CommandError> {
    let path = socket_path(arguments).map_err(CommandError::Configuration)?;
    let request = request(&arguments.command).map_err(CommandError::Configuration)?;
    let mut out = io::stdout().lock();
    match converse(&path, arguments, &request, &mut out) {
        // Who stopped reading wants no more, and no complaint.
        Err(error) if is_reader_gone(&error) => Ok(()),
        other => other.map_err(CommandError::Runtime),
    }
}

fn is_reader_gone(error: &anyhow::Error) -> bool {
    let written = error.downcast_ref::<Written>();
    written.is_some_and(|Written(error)| error.kind() == ErrorKind::BrokenPipe)
}

/// A write to stdout that failed, apart from one to the engine.
#[derive(Debug, thiserror::Error)]
#[error("writing the answer: {0}")]
struct Written(io::Error);

fn socket_path(arguments: &CtlArguments) -> anyhow::Result<PathBuf> {
    match (&arguments.socket, &arguments.engine) {
        (Some(path), _) => Ok(path.clone()),
        (None, Some(file)) => config::load_engine(file)?.control_socket.ok_or_else(|| {
            anyhow!(
                "{}: no control_socket in it; allowed is control_socket = \"PATH\", or --socket PATH",
                file.display()
            )
        }),
        (None, None) => {
            Err(anyhow!("which engine? allowed is --socket PATH, or --engine FILE with a control_socket in it"))
        }
    }
}

fn request(command: &CtlCommand) -> anyhow::Result<ControlRequest> {
    Ok(match command {
        CtlCommand::Status => ControlRequest::Status {},
        CtlCommand::Book { venue, symbol, depth } => {
            ControlRequest::Book { venue: venue.name().to_owned(), symbol: symbol.clone(), depth: usize::from(*depth) }
        }
        CtlCommand::Subscribe(streams) => ControlRequest::Subscribe {
            connection: streams.connection.clone(),
            channels: streams.channels.clone(),
            symbols: streams.symbols.clone(),
        },
        CtlCommand::Unsubscribe(streams) => ControlRequest::Unsubscribe {
            connection: streams.connection.clone(),
            channels: streams.channels.clone(),
            symbols: streams.symbols.clone(),
        },
        CtlCommand::Add { file } => {
            // The engine runs elsewhere: what is relative here is not relative there.
            let path = std::fs::canonicalize(file).with_context(|| file.display().to_string())?;
            let path = path.to_str().with_context(|| format!("{}: a path in UTF-8", path.display()))?;
            ControlRequest::Add { toml: None, file: Some(path.to_owned()) }
        }
        CtlCommand::Remove { connection } => ControlRequest::Remove { connection: connection.clone() },
        CtlCommand::Send { connection, text } => {
            ControlRequest::Send { connection: connection.clone(), text: text.clone() }
        }
        CtlCommand::Broadcast { text, venue } => {
            ControlRequest::Broadcast { text: text.clone(), venue: venue.map(|venue| venue.name().to_owned()) }
        }
        CtlCommand::Reconnect { connection } => ControlRequest::Reconnect { connection: connection.clone() },
        CtlCommand::Rotate { connection } => ControlRequest::Rotate { connection: connection.clone() },
        CtlCommand::Reload { dry_run } => ControlRequest::Reload { dry_run: *dry_run },
        CtlCommand::Events => ControlRequest::Events { follow: true },
    })
}

/// The engine's end, or what says that there is none.
fn connect(path: &Path, arguments: &CtlArguments) -> anyhow::Result<UnixStream> {
    let stream = UnixStream::connect(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => anyhow!(
            "no control socket at {}: is the engine running, with this control_socket in its engine file?",
            path.display()
        ),
        ErrorKind::ConnectionRefused => {
            anyhow!("nobody serves {}: the engine that made it is gone", path.display())
        }
        ErrorKind::PermissionDenied => {
            anyhow!("{}: permission denied: only the user that runs the engine may use it", path.display())
        }
        _ => anyhow!("{}: {error}", path.display()),
    })?;
    stream.set_read_timeout(Some(arguments.timeout)).context("the socket's time-out")?;
    stream.set_write_timeout(Some(arguments.timeout)).context("the socket's time-out")?;
    Ok(stream)
}

fn converse(
    path: &Path,
    arguments: &CtlArguments,
    request: &ControlRequest,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let mut stream = connect(path, arguments)?;
    stream.write_all(request.to_line().as_bytes()).map_err(|error| gone(&error, arguments))?;
    let mut lines = BufReader::new(stream);
    let line = read_line(&mut lines, arguments)?.ok_or_else(|| anyhow!("the engine went away before it answered"))?;
    let fields = match ControlResponse::parse(&line) {
        Ok(ControlResponse::Done(fields)) => fields,
        Ok(ControlResponse::Refused { error, allowed }) if allowed.is_empty() => return Err(anyhow!("{error}")),
        Ok(ControlResponse::Refused { error, allowed }) => return Err(anyhow!("{error}\n  allowed: {allowed}")),
        Err(error) => return Err(anyhow!("{}: no engine of ours answers there: {error}", path.display())),
    };
    let shown = match (&arguments.command, arguments.json) {
        (CtlCommand::Book { .. }, is_json) => {
            let book: BookReport = serde_json::from_value(Value::Object(fields)).context("the engine's book")?;
            // The very line of `run --books-out`, whatever the answer has around it.
            if is_json { serde_json::to_string(&book).context("the book")? + "\n" } else { book_text(&book) }
        }
        (_, true) => line,
        (CtlCommand::Status, false) => {
            let status: EngineStatus = serde_json::from_value(Value::Object(fields)).context("the engine's status")?;
            status_text(&status)
        }
        (CtlCommand::Events, false) => events_text(&fields),
        (_, false) => done_text(&fields),
    };
    put(out, &shown)?;
    if matches!(arguments.command, CtlCommand::Events) {
        follow(&mut lines, arguments, out)?;
    }
    Ok(())
}

fn put(out: &mut impl Write, text: &str) -> anyhow::Result<()> {
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|error| Written(error).into())
}

/// A line with its end; `None` where the engine has ended.
fn read_line(lines: &mut BufReader<UnixStream>, arguments: &CtlArguments) -> anyhow::Result<Option<String>> {
    let mut line = String::new();
    let bytes = lines.take(ANSWER_BYTES_MAX).read_line(&mut line).map_err(|error| gone(&error, arguments))?;
    match (bytes, line.ends_with('\n')) {
        (0, _) => Ok(None),
        (_, true) => Ok(Some(line)),
        (_, false) => Err(anyhow!("the engine went away in the middle of an answer")),
    }
}

fn gone(error: &io::Error, arguments: &CtlArguments) -> anyhow::Error {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => {
            anyhow!("no answer within {} seconds; allowed is --timeout SECONDS", arguments.timeout.as_secs_f64())
        }
        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => anyhow!("the engine went away before it answered"),
        _ => anyhow!("the control socket: {error}"),
    }
}

/// Prints events until there are no more.
fn follow(lines: &mut BufReader<UnixStream>, arguments: &CtlArguments, out: &mut impl Write) -> anyhow::Result<()> {
    // A quiet engine is a good one: there is no time within which an event must come.
    lines.get_ref().set_read_timeout(None).context("the socket's time-out")?;
    while let Some(line) = read_line(lines, arguments)? {
        if arguments.json {
            put(out, &line)?;
            continue;
        }
        let object: Map<String, Value> = serde_json::from_str(&line).context("an event")?;
        let text = match object.get("event") {
            Some(event) => event_text(event),
            None => pairs(&object),
        };
        put(out, &(text + "\n"))?;
    }
    Ok(())
}

/// The events of an answer, one a line.
fn events_text(fields: &Map<String, Value>) -> String {
    let events = fields.get("events").and_then(Value::as_array);
    events.into_iter().flatten().map(|event| event_text(event) + "\n").collect()
}

/// One event on one line: `rotated connection=a after_ms=82800000`.
fn event_text(event: &Value) -> String {
    let Some(object) = event.as_object() else { return plain(event) };
    let mut rest = object.clone();
    match rest.remove("event") {
        Some(kind) => format!("{} {}", plain(&kind), pairs(&rest)).trim_end().to_owned(),
        None => pairs(&rest),
    }
}

fn pairs(object: &Map<String, Value>) -> String {
    object.iter().map(|(key, value)| format!("{key}={}", plain(value))).collect::<Vec<_>>().join(" ")
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// An answer for a person: its `text` as it is, then what else it tells, one field a line.
fn done_text(fields: &Map<String, Value>) -> String {
    let mut rest = fields.clone();
    let mut shown = String::new();
    if let Some(text) = rest.remove("text") {
        shown = plain(&text).trim_end().to_owned() + "\n";
    }
    for (key, value) in &rest {
        shown += &format!("{key}: {}\n", plain(value));
    }
    if shown.is_empty() { "done\n".to_owned() } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::{ControlEvent, Happening};
    use serde_json::json;

    fn fields(value: &Value) -> Map<String, Value> {
        value.as_object().expect("an object").clone()
    }

    #[test]
    fn an_answer_shows_its_text_and_its_fields_and_never_nothing() {
        assert_eq!(done_text(&Map::new()), "done\n");
        assert_eq!(done_text(&fields(&json!({ "text": "set  a\n", "applied": 1 }))), "set  a\napplied: 1\n");
    }

    #[test]
    fn an_event_is_one_line_that_begins_with_its_name() {
        let what = Happening::Silent { stream: "btcusdt@trade".into(), kind: "stopped".into(), for_ms: 5 };
        let event = ControlEvent { at_ms: 1, connection: "a".into(), what };
        let event = serde_json::to_value(&event).unwrap();
        assert_eq!(event_text(&event), "silent at_ms=1 connection=a for_ms=5 kind=stopped stream=btcusdt@trade");
        assert_eq!(event_text(&json!({ "event": "closed" })), "closed");
        assert_eq!(event_text(&json!("words")), "words");
        let answer = fields(&json!({ "events": [{ "event": "ready" }, { "event": "closed" }] }));
        assert_eq!(events_text(&answer), "ready\nclosed\n");
    }
}
