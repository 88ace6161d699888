//! `[[lane]]`: every key reaches its field, and what cannot be is refused with its line.

use super::tests::{Folder, connection, host};
use super::*;
use crate::hot::lanes::{LaneIdle, Policy};
use std::time::Duration;

/// A core on each of the two CPUs, in lines 1 to 4; what follows begins in line 5.
const CORES: &str = "[[core]]\ncpu = 0\n[[core]]\ncpu = 1\n";

fn load_lanes(exchange: &str, engine: &str) -> Result<Config, ConfigErrors> {
    let folder = Folder::new();
    load_on(&[folder.file("x.toml", exchange), folder.file("desk.toml", engine)], None, &host())
}

/// The one error of an engine file that ends with these lines of a lane, from line 6 on.
#[track_caller]
fn lane_refused(lane: &str, line: usize, key: &str, found: &str, allowed: &str) {
    let errors = load_lanes(&connection("core = 0\n"), &format!("{CORES}[[lane]]\n{lane}")).unwrap_err();
    assert_eq!(errors.iter().count(), 1, "{errors}");
    let error = errors.iter().next().unwrap();
    assert!(error.file.as_ref().unwrap().ends_with("desk.toml"), "{error}");
    assert_eq!((error.line, error.key.as_str()), (Some(line), key), "{error}");
    assert!(error.found.contains(found), "{error}");
    assert!(error.allowed.contains(allowed), "{error}");
}

#[test]
fn every_key_of_a_lane_reaches_its_field_and_the_shortest_lane_has_the_defaults() {
    let engine = format!(
        "{CORES}[[lane]]\nname = \"model\"\nstrategy = \"spread\"\ncore = 1\nthreads = 2\nby = \"kind\"\ncpus = [0, 0]\n\
         policy = \"block\"\nslots = 64\nlevels = 100\nidle = \"sleep\"\nsleep_us = 250\nhop_sample_every = 1\n\
         overrun_ms = 80\n[[lane]]\n[[lane]]\nstrategy = \"print\"\nidle = \"yield\"\n\
         [[lane]]\nname = \"own\"\ncpus = [1]\nidle = \"yield\"\npolicy = \"latest\"\n"
    );
    let config = load_lanes(&connection("core = 0\n"), &engine).unwrap();
    let expected = LaneConfig {
        name: "model".to_owned(),
        strategy: Some("spread".to_owned()),
        core: 1,
        threads: 2,
        by: LaneBy::Kind,
        cpus: vec![0, 0],
        policy: Policy::Block,
        slots: 64,
        levels: 100,
        idle: LaneIdle::Sleep(Duration::from_micros(250)),
        hop_sample_every: 1,
        overrun: Duration::from_millis(80),
    };
    assert_eq!(config.engine.lanes[0], expected);
    assert_eq!(config.engine.lanes[1], LaneConfig::new("lane", 0), "the first core's");
    let (print, own) = (&config.engine.lanes[2], &config.engine.lanes[3]);
    assert_eq!((print.name.as_str(), print.idle), ("print", LaneIdle::Yield), "named after its strategy");
    assert_eq!((own.policy, own.idle), (Policy::Latest, LaneIdle::Yield));
    let text = describe(&config);
    for words in [
        "lane model  events of core 1, strategy spread, 2 threads by kind, pinned to 0, 0\n",
        "  policy       block: full, HOLDS THE CORE until there is room\n",
        "  room         64 events, books of up to 100 levels (0.1 MB a thread)\n",
        "  idle         sleep 250 us; hop of one event in 1 timed; told of after 0.08 s on one event\n",
        "lane lane  events of core 0, 1 thread, on the cold cores\n",
        "  policy       drop_oldest: full, the oldest event is lost\n",
        "  policy       latest: a newer event takes the place of one that waits, by symbol and stream\n",
        "  idle         yield;",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
}

#[test]
fn lanes_without_a_table_of_cores_get_the_first_core_of_the_connections() {
    let config = load_lanes(&connection("core = 1\n"), "[[lane]]\n").unwrap();
    assert_eq!((config.engine.lanes[0].core, config.engine.cores[0].cpu), (1, 1));
}

#[test]
fn what_lanes_cannot_be_is_refused_with_its_line_and_what_is_allowed() {
    lane_refused("name = \"a b\"\n", 6, "lane[0].name", "\"a b\"", "letters, digits");
    lane_refused("[[lane]]\n", 6, "lane[1].name", "\"lane\", a second time", "a name of its own");
    lane_refused("strategy = \"sperad\"\n", 6, "lane[0].strategy", "\"sperad\"", "did you mean \"spread\"?");
    lane_refused("core = 7\n", 6, "lane[0].core", "CPU 7", "a hot core's CPU: 0, 1");
    lane_refused("threads = 0\n", 6, "lane[0].threads", "0", "1 to 64 threads");
    lane_refused("threads = 65\n", 6, "lane[0].threads", "65", "1 to 64 threads");
    lane_refused("by = \"venue\"\n", 6, "lane[0].by", "\"venue\"", "one of \"symbol\", \"kind\"");
    lane_refused("threads = 2\ncpus = [1]\n", 7, "lane[0].cpus", "1 CPUs", "one for each of its threads (2)");
    lane_refused("cpus = [9]\n", 6, "lane[0].cpus[0]", "CPU 9", "a CPU this process may use: 0, 1");
    lane_refused("cpus = [\"a\"]\n", 6, "lane[0].cpus[0]", "a value of type string", "a CPU number");
    lane_refused("policy = \"newest\"\n", 6, "lane[0].policy", "\"newest\"", "\"latest\", \"drop_oldest\", \"block\"");
    lane_refused("slots = 1\n", 6, "lane[0].slots", "1", "2 to 65536 events");
    lane_refused("slots = -1\n", 6, "lane[0].slots", "-1", "a whole number, not negative");
    lane_refused("levels = 10_001\n", 6, "lane[0].levels", "10001", "0 to 10000 levels");
    lane_refused("slots = 65_536\nlevels = 2_000\n", 7, "lane[0].levels", "2000 MB a thread", "at most 1024 MB");
    lane_refused("idle = \"park\"\n", 6, "lane[0].idle", "\"park\"", "\"sleep\", \"yield\", \"spin\"");
    lane_refused("idle = \"spin\"\n", 6, "lane[0].idle", "without `cpus`", "a CPU of its own");
    lane_refused("idle = \"spin\"\ncpus = [1]\n", 7, "lane[0].cpus[0]", "which is a hot core's", "another CPU");
    lane_refused("sleep_us = 0\n", 6, "lane[0].sleep_us", "0", "1 to 100000 microseconds");
    lane_refused("hop_sample_every = 0\n", 6, "lane[0].hop_sample_every", "0", "1 or more");
    lane_refused("overrun_ms = 59\n", 6, "lane[0].overrun_ms", "59", "60 to 600000 milliseconds");
    let long_sleep = "sleep_us = 50_000\noverrun_ms = 100\n";
    lane_refused(long_sleep, 7, "lane[0].overrun_ms", "100", "more than twice `sleep_us`");
    lane_refused("polcy = \"block\"\n", 6, "lane[0].polcy", "unknown key `polcy`", "did you mean `policy`?");
}

#[test]
fn lanes_of_the_newest_have_a_slot_for_every_stream_of_their_core() {
    // Two channels of three symbols: six newest values, one in the handler, one to write.
    let exchange = connection("core = 0\n")
        .replace("[\"BTCUSDT\"]", "[\"BTCUSDT\", \"ETHUSDT\", \"SOLUSDT\"]")
        .replace("[\"trade\"]", "[\"trade\", \"bookTicker\"]");
    let of = |slots: usize, policy: &str| {
        load_lanes(&exchange, &format!("{CORES}[[lane]]\npolicy = \"{policy}\"\nslots = {slots}\n"))
    };
    assert!(of(8, "latest").is_ok() && of(2, "drop_oldest").is_ok());
    let error = of(7, "latest").unwrap_err().to_string();
    assert!(error.contains("7 slots for 6 streams of core 0") && error.contains("8 or more"), "{error}");
}

#[test]
fn lanes_that_spin_are_kept_off_the_cpu_of_a_core_that_spins_and_so_is_any_other() {
    let engine = "[[core]]\ncpu = 0\nidle = \"spin\"\n[[lane]]\ncpus = [0]\n";
    let error = load_lanes(&connection(""), engine).unwrap_err().to_string();
    assert!(error.contains("CPU 0, where a hot core spins"), "{error}");
    assert!(load_lanes(&connection(""), &engine.replace("[0]", "[1]\nidle = \"spin\"")).is_ok());
}

#[test]
fn lanes_that_differ_at_a_second_reading_are_refused_by_every_value() {
    let before = load_lanes(&connection(""), "[[core]]\ncpu = 0\n[[lane]]\n").unwrap();
    for change in ["slots = 9", "cpus = [1]", "by = \"kind\"", "sleep_us = 7", "overrun_ms = 70", "levels = 3"] {
        let after = load_lanes(&connection(""), &format!("[[core]]\ncpu = 0\n[[lane]]\n{change}\n")).unwrap();
        let difference = Config::difference(&before, &after);
        let text = difference.to_string();
        assert!(text.contains("the process: [[lane]] stays lane: "), "{change}: {text}");
    }
    assert!(Config::difference(&before, &before.clone()).is_empty());
}
