//! The hot thread's memory is there before a message needs it, and stays: no page fault in the steady loop, and a lock that
//! is had, refused with its limit named, or demanded.
//!
//! ```text
//! server thread: frames made beforehand ──► ws ──► hot core ──► handler: notes its thread's faults
//! ```

#[path = "support/faults.rs"]
mod faults;
mod venue_server;

use faults::faults;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tickwire::config::{Config, ConnectionConfig};
use tickwire::engine::Engine;
use tickwire::hot::{Router, Strategy};
use tickwire::market::{SymbolSpec, Venue};
use tickwire::telemetry::Report;
use tickwire::telemetry::host::{MemoryLimit, memory_limit};
use venue_server::{VenueServer, frame, until};

/// FIN and text.
const TEXT: u8 = 0x81;

/// A process that forks writes to none of its pages without a fault until it has copied them: nobody forks while faults are
/// counted.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    // A test that failed while it held it left nothing half done.
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the hot thread notes: written by it alone, read when all is over.
#[derive(Default)]
struct Marks {
    events: AtomicU64,
    /// The thread's faults at the last event of the warm-up, and at the last event of all.
    warm: AtomicU64,
    last: AtomicU64,
}

struct State {
    marks: Arc<Marks>,
    warm_up_events: u64,
}

fn note<E: ?Sized>(state: &mut State, _event: &E) {
    let events = state.marks.events.load(Ordering::Relaxed) + 1;
    let now = faults();
    if events <= state.warm_up_events {
        state.marks.warm.store(now, Ordering::Relaxed);
    }
    state.marks.last.store(now, Ordering::Relaxed);
    state.marks.events.store(events, Ordering::Release);
}

fn note_everything(_: &mut State, router: &mut Router<State>, spec: &SymbolSpec) {
    router.on_trade(spec.symbol, note);
    router.on_quote(spec.symbol, note);
    router.on_book_delta(spec.symbol, |state, event| note(state, event));
}

/// Runs the engine until `message_count` messages have come; the report, and the faults behind the warm-up.
fn run(connection: ConnectionConfig, message_count: u64, warm_up_events: u64) -> (Report, u64) {
    let marks = Arc::new(Marks::default());
    let noted = Arc::clone(&marks);
    let make =
        move || Strategy { state: State { marks: Arc::clone(&noted), warm_up_events }, on_symbol: note_everything };
    let config = Config::from_connections(vec![connection]).expect("a configuration that works");
    let engine = Engine::builder(config).strategy("notes", make).start().expect("it starts");
    until(&engine, "every message", |report| report.events() >= message_count);
    let report = engine.stop();
    assert_eq!(marks.events.load(Ordering::Acquire), message_count, "{}", report.to_json());
    (report, marks.last.load(Ordering::Acquire) - marks.warm.load(Ordering::Acquire))
}

fn levels(count: u64) -> String {
    let level = |at: u64| format!(r#"["{}.10","0.{:03}"]"#, 60_000 + at, at + 1);
    (0..count).map(level).collect::<Vec<_>>().join(",")
}

#[test]
fn once_warm_the_hot_thread_takes_no_page_fault() {
    const COUNT: u64 = 200_000;
    const BLOCK_MESSAGES: u64 = 100;
    let _alone = alone();
    // A book of a hundred levels now and then, so that more than one cache line of each buffer is used.
    let messages = [
        r#"{"stream":"btcusdt@trade","data":{"e":"trade","E":1700000000000,"s":"BTCUSDT","t":3735683259,"p":"67241.12000000","q":"0.00350000","T":1700000000000,"m":true,"M":true}}"#.to_owned(),
        r#"{"stream":"btcusdt@bookTicker","data":{"u":50093239212,"s":"BTCUSDT","b":"67241.11000000","B":"4.02500000","a":"67241.12000000","A":"1.10000000"}}"#.to_owned(),
        r#"{"stream":"btcusdt@trade","data":{"e":"trade","E":1700000000000,"s":"BTCUSDT","t":3735683260,"p":"67241.13000000","q":"0.00350000","T":1700000000000,"m":false,"M":true}}"#.to_owned(),
        format!(
            r#"{{"stream":"btcusdt@depth@100ms","data":{{"e":"depthUpdate","E":1700000000000,"s":"BTCUSDT","U":1,"u":2,"b":[{}],"a":[{}]}}}}"#,
            levels(50),
            levels(50)
        ),
    ];
    let server = VenueServer::start(move |_, session| {
        session.confirm_subscription();
        let framed = |at: u64| frame(TEXT, messages[usize::try_from(at).unwrap() % messages.len()].as_bytes());
        let block: Vec<u8> = (0..BLOCK_MESSAGES).flat_map(framed).collect();
        for _ in 0..COUNT / BLOCK_MESSAGES {
            if !session.send_raw(&block) {
                return;
            }
        }
        session.close_code();
    });
    let channels = ["trade", "bookTicker", "depth@100ms"];
    let connection = server.connection("binance", Venue::BinanceSpot, &["BTCUSDT"], &channels);
    let (report, faults) = run(connection, COUNT, 1_000);
    assert_eq!((report.connections[0].unparsed, report.connections[0].reconnects), (0, 0));
    assert_eq!(faults, 0, "between event 1,000 and event {COUNT}");
    let thread = &report.hot_threads[0];
    assert_eq!(thread.page_faults_major, Some(0), "nothing was read from a disk");
    eprintln!(
        "from the start of the loop: {:?} page faults, {:?} involuntary switches, {:?} voluntary",
        thread.page_faults, thread.involuntary_switches, thread.voluntary_switches
    );
}

#[test]
fn memory_is_locked_where_it_may_be() {
    let server = VenueServer::start(|_, session| {
        session.confirm_subscription();
        session.close_code();
    });
    let connection = server.connection("binance", Venue::BinanceSpot, &["BTCUSDT"], &["trade"]);
    let config = Config::from_connections(vec![connection]).expect("a configuration that works");
    let engine = Engine::builder(config).default_strategy("null").start().expect("it starts");
    let status = std::fs::read_to_string("/proc/self/status").expect("a process may read its own status");
    let locked = status.lines().find_map(|line| line.strip_prefix("VmLck:")).expect("the kernel says it").trim();
    let _ = engine.stop();
    match memory_limit(Path::new("/")).expect("a process may read its own limits") {
        MemoryLimit::None => assert_ne!(locked, "0 kB"),
        MemoryLimit::Bytes { allowed, mapped } => {
            eprintln!("RLIMIT_MEMLOCK is {allowed} bytes, {mapped} are mapped: {locked} are locked");
        }
    }
}

/// The program where it may lock 64 KiB.
fn limited(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tickwire"));
    command.args(arguments).env_remove("RUST_LOG").stdin(Stdio::null());
    let limit = || {
        const CAP_IPC_LOCK: libc::c_ulong = 14;
        // SAFETY: prctl with these takes two integers. Without the right to drop a capability there is none to drop.
        let _ = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, CAP_IPC_LOCK, 0, 0, 0) };
        let limit = libc::rlimit { rlim_cur: 65_536, rlim_max: 65_536 };
        // SAFETY: `limit` is a valid rlimit for the whole call.
        match unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit) } {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        }
    };
    // SAFETY: the closure makes two system calls and allocates nothing, as is asked between fork and exec.
    unsafe { command.pre_exec(limit) };
    command.output().expect("the binary runs")
}

#[test]
fn a_limit_that_forbids_it_is_named_in_a_warning_and_in_a_refusal_where_it_was_demanded() {
    let _alone = alone();
    let run = limited(&["demo", "--duration", "0.2", "--json"]);
    let said = String::from_utf8_lossy(&run.stderr);
    assert_eq!(run.status.code(), Some(0), "{said}");
    let warned = said.lines().find(|line| line.contains("memory is not locked")).unwrap_or_else(|| panic!("{said}"));
    for words in ["WARN", "RLIMIT_MEMLOCK allows 65536 bytes", "ulimit -l unlimited", "CAP_IPC_LOCK"] {
        assert!(warned.contains(words), "{words}: {warned}");
    }
    let folder = std::env::temp_dir().join(format!("tickwire-memory-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder of our own");
    let (exchange, engine) = (folder.join("x.toml"), folder.join("engine.toml"));
    let connection =
        "[[connection]]\nname = \"a\"\nvenue = \"binance-spot\"\nsymbols = [\"X\"]\nchannels = [\"trade\"]\n";
    std::fs::write(&exchange, connection).expect("a file of our own");
    std::fs::write(&engine, "lock_memory = \"require\"\n").expect("a file of our own");
    let arguments = ["run", exchange.to_str().unwrap(), "--engine", engine.to_str().unwrap(), "--duration", "5"];
    let refused = limited(&arguments);
    std::fs::remove_dir_all(&folder).expect("still there");
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("error: lock_memory = \"require\": "), "{said}");
    assert!(said.contains("RLIMIT_MEMLOCK allows 65536 bytes"), "{said}");
    assert!(refused.stdout.is_empty(), "nothing was started");
}
