//! The control socket over a real Unix socket, and `tickwire ctl` against it: what is answered, and what is borne.

#[path = "support/folder.rs"]
mod folder;

use folder::Folder;
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tickwire::net::{
    ControlHandler, ControlRequest, ControlResponse, ControlSocket, ControlSocketCounts, ControlSocketError,
    ControlSocketOptions, ControlSocketStats,
};
use tickwire::telemetry::{ConnectionStatus, EngineStatus, SubscriptionStatus};
use tokio::runtime::Runtime;
use tokio::sync::broadcast;
use tokio::task::JoinHandle;

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(10);

impl Folder {
    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

/// A small engine: one connection, `a`.
struct Desk {
    events: broadcast::Sender<Arc<str>>,
}

fn status() -> EngineStatus {
    let silent = SubscriptionStatus {
        stream: "ethusdt@trade".into(),
        sent: true,
        acknowledged: true,
        ..SubscriptionStatus::default()
    };
    let connection = ConnectionStatus {
        name: "a".into(),
        venue: "binance-spot".into(),
        state: "ready".into(),
        subscriptions: vec![silent],
        ..ConnectionStatus::default()
    };
    EngineStatus { connections: vec![connection], ..EngineStatus::default() }
}

impl ControlHandler for Desk {
    async fn handle(&self, request: ControlRequest) -> ControlResponse {
        match request {
            ControlRequest::Status {} => ControlResponse::with(&status()),
            ControlRequest::Rotate { connection } if connection == "a" => ControlResponse::done(),
            ControlRequest::Rotate { connection } => {
                ControlResponse::refused(format!("no connection `{connection}`"), "a")
            }
            ControlRequest::Send { text, .. } => ControlResponse::with(&json!({ "text": text })),
            // An answer longer than any socket buffer.
            ControlRequest::Broadcast { .. } => ControlResponse::with(&json!({ "text": "x".repeat(8 << 20) })),
            ControlRequest::Add { file, .. } => ControlResponse::with(&json!({ "connections": [file] })),
            ControlRequest::Reload { dry_run: true } => ControlResponse::with(&json!({ "text": "nothing differs\n" })),
            ControlRequest::Events { .. } => ControlResponse::with(&json!({ "events": [{ "event": "ready" }] })),
            ControlRequest::Reconnect { .. } => {
                tokio::time::sleep(PATIENCE).await;
                ControlResponse::done()
            }
            other => ControlResponse::refused(format!("{other:?}"), ""),
        }
    }

    fn events(&self) -> broadcast::Receiver<Arc<str>> {
        self.events.subscribe()
    }
}

/// A served socket; ends with it.
struct Served {
    folder: Folder,
    path: PathBuf,
    events: broadcast::Sender<Arc<str>>,
    stats: Arc<ControlSocketStats>,
    task: Option<JoinHandle<()>>,
    runtime: Runtime,
}

impl Served {
    fn new() -> Self {
        Self::with(|options| options)
    }

    fn with(change: impl FnOnce(ControlSocketOptions) -> ControlSocketOptions) -> Self {
        let folder = Folder::new();
        let path = folder.path("c.sock");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (events, _) = broadcast::channel(4);
        let guard = runtime.enter();
        let socket = ControlSocket::bind(change(ControlSocketOptions::at(&path))).expect("a socket of our own");
        drop(guard);
        let stats = socket.stats();
        let task = runtime.spawn(socket.serve(Arc::new(Desk { events: events.clone() })));
        Self { folder, path, events, stats, task: Some(task), runtime }
    }

    fn client(&self) -> Client {
        let stream = UnixStream::connect(&self.path).expect("it is served");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Client(BufReader::new(stream))
    }

    /// Waits until the counters are as they must be.
    #[track_caller]
    fn until(&self, is: impl Fn(ControlSocketCounts) -> bool) {
        let started_at = Instant::now();
        while !is(self.stats.counts()) {
            assert!(started_at.elapsed() < PATIENCE, "{:?}", self.stats.counts());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn stop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            // Aborted, which is its end.
            let _ = self.runtime.block_on(task);
        }
    }

    fn ctl(&self, words: &[&str]) -> Output {
        let mut all = vec!["ctl", "--socket", self.path.to_str().unwrap()];
        all.extend(words);
        tickwire(&all)
    }
}

struct Client(BufReader<UnixStream>);

impl Client {
    fn send(&mut self, bytes: &[u8]) {
        self.0.get_mut().write_all(bytes).expect("it is read");
    }

    /// The next line, `None` at the end.
    fn line(&mut self) -> Option<Value> {
        let mut line = String::new();
        match self.0.read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => Some(serde_json::from_str(&line).expect("one object a line")),
            // What was sent to one who had gone already comes back as a reset.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => None,
            Err(error) => panic!("{error}"),
        }
    }

    fn ask(&mut self, request: &str) -> Value {
        self.send(format!("{request}\n").as_bytes());
        self.line().expect("an answer")
    }
}

fn tickwire(words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tickwire"));
    command.args(words).env_remove("RUST_LOG").stdin(Stdio::null()).output().expect("the binary runs")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("what it prints is UTF-8")
}

fn bind(path: &Path) -> Result<(), ControlSocketError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _guard = runtime.enter();
    ControlSocket::bind(ControlSocketOptions::at(path)).map(drop)
}

// ------------------------------------------------------------------------------------------------------------ the name

#[test]
fn the_socket_is_its_owners_alone_and_goes_with_its_server() {
    let mut served = Served::new();
    let mode = std::fs::metadata(&served.path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let mut client = served.client();
    assert_eq!(client.ask(r#"{"command":"rotate","connection":"a"}"#), json!({ "ok": true }));
    served.stop();
    assert!(!served.path.exists());
    assert_eq!(client.line(), None, "its clients go with it");
}

#[test]
fn a_socket_that_somebody_serves_is_not_taken_and_a_stale_one_is() {
    let served = Served::new();
    assert!(matches!(bind(&served.path), Err(ControlSocketError::InUse { .. })));
    assert_eq!(served.client().ask(r#"{"command":"rotate","connection":"a"}"#), json!({ "ok": true }), "still served");
    let stale = served.folder.path("stale.sock");
    drop(UnixListener::bind(&stale).unwrap());
    assert!(stale.exists() && UnixStream::connect(&stale).is_err());
    bind(&stale).expect("nobody serves it");
    assert!(!stale.exists(), "ours, and gone with us");
}

#[test]
fn a_file_that_is_no_socket_is_left_alone_and_a_folder_that_is_not_there_is_named() {
    let folder = Folder::new();
    let file = folder.path("orders.csv");
    std::fs::write(&file, "precious").unwrap();
    let error = bind(&file).unwrap_err();
    assert!(matches!(error, ControlSocketError::NotASocket { .. }), "{error}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
    let error = bind(&folder.path("nowhere/c.sock")).unwrap_err().to_string();
    assert!(error.contains("its folder") && error.contains("No such file"), "{error}");
}

#[test]
fn a_name_that_is_another_engines_by_now_is_not_removed() {
    let mut served = Served::new();
    std::fs::remove_file(&served.path).unwrap();
    let other = UnixListener::bind(&served.path).unwrap();
    served.stop();
    assert!(served.path.exists());
    drop(other);
}

// --------------------------------------------------------------------------------------------------------- conversation

#[test]
fn each_line_is_answered_in_order_however_it_arrives() {
    let served = Served::new();
    let mut client = served.client();
    let send = |text: &str| format!("{}\n", json!({ "command": "send", "connection": "a", "text": text }));
    let lines = send("one") + &send("two") + &send("three");
    client.send(lines.as_bytes());
    for text in ["one", "two", "three"] {
        assert_eq!(client.line(), Some(json!({ "ok": true, "text": text })));
    }
    for byte in send("by the byte").as_bytes() {
        client.send(&[*byte]);
    }
    assert_eq!(client.line(), Some(json!({ "ok": true, "text": "by the byte" })));
    served.until(|counts| counts.requests == 4 && counts.clients == 1 && counts.bad_requests == 0);
}

#[test]
fn rubbish_is_answered_with_what_is_allowed_and_the_client_may_go_on() {
    let served = Served::with(|options| ControlSocketOptions { line_bytes_max: 5_000, ..options });
    let mut client = served.client();
    for rubbish in
        [&b"garbage"[..], b"", b"\0\0\0", b"{\"command\":\"\xff\xfe\"}", b"{\"command\":\"rotate\"}", b"[[[[["]
    {
        client.send(rubbish);
        client.send(b"\n");
        let answer = client.line().expect("an answer");
        assert!(answer["ok"] == false && answer["error"].is_string() && answer["allowed"].is_string(), "{answer}");
    }
    for bytes in [5_001, 9_000, 1_000_000] {
        client.send(&vec![b'x'; bytes]);
        client.send(b"\n");
        let answer = client.line().expect("an answer");
        assert!(answer["allowed"].as_str().unwrap().contains("at most 5000 bytes"), "{answer}");
    }
    assert_eq!(client.ask(r#"{"command":"rotate","connection":"a"}"#), json!({ "ok": true }));
    client.send(b"{\"command\":\"sta");
    client.0.get_ref().shutdown(Shutdown::Write).unwrap();
    let answer = client.line().expect("half a line is answered too");
    assert!(answer["error"].as_str().unwrap().contains("half a line"), "{answer}");
    assert_eq!(client.line(), None);
    served.until(|counts| counts.bad_requests == 10 && counts.requests == 1);
}

#[test]
fn one_client_too_many_is_told_so_and_the_others_are_served() {
    let served = Served::with(|options| ControlSocketOptions { clients_max: 2, ..options });
    let (mut first, mut second) = (served.client(), served.client());
    let rotate = r#"{"command":"rotate","connection":"a"}"#;
    assert!(first.ask(rotate)["ok"] == true && second.ask(rotate)["ok"] == true);
    let mut third = served.client();
    let answer = third.line().expect("an answer without a question");
    assert!(answer["error"].as_str().unwrap().contains("2 clients"), "{answer}");
    assert_eq!(third.line(), None);
    drop(first);
    let started_at = Instant::now();
    // The server hears of the first one's end a moment later; until then a client is told so, and its question is lost.
    let is_served = || {
        let mut client = served.client();
        let asked = client.0.get_mut().write_all(format!("{rotate}\n").as_bytes());
        asked.is_ok() && client.line().is_some_and(|answer| answer["ok"] == true)
    };
    while !is_served() {
        assert!(started_at.elapsed() < PATIENCE);
    }
    assert_eq!(second.ask(rotate), json!({ "ok": true }));
    assert!(served.stats.counts().refused_clients >= 1);
}

#[test]
fn a_client_that_does_not_read_is_dropped_and_one_that_asks_nothing_too() {
    let served = Served::with(|options| {
        let (write_timeout, idle_timeout) = (Duration::from_millis(200), Duration::from_millis(600));
        ControlSocketOptions { write_timeout, idle_timeout, ..options }
    });
    let mut slow = served.client();
    slow.send(b"{\"command\":\"broadcast\",\"text\":\"x\"}\n");
    served.until(|counts| counts.slow_clients == 1);
    let mut idle = served.client();
    assert_eq!(idle.line(), None, "dropped");
    served.until(|counts| counts.idle_clients == 1);
    let mut good = served.client();
    let answer = good.ask(r#"{"command":"broadcast","text":"x"}"#);
    assert_eq!(answer["text"].as_str().unwrap().len(), 8 << 20, "a long answer to one that reads");
}

#[test]
fn events_are_told_one_a_line_and_those_that_were_lost_are_counted() {
    let served = Served::with(|options| ControlSocketOptions { idle_timeout: Duration::from_millis(300), ..options });
    let mut client = served.client();
    let answer = client.ask(r#"{"command":"events","follow":true}"#);
    assert_eq!(answer["events"][0]["event"], "ready");
    served.events.send(r#"{"event":"closed"}"#.into()).expect("it listens");
    assert_eq!(client.line(), Some(json!({ "event": { "event": "closed" } })));
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(
        client.ask(r#"{"command":"rotate","connection":"a"}"#),
        json!({ "ok": true }),
        "following is not idling"
    );
    // The server's only thread is held, so that more events come than are kept.
    let (hold, held) = std::sync::mpsc::channel::<()>();
    let (started, has_started) = std::sync::mpsc::channel();
    served.runtime.spawn(async move {
        started.send(()).expect("the test waits");
        held.recv().expect("the test lets go");
    });
    has_started.recv().expect("it is held");
    for number in 0..10 {
        served.events.send(format!("{{\"number\":{number}}}").into()).expect("it listens");
    }
    hold.send(()).expect("it is held");
    assert_eq!(client.line(), Some(json!({ "events_lost": 6 })));
    for number in 6..10 {
        assert_eq!(client.line(), Some(json!({ "event": { "number": number } })));
    }
    assert_eq!(served.stats.counts().events_lost, 6);
}

// ------------------------------------------------------------------------------------------------------------------ ctl

#[test]
fn ctl_prints_the_status_for_a_person_and_unchanged_for_a_machine() {
    let served = Served::new();
    let output = served.ctl(&["status"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let shown = text(&output.stdout);
    assert!(shown.contains("silent on a: ethusdt@trade (no data yet)") && shown.contains("ACKNOWLEDGED"), "{shown}");
    let output = served.ctl(&["status", "--json"]);
    let line = text(&output.stdout);
    assert_eq!(line, ControlResponse::with(&status()).to_line());
    assert_eq!(serde_json::from_str::<EngineStatus>(line).unwrap(), status());
}

#[test]
fn ctl_says_what_was_done_and_what_was_refused() {
    let served = Served::new();
    let output = served.ctl(&["rotate", "a"]);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), "done\n"));
    let output = served.ctl(&["reload", "--dry-run"]);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), "nothing differs\n"));
    let output = served.ctl(&["rotate", "b"]);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), ""));
    assert_eq!(text(&output.stderr), "error: no connection `b`\n  allowed: a\n");
    let file = served.folder.path("x.toml");
    std::fs::write(&file, "").unwrap();
    let output = served.ctl(&["add", file.to_str().unwrap()]);
    let absolute = std::fs::canonicalize(&file).unwrap();
    assert_eq!(text(&output.stdout), format!("connections: {}\n", json!([absolute])));
    let output = served.ctl(&["add", "/nowhere/x.toml"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
    let output = served.ctl(&["reconnect", "a", "--timeout", "0.2"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("no answer within 0.2 seconds"), "{}", text(&output.stderr));
}

#[test]
fn ctl_follows_events_until_the_engine_ends() {
    let mut served = Served::new();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tickwire"));
    command.args(["ctl", "--socket", served.path.to_str().unwrap(), "events"]).stdout(Stdio::piped());
    let mut child = command.spawn().expect("the binary runs");
    let mut out = BufReader::new(child.stdout.take().expect("piped"));
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    served.events.send(r#"{"event":"closed","connection":"a"}"#.into()).expect("it listens");
    line.clear();
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "closed connection=a\n");
    served.stop();
    line.clear();
    out.read_to_string(&mut line).unwrap();
    assert_eq!((line.as_str(), child.wait().unwrap().code()), ("", Some(0)));
}

#[test]
fn ctl_says_why_there_is_no_engine() {
    let folder = Folder::new();
    let refused = |words: &[&str], code: i32, says: &str| {
        let output = tickwire(words);
        let error = text(&output.stderr).to_owned();
        assert_eq!(output.status.code(), Some(code), "{error}");
        assert!(error.contains(says) && output.stdout.is_empty(), "{error}");
    };
    let gone = folder.path("gone.sock");
    refused(&["ctl", "--socket", gone.to_str().unwrap(), "status"], 1, "no control socket at");
    drop(UnixListener::bind(&gone).unwrap());
    refused(&["ctl", "--socket", gone.to_str().unwrap(), "status"], 1, "the engine that made it is gone");
    let rude = folder.path("rude.sock");
    let listener = UnixListener::bind(&rude).unwrap();
    let ends = std::thread::spawn(move || drop(listener.accept()));
    refused(&["ctl", "--socket", rude.to_str().unwrap(), "status"], 1, "the engine went away before it answered");
    ends.join().unwrap();
    refused(&["ctl", "status"], 2, "allowed is --socket PATH, or --engine FILE");
    let engine = folder.path("engine.toml");
    std::fs::write(&engine, "report_interval_s = 1\n").unwrap();
    refused(&["ctl", "--engine", engine.to_str().unwrap(), "status"], 2, "no control_socket in it");
    std::fs::write(&engine, "control_socket = \"gone.sock\"\n").unwrap();
    refused(&["ctl", "--engine", engine.to_str().unwrap(), "status"], 1, "gone.sock");
    std::fs::write(&engine, "control_socket = 5\n").unwrap();
    refused(&["ctl", "--engine", engine.to_str().unwrap(), "status"], 2, "engine.toml:1: control_socket");
}
