//! `tickwire doctor` and `scripts/tune-host.sh`, which says what the doctor says, changes nothing until it is told, and can
//! be undone. What each check finds is tested beside it.

#[path = "support/machine.rs"]
mod machine;

use machine::{BARE_METAL, Machine, VIRTUAL_MACHINE, files};
use serde_json::Value;
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output};

const PROGRAM: &str = env!("CARGO_BIN_EXE_tickwire");

fn script(arguments: &[&str]) -> Output {
    let path = format!("{}/scripts/tune-host.sh", env!("CARGO_MANIFEST_DIR"));
    Command::new("bash").arg(path).args(arguments).output().expect("bash runs")
}

/// The script, asking this build.
fn tune(arguments: &[&str]) -> String {
    let done = script(&[&["--tickwire", PROGRAM], arguments].concat());
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).expect("UTF-8")
}

fn doctor(arguments: &[&str]) -> Output {
    Command::new(PROGRAM).arg("doctor").args(arguments).env_remove("RUST_LOG").output().expect("it runs")
}

/// What it prints, where it ends well.
fn printed(arguments: &[&str]) -> String {
    let done = doctor(arguments);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).expect("UTF-8")
}

fn report(arguments: &[&str]) -> Value {
    serde_json::from_str(&printed(&[&["--json"], arguments].concat())).expect("one object")
}

/// Fixes of the doctor's findings that are bad or to note.
fn fixes(arguments: &[&str]) -> Vec<Value> {
    let report = report(arguments);
    let findings = report["findings"].as_array().expect("a list").clone();
    let matters = |finding: &&Value| finding["level"] == "bad" || finding["level"] == "note";
    let fixes =
        findings.iter().filter(matters).flat_map(|finding| finding["fixes"].as_array().expect("a list").clone());
    let mut all: Vec<Value> = Vec::new();
    for fix in fixes {
        if !all.contains(&fix) {
            all.push(fix);
        }
    }
    all
}

/// What stands behind a head, line by line.
fn behind<'a>(text: &'a str, head: &str) -> Vec<&'a str> {
    text.lines().filter_map(|line| line.strip_prefix(head)).map(str::trim_start).collect()
}

fn contents(machine: &Machine, text: &str) -> BTreeMap<String, String> {
    files(text).into_iter().map(|(path, _)| (path.to_owned(), machine.read(path))).collect()
}

/// Holds the script's lines to the doctor's fixes.
fn corresponds(said: &str, fixes: &[Value], root: &str) {
    let of = |kind: &'static str| fixes.iter().filter(move |fix| fix["kind"] == kind);
    let text = |fix: &Value, key: &str| fix[key].as_str().expect("a text").to_owned();
    let writes: Vec<String> =
        of("write").map(|fix| format!("echo {} > {root}{}", text(fix, "value"), text(fix, "path"))).collect();
    assert_eq!(behind(said, "would "), writes);
    let by_hand = behind(said, "by hand ");
    for words in of("boot").map(|fix| text(fix, "words")) {
        let line = by_hand.iter().find(|line| line.starts_with("kernel command line, then reboot: ")).expect("one");
        assert!(line.split(' ').any(|word| word == words), "{words}: {line}");
    }
    let hands: Vec<String> = of("hand").map(|fix| text(fix, "text")).collect();
    for hand in &hands {
        assert!(by_hand.iter().any(|line| line.ends_with(&format!(": {hand}"))), "{hand}: {by_hand:?}");
    }
}

fn shipped(name: &str) -> String {
    format!("{}/configs/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn without_a_configuration_every_cpu_is_looked_at_and_the_text_fits_a_hundred_columns() {
    let machine = Machine::of(BARE_METAL);
    let root = machine.0.to_str().expect("UTF-8");
    let text = printed(&["--root", root]);
    assert!(text.starts_with("CPU 0-7 as a hot core that spins: "), "{text}");
    assert!(text.lines().all(|line| line.starts_with("  fix") || line.chars().count() <= 100), "{text}");
    assert!(text.contains("\nBAD      isolation, CPU 0-7\n  is     not isolated: "), "{text}");
    let json = report(&["--root", root]);
    assert_eq!(json["cpus"].as_array().map(Vec::len), Some(8));
    for finding in json["findings"].as_array().expect("a list") {
        for key in ["check", "level", "fact", "cost"] {
            assert!(finding[key].is_string(), "{key}: {finding}");
        }
        assert!(finding["cpus"].is_array() && finding["fixes"].is_array(), "{finding}");
    }
}

#[test]
fn a_configuration_names_the_cores_and_how_they_wait() {
    let engine = std::env::temp_dir().join(format!("tickwire-host-{}-engine.toml", std::process::id()));
    std::fs::write(&engine, "[[core]]\ncpu = 0\nidle = \"spin\"\n").expect("a file of our own");
    let path = engine.to_str().expect("UTF-8");
    let json = report(&[&shipped("binance.toml"), "--engine", path]);
    let parked = report(&[&shipped("binance.toml")]);
    let alone = report(&["--engine", path]);
    std::fs::remove_file(&engine).expect("still there");
    assert_eq!((json["cpus"].to_string(), json["spinning"].to_string()), ("[0]".to_owned(), "[0]".to_owned()));
    assert_eq!(parked["spinning"].to_string(), "[]", "a core of no engine file parks");
    assert_eq!(alone["spinning"].to_string(), "[0]");
}

#[test]
fn only_strict_makes_what_is_bad_a_failure() {
    let machine = Machine::of(BARE_METAL);
    let root = machine.0.to_str().expect("UTF-8");
    let strict = doctor(&["--root", root, "--cores", "2", "--strict"]);
    assert_eq!(strict.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&strict.stderr).contains("findings are bad: see what is printed"));
    assert!(!strict.stdout.is_empty(), "it is printed all the same");
    assert_eq!(doctor(&["--root", root, "--cores", "2"]).status.code(), Some(0));
    // Nothing can be read: nothing is known to be bad.
    let empty = Machine::empty();
    let root = empty.0.to_str().expect("UTF-8");
    assert_eq!(doctor(&["--root", root, "--cores", "2", "--strict"]).status.code(), Some(0));
    let nowhere = doctor(&["--root", root]);
    assert_eq!(nowhere.status.code(), Some(2), "and so no CPU is known");
    assert!(String::from_utf8_lossy(&nowhere.stderr).contains("name them with --cores"));
    assert_eq!(doctor(&["nosuch.toml"]).status.code(), Some(2));
}

#[test]
fn on_this_machine_it_says_what_the_doctor_says_and_changes_nothing() {
    let before = fixes(&["--cores", "0"]);
    let said = tune(&["0"]);
    corresponds(&said, &before, "");
    assert_eq!(fixes(&["--cores", "0"]), before);
    assert!(said.contains("Nothing was changed.") || said.contains("Nothing is left"), "{said}");
}

#[test]
fn a_plan_changes_no_file_of_a_copied_machine() {
    for (text, cores) in [(BARE_METAL, "2-3"), (BARE_METAL, "1,5"), (VIRTUAL_MACHINE, "1"), (VIRTUAL_MACHINE, "0,1")] {
        let machine = Machine::of(text);
        let root = machine.0.to_str().expect("UTF-8");
        let before = contents(&machine, text);
        let said = tune(&[cores, "--root", root]);
        corresponds(&said, &fixes(&["--cores", cores, "--root", root]), root);
        assert_eq!(contents(&machine, text), before);
        assert!(said.contains("Nothing was changed."), "{said}");
    }
}

#[test]
fn applied_it_does_each_line_once_and_what_it_says_undoes_it() {
    let machine = Machine::of(BARE_METAL);
    let root = machine.0.to_str().expect("UTF-8");
    let before = contents(&machine, BARE_METAL);
    let plan = tune(&["2,3", "--root", root]);
    let said = tune(&["2,3", "--root", root, "--apply"]);
    assert_eq!(behind(&said, "done "), behind(&plan, "would "));
    assert!(said.ends_with("Done, until the next boot.\n"), "{said}");
    assert_eq!(machine.read("/sys/devices/system/cpu/cpu3/cpufreq/scaling_governor"), "performance\n");
    assert_eq!(machine.read("/proc/irq/40/smp_affinity_list"), "0-1,4-5\n", "neither hot nor a sibling");
    assert_eq!(machine.read("/proc/irq/16/smp_affinity_list"), "0-7\n", "it does not come to a hot core");
    assert_eq!(machine.read("/proc/sys/net/ipv4/tcp_rmem"), "4096 131072 4194304\n");
    let again = tune(&["2,3", "--root", root, "--apply"]);
    assert!(behind(&again, "done ").is_empty(), "nothing is done twice: {again}");
    assert!(again.ends_with("Nothing is left that a file of the kernel could mend.\n"), "{again}");
    // The kernel shows a chosen word among the others, and masks in words of eight digits; else all is as it was.
    for line in behind(&said, "undo ") {
        assert!(Command::new("bash").args(["-c", line]).status().expect("bash runs").success(), "{line}");
    }
    for (path, content) in before {
        let now = machine.read(&path);
        let plain = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let is_same = plain(&now) == plain(&content) || content.contains(&format!("[{}]", now.trim()));
        let is_mask =
            path.ends_with("rps_cpus") && content.trim().replace(',', "").trim_start_matches('0') == now.trim();
        assert!(is_same || is_mask, "{path}: {content:?}, and then {now:?}");
    }
}

/// A program in the doctor's place, which says these lines.
fn saying(machine: &Machine, lines: &str) -> String {
    let path = machine.at("/doctor");
    std::fs::write(&path, format!("#!/bin/sh\nprintf '{lines}'\n")).expect("a file of our own");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("ours");
    path.to_str().expect("UTF-8").to_owned()
}

#[test]
fn what_the_kernel_refuses_is_a_failure_but_for_what_it_may_refuse() {
    let machine = Machine::empty();
    let root = machine.0.to_str().expect("UTF-8");
    let apply = |lines: &str| script(&["--tickwire", &saying(&machine, lines), "--root", root, "0", "--apply"]);
    let may = apply("try\\tinterrupts\\t0\\t/proc/irq/9/smp_affinity_list\\t0-1\\n");
    assert_eq!(may.status.code(), Some(0));
    let said = String::from_utf8(may.stdout).expect("UTF-8");
    assert!(said.starts_with("refused  echo 0 > ") && !said.contains("undo"), "{said}");
    let must = apply("write\\tswap\\t0\\t/proc/sys/vm/swappiness\\t60\\n");
    assert_eq!(must.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&must.stdout).contains("FAILED   echo 0 > "));
    for path in ["/etc/passwd", "/proc/../etc/passwd", "/sys/$(reboot)", "/proc/a b", "relative"] {
        let outside = apply(&format!("write\\tswap\\t0\\t{path}\\t60\\n"));
        assert_eq!(outside.status.code(), Some(1), "{path}");
        assert!(String::from_utf8_lossy(&outside.stderr).contains("no file of the kernel"), "{path}");
    }
    assert_eq!(apply("format\\tswap\\t0\\n").status.code(), Some(1), "a word that it does not know");
    let ends = saying(&machine, "");
    std::fs::write(&ends, "#!/bin/sh\necho 'error: no' >&2\nexit 2\n").expect("ours");
    assert_eq!(script(&["--tickwire", &ends, "0"]).status.code(), Some(2), "the doctor's refusal is its own");
}

#[test]
fn a_wrong_command_line_is_refused_before_anything_is_asked() {
    for (arguments, why) in [
        (&[][..], "name the CPUs"),
        (&["0", "1"], "a second list"),
        (&["--aply", "0"], "unknown option"),
        (&["0", "--root"], "takes a value"),
    ] {
        let refused = script(arguments);
        assert_eq!(refused.status.code(), Some(2), "{arguments:?}");
        assert!(String::from_utf8_lossy(&refused.stderr).contains(why), "{arguments:?}");
    }
    let refused = script(&["--tickwire", PROGRAM, "2;reboot"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("numbers of CPUs"), "said by the doctor");
    assert_eq!(script(&["--help"]).status.code(), Some(0));
}
