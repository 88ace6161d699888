//! The real binary: what it prints for machines and for people, how it ends, and what it never shows.

#[path = "support/certificate.rs"]
mod certificate;
#[path = "support/folder.rs"]
mod folder;
mod venue_server;

use certificate::certificate;
use folder::Folder;
use serde_json::Value;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::channel;
use tickwire::market::Venue;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, frame::coding::CloseCode};
use tokio_tungstenite::tungstenite::{self, Message};
use venue_server::{PATIENCE, VenueServer};

fn tickwire(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tickwire"));
    command.args(arguments).env_remove("RUST_LOG").stdin(Stdio::null());
    command
}

fn output(arguments: &[&str]) -> Output {
    tickwire(arguments).output().expect("the binary runs")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("what it prints is UTF-8")
}

fn shipped(name: &str) -> String {
    format!("{}/configs/{name}", env!("CARGO_MANIFEST_DIR"))
}

impl Folder {
    fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).expect("a file of our own");
        path.to_str().expect("a UTF-8 path").to_owned()
    }
}

/// A child that runs until it is told to end; killed if the test gives up before.
struct Running {
    child: Child,
    out: BufReader<std::process::ChildStdout>,
}

impl Running {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary runs");
        let out = BufReader::new(child.stdout.take().expect("piped"));
        Self { child, out }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.out.read_line(&mut line).expect("a line of UTF-8");
        line
    }

    /// Sends a signal, and gives the exit code and the rest of stdout and stderr.
    fn end(mut self, signal: &str) -> (Option<i32>, String, String) {
        let sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status().expect("kill");
        assert!(sent.success());
        let (mut out, mut error) = (String::new(), String::new());
        self.out.read_to_string(&mut out).expect("UTF-8");
        self.child.stderr.take().expect("piped").read_to_string(&mut error).expect("UTF-8");
        (self.child.wait().expect("it ends").code(), out, error)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already where all went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

// ---------------------------------------------------------------------------------------------- the contract for machines

/// Holds one line to the contract: every field, with its type.
fn contract(line: &str) -> Value {
    let report: Value =
        serde_json::from_str(line).unwrap_or_else(|error| panic!("one JSON object a line: {error}: {line}"));
    let number = |value: &Value, key: &str| assert!(value[key].is_u64(), "{key} is a whole number: {value}");
    assert!(report["final"].is_boolean() && report["elapsed_s"].is_f64() && report["symbols"].is_u64(), "{line}");
    assert!(report["failure"].is_null(), "{line}");
    let connections = report["connections"].as_array().expect("connections are a list");
    assert!(!connections.is_empty());
    for connection in connections {
        for key in ["name", "venue", "state", "transport"] {
            assert!(connection[key].is_string(), "{key} is a text: {connection}");
        }
        for key in COUNTERS {
            number(connection, key);
        }
        for group in ["read_to_handler_ns", "visit_gap_ns"] {
            for key in ["p50", "p99", "p999", "max"] {
                number(&connection[group], key);
            }
        }
        for key in ["p50", "p99"] {
            assert!(connection["venue_age_ms"][key].is_f64(), "{connection}");
        }
    }
    let threads = report["hot_threads"].as_array().expect("hot threads are a list");
    assert!(!threads.is_empty());
    for thread in threads {
        for key in HOT_THREAD_COUNTERS {
            number(thread, key);
        }
        for stage in ["kernel_to_read_ns", "read_to_decrypted_ns", "read_to_framed_ns", "framed_to_decoded_ns"] {
            for key in ["count", "p50", "p99", "p999", "max"] {
                number(&thread["stages"][stage], key);
            }
        }
        for key in ["live", "waiting", "stale", "applied", "rebuilt", "skipped", "held", "ignored", "late"] {
            number(&thread["books"], key);
        }
        assert!(thread["books"]["stale_reasons"].is_object(), "{thread}");
        number(&thread["stages"], "kernel_ahead");
        number(&thread["stamps"], "every");
        assert!(thread["stamps"]["counter_ns"].is_f64() && thread["stamps"]["hot_ns"].is_f64(), "{thread}");
    }
    report
}

const COUNTERS: [&str; 6] = ["frames", "events", "unparsed", "unrouted", "tier_two", "reconnects"];

const HOT_THREAD_COUNTERS: [&str; 7] = [
    "core",
    "messages",
    "allocations",
    "page_faults",
    "involuntary_switches",
    "page_faults_major",
    "voluntary_switches",
];

/// Every line of a run: each holds the contract, totals never decrease, the last is the only final one. Gives the last.
fn contracts(out: &str) -> Value {
    let reports: Vec<Value> = out.lines().map(contract).collect();
    let last = reports.len().checked_sub(1).expect("at least one line");
    for (index, report) in reports.iter().enumerate() {
        assert_eq!(report["final"], index == last, "line {index} of {}", reports.len());
    }
    for pair in reports.windows(2) {
        assert!(pair[0]["elapsed_s"].as_f64() < pair[1]["elapsed_s"].as_f64());
        let connections = |at: usize| pair[at]["connections"].as_array().expect("a list");
        for (before, after) in connections(0).iter().zip(connections(1)) {
            assert_eq!(before["name"], after["name"], "in the same order");
            for key in COUNTERS {
                assert!(before[key].as_u64() <= after[key].as_u64(), "{key} decreased: {before} {after}");
            }
        }
    }
    reports[last].clone()
}

/// Both venues Ready, everything decoded and routed.
fn all_well(report: &Value) {
    for connection in report["connections"].as_array().expect("a list") {
        assert_eq!(connection["state"], "Ready", "{connection}");
        for key in ["unparsed", "unrouted", "reconnects"] {
            assert_eq!(connection[key], 0, "{key}: {connection}");
        }
        assert!(connection["events"].as_u64() > Some(0), "{connection}");
        let subscriptions = &connection["subscriptions"];
        assert_eq!((&subscriptions["active"], &subscriptions["refused"]), (&subscriptions["wanted"], &0.into()));
    }
}

#[test]
fn the_demo_keeps_the_contract_and_its_hot_thread_allocates_nothing() {
    let done = output(&["demo", "--json", "--duration", "2", "--interval", "0.5"]);
    assert_eq!(done.status.code(), Some(0), "{}", text(&done.stderr));
    let last = contracts(text(&done.stdout));
    all_well(&last);
    let venues: Vec<&Value> = last["connections"].as_array().expect("a list").iter().map(|one| &one["venue"]).collect();
    assert_eq!(venues, ["binance-spot", "bybit-linear"]);
    for thread in last["hot_threads"].as_array().expect("a list") {
        assert_eq!(thread["allocations"], 0, "{thread}");
        assert!(thread["messages"].as_u64() > Some(0), "{thread}");
    }
}

#[test]
fn the_demo_over_tls_is_as_well_and_states_what_was_allocated() {
    let done = output(&["demo", "--tls", "--json", "--duration", "2", "--interval", "0.5"]);
    assert_eq!(done.status.code(), Some(0), "{}", text(&done.stderr));
    all_well(&contracts(text(&done.stdout)));
}

#[test]
fn the_demo_without_a_terminal_prints_lines_and_a_report_for_people() {
    let done = output(&["demo", "--duration", "1", "--interval", "0.4"]);
    assert_eq!(done.status.code(), Some(0), "{}", text(&done.stderr));
    let out = text(&done.stdout);
    assert!(out.contains("ready 2/2"), "{out}");
    assert!(out.contains("\ntickwire: ") && out.contains("read-to-handler"), "{out}");
    assert!(!out.contains('\u{1b}'), "no escape codes in a file: {out}");
}

#[test]
fn run_with_the_shipped_configs_is_ready_everywhere_against_the_sim() {
    let folder = Folder::new();
    let mut sim = Running::start(tickwire(&["sim", "--rate", "500", "--duration", "60", "--quiet"]));
    let endpoints = sim.line();
    let object: Value = serde_json::from_str(&endpoints).expect("the first line is one JSON object");
    for venue in Venue::ALL {
        let urls = &object["venues"][venue.name()];
        assert!(urls["ws"].as_str().is_some_and(|url| url.starts_with("ws://127.0.0.1:")), "{endpoints}");
        assert!(urls["rest"].as_str().is_some_and(|url| url.starts_with("http://127.0.0.1:")), "{endpoints}");
    }
    let file = folder.write("endpoints.json", &endpoints);
    let (binance, bybit) = (shipped("binance.toml"), shipped("bybit.toml"));
    let words = ["run", &binance, &bybit, "--endpoints", &file, "--json", "--duration", "3", "--interval", "1"];
    let done = output(&words);
    assert_eq!(done.status.code(), Some(0), "{}", text(&done.stderr));
    let last = contracts(text(&done.stdout));
    all_well(&last);
    assert_eq!(last["connections"].as_array().map(Vec::len), Some(5), "USD-M is two sockets");
    assert_eq!(last["symbols"], 12);
    assert_eq!(sim.end("-TERM").0, Some(0));
}

#[test]
fn a_lane_of_the_engine_file_runs_its_strategy_and_is_in_check_and_in_every_report() {
    let folder = Folder::new();
    let mut sim = Running::start(tickwire(&["sim", "--rate", "500", "--duration", "60", "--quiet"]));
    let file = folder.write("endpoints.json", &sim.line());
    let engine = "[[core]]\nstrategy = \"null\"\n[[lane]]\nstrategy = \"spread\"\nthreads = 2\npolicy = \"block\"\n";
    let engine = folder.write("desk.toml", engine);
    let binance = shipped("binance.toml");
    let check = output(&["check", &binance, "--engine", &engine]);
    assert_eq!(check.status.code(), Some(0), "{}", text(&check.stderr));
    let words = "strategy spread, 2 threads by symbol, on the cold cores\n  policy       block: full, HOLDS THE CORE";
    assert!(text(&check.stdout).contains(words), "{}", text(&check.stdout));
    let run = ["run", &binance, "--engine", &engine, "--endpoints", &file, "--duration", "3", "--interval", "1"];
    let done = output(&[&run[..], &["--json"]].concat());
    assert_eq!(done.status.code(), Some(0), "{}", text(&done.stderr));
    let last = contracts(text(&done.stdout));
    all_well(&last);
    let lanes = last["lanes"].as_array().expect("a list");
    let names: Vec<&str> = lanes.iter().filter_map(|lane| lane["lane"].as_str()).collect();
    assert_eq!(names, ["spread-0", "spread-1"]);
    for lane in lanes {
        let count = |key: &str| lane[key].as_u64().expect("a count");
        assert!(count("sent") > 0 && count("sent") == count("delivered"), "{lane}");
        assert!(lane["holds_core"] == true && lane["hop_ns"]["p50"].as_u64() > Some(0), "{lane}");
    }
    let done = output(&run);
    let shown = text(&done.stdout);
    assert!(shown.contains(" | lane spread-0 ") && shown.contains("\nLanes\n  lane      strategy  policy"), "{shown}");
    assert!(shown.contains("spread-1: policy block: core "), "{shown}");
    assert!(shown.contains("\nStrategy\n"), "what the lanes computed stands below: {shown}");
    assert_eq!(sim.end("-TERM").0, Some(0));
}

// ---------------------------------------------------------------------------------------------- how it ends

#[test]
fn sigint_and_sigterm_end_the_demo_with_a_final_report() {
    for signal in ["-INT", "-TERM"] {
        let mut demo = Running::start(tickwire(&["demo", "--json", "--duration", "300", "--interval", "0.1"]));
        let first = demo.line();
        let (code, rest, error) = demo.end(signal);
        assert_eq!(code, Some(0), "{signal}: {error}");
        assert_eq!(contracts(&(first + &rest))["final"], true);
    }
}

#[test]
fn sigint_and_sigterm_end_a_run_with_a_final_report() {
    let folder = Folder::new();
    let config = folder.write("nobody.toml", &to_nobody());
    for signal in ["-INT", "-TERM"] {
        let mut run = Running::start(tickwire(&["run", &config, "--json", "--interval", "0.1"]));
        let first = run.line();
        let (code, rest, error) = run.end(signal);
        assert_eq!(code, Some(0), "{signal}: {error}");
        assert_eq!(contracts(&(first + &rest))["final"], true);
    }
}

#[test]
fn a_hangup_asks_a_run_to_reload_and_ends_nothing() {
    let folder = Folder::new();
    let config = folder.write("nobody.toml", &to_nobody());
    let mut run = Running::start(tickwire(&["run", &config, "--json", "--interval", "0.1"]));
    let first = run.line();
    let sent = Command::new("kill").args(["-HUP", &run.child.id().to_string()]).status().expect("kill");
    assert!(sent.success());
    let lines: String = (0..5).map(|_| run.line()).collect();
    let (code, rest, error) = run.end("-TERM");
    assert_eq!(code, Some(0), "{error}");
    assert_eq!(contracts(&(first + &lines + &rest))["final"], true);
    assert!(error.contains("reload"), "what became of it is logged: {error}");
}

#[test]
fn a_hangup_applies_what_the_files_say_now_and_a_bad_file_changes_nothing() {
    let folder = Folder::new();
    let mut sim = Running::start(tickwire(&["sim", "--venues", "binance-spot"]));
    let endpoints = folder.write("endpoints.json", &sim.line());
    let of = |symbols: &str| {
        format!(
            "[[connection]]\nname = \"one\"\nvenue = \"binance-spot\"\nsymbols = {symbols}\nchannels = [\"trade\"]\n"
        )
    };
    let config = folder.write("one.toml", &of(r#"["BTCUSDT"]"#));
    let words = ["run", &config, "--endpoints", &endpoints, "--json", "--interval", "0.1"];
    let mut run = Running::start(tickwire(&words));
    let mut lines = String::new();
    let mut until_active = |run: &mut Running, wanted: u64| {
        for _ in 0..600 {
            let line = run.line();
            let subscriptions = contract(&line)["connections"][0]["subscriptions"].clone();
            lines.push_str(&line);
            if subscriptions["wanted"] == wanted && subscriptions["active"] == wanted {
                return;
            }
        }
        panic!("a minute without {wanted} active subscriptions: {lines}");
    };
    let hang_up = |run: &Running| {
        let sent = Command::new("kill").args(["-HUP", &run.child.id().to_string()]).status().expect("kill");
        assert!(sent.success());
    };
    until_active(&mut run, 1);
    folder.write("one.toml", &of(r#"["BTCUSDT", "ETHUSDT"]"#));
    hang_up(&run);
    until_active(&mut run, 2);
    folder.write("one.toml", &of(r#"["BTCUSDT""#));
    hang_up(&run);
    (0..5).for_each(|_| until_active(&mut run, 2));
    let (code, rest, error) = run.end("-TERM");
    assert_eq!(code, Some(0), "{error}");
    let last = contracts(&(lines + &rest));
    assert_eq!((&last["connections"][0]["reconnects"], &last["symbols"]), (&0.into(), &2.into()), "nothing was cut");
    assert!(error.contains("ETHUSDT") && error.contains(&format!("{config}:5")), "both are told: {error}");
    let (code, _, error) = sim.end("-TERM");
    assert_eq!(code, Some(0), "{error}");
}

#[test]
fn sigint_and_sigterm_end_the_sim_with_a_summary_a_machine_can_read() {
    for signal in ["-INT", "-TERM"] {
        let mut sim = Running::start(tickwire(&["sim", "--venues", "binance-spot"]));
        assert!(sim.line().starts_with('{'));
        let (code, rest, error) = sim.end(signal);
        assert_eq!((code, rest.as_str()), (Some(0), ""), "{signal}: {error}");
        let counters = error.lines().find_map(|line| line.strip_prefix("served binance-spot ")).expect("a summary");
        let counters: Value = serde_json::from_str(counters).expect("its counters are JSON");
        assert_eq!(counters["messages_sent"], 0);
    }
}

/// A configuration that names a port where nobody listens.
fn to_nobody() -> String {
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound").port();
    format!(
        r#"
[[connection]]
name = "nobody"
venue = "binance-spot"
url = "ws://127.0.0.1:{port}"
symbols = ["BTCUSDT"]
channels = ["trade"]

[connection.reconnect]
base_ms = 5
cap_ms = 20

[[connection.instrument]]
symbol = "BTCUSDT"
price_scale = 2
qty_scale = 5
"#
    )
}

#[test]
fn where_nobody_listens_a_run_keeps_trying_says_so_and_ends_cleanly() {
    let folder = Folder::new();
    let config = folder.write("nobody.toml", &to_nobody());
    let done = output(&["run", &config, "--json", "--duration", "0.5", "--interval", "0.2"]);
    let error = text(&done.stderr);
    assert_eq!(done.status.code(), Some(0), "{error}");
    let last = contracts(text(&done.stdout));
    let connection = &last["connections"][0];
    let state = connection["state"].as_str().expect("a text");
    assert!(["Connecting", "Reconnecting"].contains(&state), "{connection}");
    assert!(connection["last_error"].as_str().is_some_and(|text| text.contains("refused")), "{connection}");
    assert!(error.matches("connect failed").count() >= 2, "it tries again: {error}");
    let done = output(&["run", &config, "--duration", "0.3"]);
    assert!(text(&done.stdout).contains("refused"), "people are told, too: {}", text(&done.stdout));
}

// ---------------------------------------------------------------------------------------------- what it says

#[test]
fn check_shows_connections_and_subscriptions_of_the_shipped_configs() {
    let done = output(&["check", &shipped("binance.toml"), &shipped("bybit.toml"), &shipped("engine.toml")]);
    assert_eq!(done.status.code(), Some(0), "{}", text(&done.stderr));
    let out = text(&done.stdout);
    for words in [
        "binance-spot-a",
        "binance-usdm-a",
        "bybit-spot-a",
        "bybit-linear-a",
        "wss://stream.binance.com:9443/stream",
        "wss://fstream.binance.com/public/stream",
        "wss://stream.bybit.com/v5/public/linear",
        "btcusdt@trade",
        "orderbook.1.BTCUSDT",
        "hot core",
    ] {
        assert!(out.contains(words), "{words} is missing in:\n{out}");
    }
}

/// What a venue is asked, reckoned here by hand: streams in their order, cut into requests of `batch` streams whose text,
/// with the longest id and the longest frame header, is at most `frame_bytes`.
fn requests_by_hand(streams: &[String], batch: usize, frame_bytes: usize, empty_bytes: usize) -> Vec<usize> {
    let mut requests: Vec<(usize, usize)> = Vec::new();
    for stream in streams {
        let more = stream.len() + 3;
        match requests.last_mut() {
            Some((count, bytes)) if *count < batch && 14 + empty_bytes + *bytes + more <= frame_bytes => {
                *count += 1;
                *bytes += more;
            }
            _ => requests.push((1, more)),
        }
    }
    requests.into_iter().map(|(_, bytes)| bytes).collect()
}

#[test]
fn the_plan_of_fifteen_hundred_binance_and_three_hundred_bybit_symbols_is_what_comes_out_by_hand() {
    let folder = Folder::new();
    let names = |count: usize| (0..count).map(|n| format!("C{n:0>4}USDT")).collect::<Vec<_>>();
    folder.write("spot.txt", &names(1_500).join("\n"));
    folder.write("linear.txt", &names(300).join("\n"));
    let config = folder.write(
        "plan.toml",
        r#"
[exchange]
name = "plan"
[[connection]]
name = "spot"
venue = "binance-spot"
symbols_file = "spot.txt"
channels = ["trade", "bookTicker"]
[[connection]]
name = "linear"
venue = "bybit-linear"
symbols_file = "linear.txt"
channels = ["publicTrade", "orderbook.50"]
"#,
    );
    let done = output(&["check", "--plan", "--json", &config]);
    assert_eq!(done.status.code(), Some(0), "{}", text(&done.stderr));
    let line = text(&done.stdout);
    assert_eq!(line.lines().count(), 1);
    let plan: Value = serde_json::from_str(line).expect("JSON");
    assert_eq!(plan["violations"], serde_json::json!([]));
    assert_eq!(plan.as_object().expect("an object").len(), 2);
    let sockets = plan["connections"].as_array().expect("a list");
    // 3,000 streams at 1,024 a connection: three, of 500 symbols each. Bybit: 300 x (12 + 9 + 3) + 300 x (13 + 9 + 3)
    // characters are below 21,000.
    assert_eq!(sockets.len(), 4, "{line}");
    let check = |socket: &Value, name: &str, symbols: &mut dyn Iterator<Item = usize>, is_binance: bool| {
        let streams: Vec<String> = symbols
            .flat_map(|n| match is_binance {
                true => [format!("c{n:0>4}usdt@trade"), format!("c{n:0>4}usdt@bookTicker")],
                false => [format!("publicTrade.C{n:0>4}USDT"), format!("orderbook.50.C{n:0>4}USDT")],
            })
            .collect();
        // Longest words and id: UNSUBSCRIBE and 18446744073709551615.
        let (empty, frame, words, rate) = match is_binance {
            true => (
                r#"{"method":"UNSUBSCRIBE","params":[],"id":18446744073709551615}"#,
                4_096,
                r#"{"method":"SUBSCRIBE","params":[],"id":1}"#,
                4,
            ),
            false => (
                r#"{"req_id":"18446744073709551615","op":"unsubscribe","args":[]}"#,
                65_536,
                r#"{"req_id":"1","op":"subscribe","args":[]}"#,
                10,
            ),
        };
        let requests = requests_by_hand(&streams, 200, frame, empty.len());
        let texts = requests.iter().enumerate().map(|(at, bytes)| bytes - 1 + words.len() + usize::from(at + 1 > 9));
        assert_eq!(socket["name"], name);
        assert_eq!(socket["streams"], streams.len(), "{socket}");
        assert_eq!(socket["requests"], requests.len(), "{socket}");
        assert_eq!(socket["bytes_max"], texts.max().expect("a request"), "{socket}");
        // As many as the pace allows at once, then as many again each 1.2 seconds.
        assert_eq!(socket["ready_in_ms"], (requests.len() - 1) / rate * 1_200, "{socket}");
    };
    for (index, socket) in sockets[..3].iter().enumerate() {
        check(socket, &format!("spot/part-{}", index + 1), &mut (index..1_500).step_by(3), true);
    }
    check(&sockets[3], "linear", &mut (0..300), false);
    assert!(sockets[0]["bytes_max"].as_u64().expect("a number") < 4_096, "{line}");
    let done = output(&["check", "--plan", &config]);
    assert_eq!(done.status.code(), Some(0));
    let table = text(&done.stdout);
    assert!(table.contains("spot/part-1") && table.contains("3600 streams in"), "{table}");
}

/// Exit code, plan and stderr of `check --plan --json` for these keys of `[connection.subscription]`.
fn planned(folder: &Folder, symbols: &str, subscription: &str) -> (Option<i32>, Value, String) {
    let config = folder.write(
        "subscription.toml",
        &format!(
            r#"
[[connection]]
name = "a"
venue = "binance-spot"
symbols = [{symbols}]
channels = ["trade", "bookTicker"]
[connection.subscription]
{subscription}
"#
        ),
    );
    let done = output(&["check", "--plan", "--json", &config]);
    let plan = if done.stdout.is_empty() { Value::Null } else { serde_json::from_slice(&done.stdout).expect("JSON") };
    (done.status.code(), plan, text(&done.stderr).to_owned())
}

/// (name, requests, streams) of each socket.
fn shape(plan: &Value) -> Vec<(String, u64, u64)> {
    let number = |value: &Value| value.as_u64().expect("a whole number");
    let of_socket = |socket: &Value| {
        let name = socket["name"].as_str().expect("a text").to_owned();
        (name, number(&socket["requests"]), number(&socket["streams"]))
    };
    plan["connections"].as_array().expect("a list").iter().map(of_socket).collect()
}

#[test]
fn the_plan_keeps_to_what_the_configuration_asks_of_it() {
    let folder = Folder::new();
    let four = r#""AUSDT", "BUSDT", "CUSDT", "DUSDT""#;
    let shape_of = |subscription: &str| {
        let (code, plan, error) = planned(&folder, four, subscription);
        assert_eq!((code, &plan["violations"]), (Some(0), &serde_json::json!([])), "{subscription}: {error}");
        shape(&plan)
    };
    let socket = |name: &str, requests, streams| (name.to_owned(), requests, streams);
    assert_eq!(shape_of(""), [socket("a", 1, 8)]);
    assert_eq!(shape_of("batch = 3"), [socket("a", 3, 8)]);
    let halves = [socket("a/part-1", 1, 4), socket("a/part-2", 1, 4)];
    assert_eq!(shape_of("streams_per_connection = 4"), halves);
    assert_eq!(shape_of(r#"separate = "channel""#), halves);
    // The heavy symbol has a socket of its own.
    let weighted = "streams_per_connection = 6\nweights = { CUSDT = 10 }";
    assert_eq!(shape_of(weighted), [socket("a/part-1", 1, 2), socket("a/part-2", 1, 6)]);
    // Room for a third stream, which would tear a symbol.
    let shards = "streams_per_connection = 3\nseparate = \"symbol\"";
    assert_eq!(shape_of(shards), [1, 2, 3, 4].map(|part| socket(&format!("a/part-{part}"), 1, 2)));
    let (_, plan, _) = planned(&folder, four, "");
    // {"method":"SUBSCRIBE","params":["ausdt@trade","ausdt@bookTicker",...],"id":1}
    assert_eq!(plan["connections"][0]["bytes_max"], 41 + 4 * (13 + 18) + 7);
}

#[test]
fn a_plan_that_breaks_a_limit_is_printed_with_the_limit_and_refused() {
    let folder = Folder::new();
    // A name of the longest length, which doubles in JSON: no request of 256 bytes holds it.
    let symbols = format!("'{}', 'BTCUSDT'", r"\".repeat(128));
    let (code, plan, error) = planned(&folder, &symbols, "request_bytes_max = 256");
    assert_eq!(code, Some(2), "{plan}");
    let violations = plan["violations"].as_array().expect("a list");
    for (violation, bytes) in violations.iter().zip([341, 346]) {
        let violation = violation.as_str().expect("a sentence");
        assert!(violation.starts_with(&format!("a: a request of {bytes} bytes, ")), "{violation}");
        assert!(violation.ends_with(": 256 are allowed"), "{violation}");
    }
    assert_eq!((violations.len(), shape(&plan)), (2, vec![("a".to_owned(), 3, 4)]), "all else is planned");
    assert!(error.contains("the plan breaks 2 limits"), "{error}");
    // A shard is whole or not at all.
    let subscription = "streams_per_connection = 1\nseparate = \"symbol\"";
    let (code, plan, _) = planned(&folder, "'BTCUSDT'", subscription);
    let violations = plan["violations"].as_array().expect("a list");
    assert_eq!((code, violations.len()), (Some(2), 1), "{plan}");
    assert!(violations[0].as_str().is_some_and(|text| text.starts_with("a: 2 streams on one connection")), "{plan}");
    // Smaller than any subscribe: refused before there is a plan.
    let (code, plan, error) = planned(&folder, "'BTCUSDT'", "request_bytes_max = 20");
    assert_eq!((code, plan), (Some(2), Value::Null));
    assert!(error.contains("request_bytes_max") && error.contains("256"), "{error}");
}

#[test]
fn check_refuses_a_bad_file_with_every_error_at_once() {
    let folder = Folder::new();
    let bad = r#"[exchange]
name = "bad"
colour = "red"

[[connection]]
name = "a"
venue = "binance-spot"
symbols = ["BTCUSDT", "BTCUSDT"]
channels = ["trade", "nonsense"]
core = 999999

[connection.subscription]
batch = "many"
"#;
    let file = folder.write("bad.toml", bad);
    for command in ["check", "run"] {
        let done = output(&[command, &file]);
        assert_eq!(done.status.code(), Some(2), "{command}");
        assert!(done.stdout.is_empty(), "nothing is started, nothing reported");
        let error = text(&done.stderr);
        for (line, key, found, allowed) in [
            (3, "exchange.colour", "unknown key `colour`", "name"),
            (8, "connection[a].symbols[1]", "a second time (first on line 8)", "each symbol once"),
            (9, "connection[a].channels[1]", "\"nonsense\"", "bookTicker"),
            (10, "connection[a].core", "CPU 999999", "a CPU this process may use: "),
            (13, "connection[a].subscription.batch", "\"many\"", "a whole number"),
        ] {
            let at = error.find(&format!("{file}:{line}: {key}\n")).unwrap_or_else(|| panic!("{key}: {error}"));
            let mut lines = error[at..].lines().skip(1);
            let mut next =
                |name: &str| lines.next().and_then(|line| line.trim_start().strip_prefix(name)).unwrap_or("");
            assert!(next("found:").contains(found), "{key}: {error}");
            assert!(next("allowed:").contains(allowed), "{key}: {error}");
        }
    }
}

#[test]
fn what_is_no_command_is_refused_and_every_help_teaches() {
    let done = output(&["fly"]);
    assert_eq!(done.status.code(), Some(2));
    assert!(text(&done.stderr).contains("fly"), "{}", text(&done.stderr));
    assert_eq!(output(&[]).status.code(), Some(2), "without a word there is nothing to do");
    assert_eq!(output(&["run", "/nonexistent/exchange.toml"]).status.code(), Some(2));
    for name in ["demo", "run", "check", "sim", "ctl"] {
        let done = output(&[name, "--help"]);
        assert_eq!(done.status.code(), Some(0));
        let out = text(&done.stdout);
        assert!(out.contains("Examples:") && out.contains(&format!("  tickwire {name}")), "{out}");
        assert!(out.contains("Exit codes:"), "{out}");
    }
}

#[test]
fn a_header_from_the_environment_is_sent_and_never_shown() {
    const SECRET: &str = "s3cr3t-Zx81-Qv77";
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let (seen_in, seen) = channel();
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().expect("a connection");
        #[expect(clippy::result_large_err, reason = "the signature is tungstenite's")]
        let look = |request: &Request, response: Response| {
            let value = request.headers().get("x-desk-token").map(|value| value.to_str().unwrap_or("").to_owned());
            let _ = seen_in.send(value);
            Ok(response)
        };
        let mut socket = tungstenite::accept_hdr(stream, look).expect("an upgrade");
        while socket.read().is_ok() {}
    });
    let folder = Folder::new();
    let config = to_nobody()
        .lines()
        .map(|line| if line.starts_with("url") { format!("url = \"ws://127.0.0.1:{port}\"") } else { line.to_owned() })
        .chain(["[connection.headers]".to_owned(), "X-Desk-Token = { env = \"TICKWIRE_TEST_TOKEN\" }".to_owned()])
        .collect::<Vec<_>>()
        .join("\n");
    let config = folder.write("secret.toml", &config);
    for words in [vec!["run", &config, "--json", "--duration", "0.5"], vec!["check", &config]] {
        let done = tickwire(&words)
            .env("TICKWIRE_TEST_TOKEN", SECRET)
            .env("RUST_LOG", "trace,tungstenite=trace,tungstenite::handshake::client=trace,hyper=trace,h2=trace")
            .output()
            .expect("the binary runs");
        assert_eq!(done.status.code(), Some(0), "{}", text(&done.stderr));
        let (out, error) = (text(&done.stdout), text(&done.stderr));
        assert!(words[0] == "check" || error.contains("TRACE"), "the log is as detailed as was asked: {error}");
        assert!(!out.contains(SECRET) && !error.contains(SECRET), "{words:?} shows the secret:\n{out}\n{error}");
    }
    assert_eq!(seen.recv_timeout(PATIENCE).expect("the run connects").as_deref(), Some(SECRET), "it was sent");
    let done = output(&["check", &config]);
    assert_eq!(done.status.code(), Some(2));
    assert!(text(&done.stderr).contains("TICKWIRE_TEST_TOKEN"), "{}", text(&done.stderr));
}

#[test]
fn the_report_for_people_shows_what_was_refused() {
    let server = VenueServer::start(|_, session| {
        session.confirm_subscription();
        session.send("not what anybody documented");
        session.close_code();
    });
    let folder = Folder::new();
    let url = server.connection("a", Venue::BinanceSpot, &["BTCUSDT"], &["trade"]).url;
    let config = to_nobody()
        .lines()
        .map(|line| {
            if line.starts_with("url") {
                format!("url = \"{}\"", url.as_str().trim_end_matches('/'))
            } else {
                line.to_owned()
            }
        })
        .collect::<Vec<_>>()
        .join("\n");
    let config = folder.write("refused.toml", &config);
    let done = output(&["run", &config, "--duration", "1"]);
    assert_eq!(done.status.code(), Some(0), "{}", text(&done.stderr));
    let out = text(&done.stdout);
    assert!(out.contains("not_json") && out.contains("not what anybody documented"), "the sample is shown: {out}");
}

// ---------------------------------------------------------------------------------------------- the echo client

/// The example, built by the cargo that built this test, in the same profile.
fn echo_client() -> PathBuf {
    let profile_folder = Path::new(env!("CARGO_BIN_EXE_tickwire")).parent().expect("a folder");
    let target = profile_folder.parent().expect("the target folder");
    let profile = if profile_folder.ends_with("release") { "release" } else { "test" };
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--example", "echo_client", "--profile", profile, "--target-dir"])
        .arg(target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(built.status.success(), "{}", text(&built.stderr));
    profile_folder.join("examples/echo_client")
}

/// How a test's server ends a connection after its messages came back.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum End {
    Close,
    Cut,
}

/// Serves one connection: sends messages, reads them back, ends it. Over TLS where there is an acceptor.
async fn serve(listener: tokio::net::TcpListener, acceptor: Option<tokio_rustls::TlsAcceptor>, end: End) {
    let (stream, _) = listener.accept().await.expect("a connection");
    match acceptor {
        None => converse(stream, end).await,
        Some(acceptor) => converse(acceptor.accept(stream).await.expect("a handshake"), end).await,
    }
}

async fn converse(stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin, end: End) {
    use futures_util::{SinkExt as _, StreamExt as _};
    let mut socket = tokio_tungstenite::accept_async(stream).await.expect("an upgrade");
    for message in [Message::text("one"), Message::binary(vec![0, 255, 7]), Message::text("é".repeat(40_000))] {
        socket.send(message.clone()).await.expect("it reads");
        assert_eq!(socket.next().await.expect("an echo").expect("an echo"), message);
    }
    if end == End::Cut {
        return;
    }
    let bye = CloseFrame { code: CloseCode::Normal, reason: "done".into() };
    socket.close(Some(bye)).await.expect("it reads");
    while let Some(Ok(_)) = socket.next().await {}
}

#[test]
fn the_echo_client_tells_a_clean_close_from_a_cut_over_both_transports_and_tls() {
    let client = echo_client();
    let folder = Folder::new();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    for transport in ["hot", "cold"] {
        for is_secure in [false, true] {
            for end in [End::Close, End::Cut] {
                let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a port");
                let address = listener.local_addr().expect("bound");
                let (config, ca) = is_secure.then(|| certificate("127.0.0.1")).unzip();
                let server = runtime.spawn(serve(listener, config.map(Into::into), end));
                let scheme = if is_secure { "wss" } else { "ws" };
                let mut command = Command::new(&client);
                command.args([&format!("{scheme}://{address}/"), "--transport", transport]);
                if let Some(ca) = ca {
                    command.args(["--ca", &folder.write("ca.pem", &ca)]);
                }
                let done = command.output().expect("the example runs");
                let error = text(&done.stderr);
                let what = format!("{scheme}, {transport}, {end:?}: {error}");
                match end {
                    End::Close => assert_eq!((done.status.code(), error), (Some(0), ""), "{what}"),
                    End::Cut => {
                        assert_eq!(done.status.code(), Some(1), "{what}");
                        assert!(error.starts_with("echo_client: "), "{what}");
                    }
                }
                runtime.block_on(server).expect("every message came back");
            }
        }
    }
}

#[test]
fn the_echo_client_refuses_a_certificate_nobody_vouches_for() {
    let client = echo_client();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let server = runtime.block_on(tickwire::sim::echo::start(true)).expect("an echo server");
    let done = Command::new(&client).arg(server.wss().expect("asked for")).output().expect("the example runs");
    assert_eq!(done.status.code(), Some(1));
    assert!(text(&done.stderr).to_lowercase().contains("certificate"), "{}", text(&done.stderr));
}
