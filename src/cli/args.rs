//! The command line's words. Each `--help` says what the command does, shows it, and names its exit codes.

use super::run_loop::Schedule;
use crate::config::Idle;
use crate::market::Venue;
use crate::sim::{FAULT_HELP, FaultRule};
use crate::telemetry::host::{Cpus, parse_list};
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

const EXIT_CODES: &str = "\
Exit codes:
  0    ended as asked: the duration passed, SIGINT or SIGTERM came, or the reader of stdout went away
  1    failed while running
  2    the configuration or the command line was refused; nothing was started
  3    a strategy's handler panicked; the event that did it is in the message
  130  a second SIGINT or SIGTERM came before the first had been served";

/// Receives market data from exchanges over WebSocket, on pinned cores, and calls a strategy's functions with it.
#[derive(Debug, Parser)]
#[command(name = "tickwire", version, propagate_version = false, arg_required_else_help = true)]
#[command(after_help = EXIT_CODES)]
pub struct Arguments {
    #[command(subcommand)]
    pub(super) command: Command,
}

/// The arguments of a program that brings its own strategy: those of `tickwire run`.
#[derive(Debug, Parser)]
#[command(after_help = EXIT_CODES)]
pub(super) struct OwnArguments {
    #[command(flatten)]
    pub(super) run: RunArguments,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    Demo(DemoArguments),
    Run(RunArguments),
    Check(CheckArguments),
    Doctor(DoctorArguments),
    Sim(SimArguments),
    Ctl(CtlArguments),
}

const CTL_EXIT_CODES: &str = "\
Exit codes:
  0    done; for `events`, the engine ended or the reader of stdout went away
  1    the engine refused, is not there, or went away before it answered
  2    the command line or the engine file was refused; nothing was asked";

/// Asks a running engine, over its control socket.
///
/// The socket's path is `control_socket` in the engine file; only its owner may use it. Each command is one request, and
/// ends with the engine's answer: what was done, or what is wrong and what is allowed.
///
/// Examples:
///   tickwire ctl --engine configs/engine.toml status
///   tickwire ctl --socket /run/tickwire.sock status --json | jq .halted
///   tickwire ctl --socket /run/tickwire.sock book binance-spot BTCUSDT --depth 5
///   tickwire ctl --socket /run/tickwire.sock subscribe binance-spot-a --channels trade,bookTicker --symbols BTCUSDT
///   tickwire ctl --socket /run/tickwire.sock reload --dry-run
///   tickwire ctl --socket /run/tickwire.sock events --json
#[derive(Args, Debug)]
#[command(verbatim_doc_comment, after_help = CTL_EXIT_CODES)]
pub(super) struct CtlArguments {
    /// The control socket.
    #[arg(long, value_name = "PATH", global = true, conflicts_with = "engine")]
    pub(super) socket: Option<PathBuf>,
    /// The engine's file, which names the control socket.
    #[arg(long, value_name = "FILE", global = true)]
    pub(super) engine: Option<PathBuf>,
    /// Print the engine's answer as it came: one JSON object on one line.
    #[arg(long, global = true)]
    pub(super) json: bool,
    /// Seconds to wait for the answer.
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds, global = true)]
    pub(super) timeout: Duration,
    #[command(subcommand)]
    pub(super) command: CtlCommand,
}

/// What is asked.
#[derive(Debug, Subcommand)]
pub(super) enum CtlCommand {
    /// Prints every connection, subscription, pending request, budget, book, leg and core, and what halts the engine.
    Status,
    /// Prints one book: a ladder, or with --json the line that `run --books-out` writes.
    Book {
        /// The venue: binance-spot, binance-usdm, bybit-spot or bybit-linear.
        venue: Venue,
        /// The native name.
        symbol: String,
        /// Levels a side.
        #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=10_000))]
        depth: u16,
    },
    /// Subscribes every channel for every symbol on a connection; symbols unknown so far are made known.
    Subscribe(StreamArguments),
    /// Takes every channel for every symbol off a connection.
    Unsubscribe(StreamArguments),
    /// Opens the connections of one more exchange file.
    Add {
        /// The exchange file.
        file: PathBuf,
    },
    /// Closes a connection for good.
    Remove {
        /// Its name.
        connection: String,
    },
    /// Sends a text on a connection.
    Send {
        /// Its name.
        connection: String,
        /// The text, as it goes out.
        text: String,
    },
    /// Sends a text on every connection that is ready.
    Broadcast {
        /// The text, as it goes out.
        text: String,
        /// Only on connections of this venue.
        #[arg(long)]
        venue: Option<Venue>,
    },
    /// Drops a connection and makes it again.
    Reconnect {
        /// Its name.
        connection: String,
    },
    /// Replaces a connection's socket: the successor is confirmed before the old one goes.
    Rotate {
        /// Its name.
        connection: String,
    },
    /// Reads the configuration's files again and applies what differs; what cannot change live is refused by name. Where books
    /// are kept, the venues' instrument lists are asked for again too.
    Reload {
        /// Print what differs, and change nothing.
        #[arg(long)]
        dry_run: bool,
    },
    /// Prints the last events, then those to come, until interrupted.
    Events,
}

/// Streams of a connection.
#[derive(Args, Debug)]
pub(super) struct StreamArguments {
    /// The connection's name.
    pub(super) connection: String,
    /// Channels, in the venue's words, separated by commas.
    #[arg(long, required = true, value_delimiter = ',', value_name = "CHANNEL")]
    pub(super) channels: Vec<String>,
    /// Native names, separated by commas; none where every channel is for the whole market.
    #[arg(long, value_delimiter = ',', value_name = "SYMBOL")]
    pub(super) symbols: Vec<String>,
}

/// Runs the engine against the embedded exchange: no configuration, no internet.
///
/// Starts an exchange that speaks Binance's and Bybit's protocols on loopback, connects the engine to both, and reports
/// how fast and how old the data was.
///
/// On a terminal one live table shows every connection; otherwise a line is printed each interval. The last thing
/// printed is the final report: totals, percentiles, the hot threads' own allocations, and samples of what was refused.
///
/// Examples:
///   tickwire demo
///   tickwire demo --tls --duration 60
///   tickwire demo --json --duration 2 | tail -n 1
#[derive(Args, Debug)]
#[command(verbatim_doc_comment, after_help = EXIT_CODES)]
pub(super) struct DemoArguments {
    /// Connect by wss, with a certificate made for this run, instead of by ws.
    #[arg(long)]
    pub(super) tls: bool,
    /// Names the synthetic market: the same seed gives the same market.
    #[arg(long, default_value_t = 1)]
    pub(super) seed: u64,
    /// Messages a second of each venue.
    #[arg(long, default_value_t = 2_000.0, value_parser = positive)]
    pub(super) rate: f64,
    /// Symbols of each venue.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    pub(super) symbols: u16,
    /// How the hot core waits: `park` sleeps until data comes, `spin` never sleeps, `yield` offers the core in between.
    #[arg(long, value_enum, default_value_t = IdleArgument::Park)]
    pub(super) idle: IdleArgument,
    /// Seconds to run.
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub(super) duration: Duration,
    #[command(flatten)]
    pub(super) report: ReportArguments,
}

/// Runs the engine with one or more exchange files.
///
/// Connects what the files name, subscribes, and reports until SIGINT, SIGTERM or --duration. Every error of every file
/// is printed at once, with file, line, key, what was found and what is allowed; nothing is started then.
///
/// Examples:
///   tickwire run configs/binance.toml configs/bybit.toml
///   tickwire run configs/*.toml --strategy null --json --interval 10
///   tickwire sim > endpoints.json &
///   tickwire run configs/bybit.toml --endpoints endpoints.json --duration 30
///   tickwire run configs/binance.toml --books-out books.jsonl --duration 60
#[derive(Args, Debug)]
#[command(verbatim_doc_comment, after_help = EXIT_CODES)]
pub(super) struct RunArguments {
    #[command(flatten)]
    pub(super) config: ConfigArguments,
    /// Connect where this file says instead: the first line that `tickwire sim` prints.
    #[arg(long, value_name = "FILE")]
    pub(super) endpoints: Option<PathBuf>,
    /// Seconds to run; without it, until SIGINT or SIGTERM.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(super) duration: Option<Duration>,
    /// Write every book here at the end, as it is then: one JSON object a line with venue, symbol, state, sequence, bids and
    /// asks (price and quantity as exact decimal texts, best first), how far each side is known, and why a stale one is. What is
    /// there under this name is replaced once all of it is written.
    #[arg(long, value_name = "FILE")]
    pub(super) books_out: Option<PathBuf>,
    #[command(flatten)]
    pub(super) report: ReportArguments,
}

/// Says what a configuration would connect and subscribe, without connecting.
///
/// Reads the files with the very checks of `run`. Errors are printed all at once, with file, line, key, what was found
/// and what is allowed. With --plan it says which sockets carry how many streams in how many requests, and when the last
/// is sent; a plan that breaks a venue's limit is printed too, and refused.
///
/// Examples:
///   tickwire check configs/*.toml
///   tickwire check --plan configs/*.toml
///   tickwire check --plan --json configs/binance.toml
///   tickwire check configs/binance.toml --engine configs/engine.toml
#[derive(Args, Debug)]
#[command(verbatim_doc_comment, after_help = EXIT_CODES)]
pub(super) struct CheckArguments {
    #[command(flatten)]
    pub(super) config: ConfigArguments,
    /// Print the plan: sockets, requests, and the time from connect to the last subscribe.
    #[arg(long)]
    pub(super) plan: bool,
    /// With --plan: print it as one JSON object on one line.
    #[arg(long, requires = "plan")]
    pub(super) json: bool,
}

const DOCTOR_EXIT_CODES: &str = "\
Exit codes:
  0    the findings were printed, or the reader of stdout went away
  1    with --strict: something is bad; or stdout failed
  2    the configuration or the command line was refused; nothing was looked at";

/// Says what this host does to a hot core, what it costs, and the line that fixes it.
///
/// Looks at the configured hot cores, as they wait (`idle`); without a configuration at every CPU this process may use, as
/// a core that spins. Reads the kernel's files and changes nothing. Each finding is `bad` (it costs microseconds or more on
/// the hot path, or makes a figure wrong), a `note`, `unknown` (it cannot be read here, with the reason) or `ok`. `tickwire
/// run` makes the same checks at its start and logs what is bad. `scripts/tune-host.sh` does what the fixes say.
///
/// Examples:
///   tickwire doctor
///   tickwire doctor configs/binance.toml --engine configs/engine.toml
///   tickwire doctor --cores 2,3 --strict
///   tickwire doctor --json | jq '.findings[] | select(.level == "bad")'
#[derive(Args, Debug)]
#[command(verbatim_doc_comment, after_help = DOCTOR_EXIT_CODES)]
pub(super) struct DoctorArguments {
    /// Exchange files; an engine file may stand among them.
    #[arg(value_name = "CONFIG")]
    pub(super) configs: Vec<PathBuf>,
    /// The engine's file: hot cores, and how they wait.
    #[arg(long, value_name = "FILE")]
    pub(super) engine: Option<PathBuf>,
    /// Look at these CPUs instead, as cores that spin: numbers and ranges with commas between.
    #[arg(long, value_name = "LIST", value_parser = parse_list, conflicts_with_all = ["configs", "engine"])]
    pub(super) cores: Option<Cpus>,
    /// Print one JSON object on one line.
    #[arg(long)]
    pub(super) json: bool,
    /// Print only what mends it, one line a fix with tabs between its fields, as scripts/tune-host.sh reads it.
    #[arg(long, conflicts_with = "json")]
    pub(super) fixes: bool,
    /// Exit with code 1 if something is bad.
    #[arg(long)]
    pub(super) strict: bool,
    /// Read a machine's /proc and /sys below this folder; what is in no file is unknown then.
    #[arg(long, value_name = "DIR")]
    pub(super) root: Option<PathBuf>,
}

/// Serves an exchange on loopback that speaks Binance's and Bybit's protocols.
///
/// The first line on stdout is one JSON object with the endpoints of each venue and the CA file of the wss ones, as
/// `tickwire run --endpoints` takes it. The market is synthetic and consistent, or recorded frames from --frames. Ends
/// on SIGINT, SIGTERM or --duration with a summary on stderr: one line a venue, `served VENUE {counters as JSON}`.
///
/// Examples:
///   tickwire sim --rate 10000 --symbols 20 > endpoints.json
///   tickwire sim --tls --venues binance-spot,bybit-linear --ca ca.pem
///   tickwire sim --frames FRAMES --pace flat-out
///   tickwire sim --tape --faults shutdown-notice=55s,close-1001=60s,ack-loss=5%,leg-skew=0..20ms --fault-seed 7
#[derive(Args, Debug)]
#[command(verbatim_doc_comment, after_help = format!("{FAULT_HELP}\n\n{EXIT_CODES}"))]
pub(super) struct SimArguments {
    /// Venues to serve, separated by commas [default: all].
    #[arg(long, value_delimiter = ',', value_name = "VENUE")]
    pub(super) venues: Vec<Venue>,
    /// Serve wss and https as well, with a certificate made for this run.
    #[arg(long)]
    pub(super) tls: bool,
    /// Messages a second on each connection; with --tape, moments a second of each venue's market.
    #[arg(long, default_value_t = 1_000.0, value_parser = positive)]
    pub(super) rate: f64,
    /// Symbols of each venue.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=4_000))]
    pub(super) symbols: u16,
    /// Let the market live by its own clock: every connection is told the same trades and quotes.
    #[arg(long, conflicts_with = "frames")]
    pub(super) tape: bool,
    /// What goes wrong: see "Faults" below.
    #[arg(long, value_delimiter = ',', value_name = "SPEC")]
    pub(super) faults: Vec<FaultRule>,
    /// Draws whom a fault with a share strikes.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(super) fault_seed: u64,
    /// Names the synthetic market: the same seed gives the same market.
    #[arg(long, default_value_t = 1)]
    pub(super) seed: u64,
    /// Seconds to serve; without it, until SIGINT or SIGTERM.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(super) duration: Option<Duration>,
    /// Play recorded frames from this folder: DIR/<folder>/<channel>.jsonl.
    #[arg(long, value_name = "DIR")]
    pub(super) frames: Option<PathBuf>,
    /// How fast frames are played: `recorded`, `flat-out`, or a number of times as fast as recorded.
    #[arg(long, default_value = "recorded", value_parser = pace, requires = "frames")]
    pub(super) pace: PaceArgument,
    /// Write the certificate of the authority behind wss here, in PEM [default: a file in the temporary folder].
    #[arg(long, value_name = "FILE", requires = "tls")]
    pub(super) ca: Option<PathBuf>,
    /// Print nothing but the endpoints and errors.
    #[arg(long)]
    pub(super) quiet: bool,
}

/// Which configuration.
#[derive(Args, Debug)]
pub(super) struct ConfigArguments {
    /// Exchange files; an engine file may stand among them.
    #[arg(required = true, value_name = "CONFIG")]
    pub(super) configs: Vec<PathBuf>,
    /// The engine's file: hot cores, idle strategy, cold cores, report interval.
    #[arg(long, value_name = "FILE")]
    pub(super) engine: Option<PathBuf>,
}

/// How to report, and to whom the events go.
#[derive(Args, Debug)]
pub(super) struct ReportArguments {
    /// Print one JSON object on one line each interval, the last with "final": true, and nothing else on stdout.
    #[arg(long)]
    pub(super) json: bool,
    /// Seconds between two reports [default: run: the engine file's report_interval_s; demo: 1].
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(super) interval: Option<Duration>,
    /// The strategy of hot cores that name none: null, print or spread [default: spread; a program of one's own: its own].
    #[arg(long, value_name = "NAME", value_parser = strategy)]
    pub(super) strategy: Option<String>,
}

impl ReportArguments {
    /// The strategy of `run` and `demo` where the arguments name none: the one that shows something.
    pub(super) fn strategy_or_default(&self) -> &str {
        self.strategy.as_deref().unwrap_or("spread")
    }

    /// When to report and when to end.
    pub(super) fn schedule(&self, interval_default: Duration, duration: Option<Duration>) -> Schedule {
        Schedule { interval: self.interval.unwrap_or(interval_default), duration }
    }
}

/// How a hot core waits.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(super) enum IdleArgument {
    Park,
    Spin,
    Yield,
}

impl From<IdleArgument> for Idle {
    fn from(idle: IdleArgument) -> Self {
        match idle {
            IdleArgument::Park => Self::Park,
            IdleArgument::Spin => Self::Spin,
            IdleArgument::Yield => Self::Yield,
        }
    }
}

/// How fast recorded frames are played.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum PaceArgument {
    Recorded,
    FlatOut,
    Multiple(f64),
}

fn pace(text: &str) -> Result<PaceArgument, String> {
    match text {
        "recorded" => Ok(PaceArgument::Recorded),
        "flat-out" => Ok(PaceArgument::FlatOut),
        number => positive(number)
            .map(PaceArgument::Multiple)
            .map_err(|_| "allowed is `recorded`, `flat-out`, or a number above 0".to_owned()),
    }
}

fn positive(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|number| number.is_finite() && *number > 0.0);
    number.ok_or_else(|| "allowed is a number above 0".to_owned())
}

/// Longest time that can be asked for: a leap year, in seconds.
const SECONDS_MAX: f64 = 366.0 * 86_400.0;

/// Shortest: a millisecond.
const SECONDS_MIN: f64 = 0.001;

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = positive(text).ok().filter(|seconds| (SECONDS_MIN..=SECONDS_MAX).contains(seconds));
    seconds
        .map(Duration::from_secs_f64)
        .ok_or_else(|| format!("allowed is a number of seconds from {SECONDS_MIN} to {SECONDS_MAX}"))
}

fn strategy(name: &str) -> Result<String, String> {
    let names = crate::strategy::NAMES;
    if names.contains(&name) { Ok(name.to_owned()) } else { Err(format!("allowed is one of {}", names.join(", "))) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;
    use clap::error::ErrorKind;

    fn parse(words: &str) -> Result<Command, clap::Error> {
        Arguments::try_parse_from(words.split(' ')).map(|arguments| arguments.command)
    }

    #[test]
    fn the_definition_is_consistent_and_every_help_has_examples_and_exit_codes() {
        Arguments::command().debug_assert();
        for name in ["demo", "run", "check", "doctor", "sim", "ctl"] {
            let help = parse(&format!("tickwire {name} --help")).expect_err("help is not a command");
            assert_eq!(help.kind(), ErrorKind::DisplayHelp);
            let text = help.to_string();
            assert!(text.contains(&format!("\n  tickwire {name}")), "an example on a line of its own: {text}");
            assert!(text.contains("Exit codes:"), "{text}");
        }
    }

    #[test]
    fn the_demo_needs_no_words_and_runs_ten_seconds() {
        let Ok(Command::Demo(demo)) = parse("tickwire demo") else { panic!("demo") };
        assert_eq!(demo.duration, Duration::from_secs(10));
        assert_eq!(demo.report.strategy_or_default(), "spread");
        let schedule = demo.report.schedule(Duration::from_secs(1), Some(demo.duration));
        assert_eq!(schedule.interval, Duration::from_secs(1));
        assert!(!demo.tls && !demo.report.json);
    }

    #[test]
    fn run_takes_files_and_an_interval_that_overrides_the_engine_files() {
        let Ok(Command::Run(run)) = parse("tickwire run a.toml b.toml --engine e.toml --interval 0.5 --json") else {
            panic!("run")
        };
        assert_eq!(run.config.configs, [PathBuf::from("a.toml"), PathBuf::from("b.toml")]);
        assert_eq!(run.config.engine, Some(PathBuf::from("e.toml")));
        let schedule = run.report.schedule(Duration::from_secs(10), run.duration);
        assert_eq!(schedule, Schedule { interval: Duration::from_millis(500), duration: None });
        assert!(run.report.json && run.books_out.is_none());
        let Ok(Command::Run(run)) = parse("tickwire run a.toml --books-out b.jsonl") else { panic!("run") };
        assert_eq!(run.books_out, Some(PathBuf::from("b.jsonl")));
    }

    #[test]
    fn ctl_takes_its_options_before_and_behind_the_command() {
        for words in ["tickwire ctl --socket s --json status", "tickwire ctl status --json --socket s"] {
            let Ok(Command::Ctl(ctl)) = parse(words) else { panic!("ctl") };
            assert!(ctl.json && matches!(ctl.command, CtlCommand::Status));
            assert_eq!((ctl.socket, ctl.timeout), (Some(PathBuf::from("s")), Duration::from_secs(10)));
        }
        let words = "tickwire ctl --engine e subscribe a --channels trade,ticker --symbols X,Y";
        let Ok(Command::Ctl(CtlArguments { command: CtlCommand::Subscribe(streams), .. })) = parse(words) else {
            panic!("subscribe")
        };
        assert_eq!((streams.channels.len(), streams.symbols.join(" ").as_str()), (2, "X Y"));
    }

    #[test]
    fn what_cannot_be_is_refused_with_what_is_allowed_and_exit_code_two() {
        for (words, allowed) in [
            ("tickwire run", "<CONFIG>..."),
            ("tickwire demo --duration 0", "number of seconds from 0.001"),
            ("tickwire demo --duration inf", "number of seconds"),
            ("tickwire demo --interval 1e300", "number of seconds"),
            ("tickwire demo --interval -1", "unexpected argument"),
            ("tickwire demo --rate NaN", "a number above 0"),
            ("tickwire demo --symbols 0", "1..=1000"),
            ("tickwire demo --idle sleep", "park, spin, yield"),
            ("tickwire demo --strategy mine", "null, print, spread"),
            ("tickwire sim --venues binance-spot,okx", "one of binance-spot, binance-usdm, bybit-spot, bybit-linear"),
            ("tickwire sim --frames x --pace fast", "`recorded`, `flat-out`"),
            ("tickwire sim --pace flat-out", "--frames"),
            ("tickwire sim --ca ca.pem", "--tls"),
            ("tickwire check --json a.toml", "--plan"),
            ("tickwire doctor --cores 2;3", "2,4-7"),
            ("tickwire doctor --cores 3-2", "2,4-7"),
            ("tickwire doctor --cores 2 a.toml", "cannot be used with"),
            ("tickwire doctor --json --fixes", "cannot be used with"),
            ("tickwire ctl --socket s", "Usage: tickwire ctl"),
            ("tickwire ctl --socket s --engine e status", "cannot be used with"),
            ("tickwire ctl --socket s subscribe a --symbols X", "--channels"),
            ("tickwire ctl --socket s rotate", "<CONNECTION>"),
            ("tickwire ctl --socket s broadcast x --venue okx", "one of binance-spot"),
            ("tickwire ctl --socket s book okx X", "one of binance-spot"),
            ("tickwire ctl --socket s book binance-spot", "<SYMBOL>"),
            ("tickwire ctl --socket s book binance-spot X --depth 0", "1..=10000"),
            ("tickwire ctl --socket s stop", "unrecognized subcommand"),
        ] {
            let error = parse(words).expect_err(words);
            assert_eq!(error.exit_code(), i32::from(super::super::EXIT_CONFIGURATION), "{words}");
            assert!(error.to_string().contains(allowed), "{words} does not say `{allowed}`: {error}");
        }
    }

    #[test]
    fn the_sim_takes_venues_and_a_pace() {
        let words = "tickwire sim --venues binance-spot,bybit-linear --frames dir --pace 2.5";
        let Ok(Command::Sim(sim)) = parse(words) else { panic!("sim") };
        assert_eq!(sim.venues, [Venue::BinanceSpot, Venue::BybitLinear]);
        assert_eq!(sim.pace, PaceArgument::Multiple(2.5));
    }
}
