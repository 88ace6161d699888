//! `tickwire check`: says what a configuration would connect and subscribe, or, with `--plan`, how and in what time.
//!
//! ```text
//! Config ──► config::describe ──► text
//!        └─► ConfigPlan ──► text | one line of JSON ──► exit code 2 if it breaks a limit
//! ```

use super::args::CheckArguments;
use super::exit::CommandError;
use super::run;
use crate::config::{self, ConfigPlan};
use anyhow::Context as _;
use serde::Serialize;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::time::Duration;

/// Prints the checked configuration, or its plan.
pub(super) fn run(arguments: &CheckArguments) -> Result<(), CommandError> {
    let config = run::load(&arguments.config, &crate::strategy::NAMES)?;
    if !arguments.plan {
        return print(&config::describe(&config));
    }
    let plan = ConfigPlan::new(&config);
    print(&if arguments.json { json(&plan)? } else { text(&plan) })?;
    verdict(&plan.violations)
}

/// A plan that breaks a limit has been printed with all of them, and is no plan to run.
fn verdict(violations: &[String]) -> Result<(), CommandError> {
    match violations.len() {
        0 => Ok(()),
        count => Err(CommandError::Configuration(anyhow::anyhow!(
            "the plan breaks {}: see what is printed",
            self::count(count, "limit")
        ))),
    }
}

/// Writes to stdout; a reader that went away has seen what it wanted.
pub(super) fn print(text: &str) -> Result<(), CommandError> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("stdout").map_err(CommandError::Runtime)
        }
        _ => Ok(()),
    }
}

/// The plan for machines: these keys in this order, and no others.
#[derive(Serialize)]
struct PlanJson<'a> {
    connections: Vec<SocketJson<'a>>,
    violations: &'a [String],
}

#[derive(Serialize)]
struct SocketJson<'a> {
    name: &'a str,
    venue: &'static str,
    requests: usize,
    streams: usize,
    /// Bytes of the largest request's text.
    bytes_max: usize,
    /// From connect to the last planned subscribe.
    ready_in_ms: u128,
}

fn json(plan: &ConfigPlan<'_>) -> Result<String, CommandError> {
    let connections = plan.sockets.iter().map(|planned| SocketJson {
        name: &planned.name,
        venue: planned.connection.venue.name(),
        requests: planned.socket.requests.len(),
        streams: planned.socket.streams.len(),
        bytes_max: planned.socket.bytes_max(),
        ready_in_ms: planned.socket.ready_in.as_millis(),
    });
    let plan = PlanJson { connections: connections.collect(), violations: &plan.violations };
    let line = serde_json::to_string(&plan).context("the plan as JSON").map_err(CommandError::Runtime)?;
    Ok(line + "\n")
}

/// The plan for people: a row a socket, then the totals and what is wrong with it.
fn text(plan: &ConfigPlan<'_>) -> String {
    let width = plan.sockets.iter().map(|planned| planned.name.len()).max().unwrap_or(0).max("connection".len());
    let mut out = format!(
        "{:<width$}  {:<13}{:>9}{:>10}{:>15}{:>12}{:>10}\n",
        "connection", "venue", "streams", "requests", "largest bytes", "connect s", "ready s"
    );
    for planned in &plan.sockets {
        let socket = &planned.socket;
        let row = writeln!(
            out,
            "{:<width$}  {:<13}{:>9}{:>10}{:>15}{:>12}{:>10}",
            planned.name,
            planned.connection.venue.name(),
            socket.streams.len(),
            socket.requests.len(),
            socket.bytes_max(),
            seconds(socket.connect_after),
            seconds(socket.connect_after + socket.ready_in)
        );
        row.expect("a String takes whatever is written to it");
    }
    let totals = writeln!(
        out,
        "\n{} in {} on {}; the last subscribe is sent {} s after the start",
        count(plan.stream_count(), "stream"),
        count(plan.request_count(), "request"),
        count(plan.sockets.len(), "socket"),
        seconds(plan.ready_in())
    );
    totals.expect("a String takes whatever is written to it");
    for violation in &plan.violations {
        writeln!(out, "breaks a limit: {violation}").expect("a String takes whatever is written to it");
    }
    out
}

fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

fn seconds(duration: Duration) -> String {
    format!("{:.1}", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, ConnectionConfig};
    use crate::market::Venue;

    fn config() -> Config {
        let mut connection = ConnectionConfig::new("a", Venue::BybitLinear);
        connection = connection.subscribed_to(&["BTCUSDT", "ETHUSDT"], &["tickers"]).expect("a channel it has");
        connection.subscription.batch = 1;
        connection.subscription.requests_per_second = 1;
        Config::from_connections(vec![connection]).expect("a configuration that works")
    }

    #[test]
    fn the_line_for_machines_has_its_six_keys_in_their_order_and_is_one_line() {
        let config = config();
        let mut plan = ConfigPlan::new(&config);
        let line = json(&plan).expect("JSON");
        // {"req_id":"1","op":"subscribe","args":["tickers.BTCUSDT"]}
        let expected = r#"{"connections":[{"name":"a","venue":"bybit-linear","requests":2,"streams":2,"bytes_max":58,"ready_in_ms":1200}],"violations":[]}"#;
        assert_eq!(line, format!("{expected}\n"));
        plan.violations.push("a: too much".to_owned());
        let line = json(&plan).expect("JSON");
        assert!(line.ends_with("\"violations\":[\"a: too much\"]}\n"), "{line}");
    }

    #[test]
    fn a_plan_that_breaks_a_limit_is_refused_as_a_configuration_is() {
        assert!(verdict(&[]).is_ok());
        let error = verdict(&["a: too much".to_owned()]).expect_err("refused");
        assert_eq!(error.code(), super::super::EXIT_CONFIGURATION);
        assert!(error.to_string().starts_with("the plan breaks 1 limit"), "{error}");
    }

    #[test]
    fn the_table_for_people_has_a_row_a_socket_the_totals_and_what_is_wrong() {
        let config = config();
        let mut plan = ConfigPlan::new(&config);
        plan.violations.push("a: too much".to_owned());
        let text = text(&plan);
        let lines: Vec<&str> = text.lines().collect();
        let row: Vec<&str> = lines[1].split_whitespace().collect();
        assert_eq!(row, ["a", "bybit-linear", "2", "2", "58", "0.0", "1.2"]);
        assert_eq!(lines[3], "2 streams in 2 requests on 1 socket; the last subscribe is sent 1.2 s after the start");
        assert_eq!(lines[4], "breaks a limit: a: too much");
    }
}
