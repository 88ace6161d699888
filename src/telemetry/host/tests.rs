//! Trees of whole machines, as files in a folder: as recorded, mended, damaged; and the machine that this runs on.

use super::*;
use std::collections::BTreeMap;

#[path = "../../../tests/support/machine.rs"]
mod machine;

use machine::{BARE_METAL, Machine, VIRTUAL_MACHINE, files};

impl Machine {
    fn remove(&self, path: &str) {
        std::fs::remove_file(self.at(path)).expect("it was there");
    }

    fn examine(&self, question: &Question) -> HostReport {
        examine(&self.0, question, &well())
    }
}

/// A kernel that answers, and whose answers are as they should be.
fn well() -> Live {
    Live {
        clock: Ok(ClockState { is_synchronised: true, error_us: 12, error_us_max: 400 }),
        coalescing: |_| Ok(Coalescing { receive_us: 0, is_adaptive: false }),
        wakeup_us_max: None,
        decoders: Some(crate::venue::Cpu::Avx512),
    }
}

fn spinning(cpus: &[usize]) -> Question {
    let cores = cpus.iter().map(|&cpu| HotCore { cpu, spins: true }).collect();
    Question { cores, sockets: 4, ..Question::default() }
}

fn parking(cpus: &[usize]) -> Question {
    let cores = cpus.iter().map(|&cpu| HotCore { cpu, spins: false }).collect();
    Question { cores, sockets: 4, ..Question::default() }
}

fn find<'a>(report: &'a HostReport, check: &str) -> &'a Finding {
    report.findings.iter().find(|finding| finding.check == check).unwrap_or_else(|| panic!("{check} was not made"))
}

/// Level, fact and fixes of a check.
fn found(report: &HostReport, check: &str) -> (Level, String, Vec<String>) {
    let finding = find(report, check);
    (finding.level, finding.fact.clone(), finding.fixes.iter().map(Fix::line).collect())
}

fn checks(report: &HostReport) -> BTreeSet<&'static str> {
    report.findings.iter().map(|finding| finding.check).collect()
}

/// How many checks there are. One more is to be added to the trees and to this number.
const CHECK_COUNT: usize = 35;

#[test]
fn a_server_as_it_is_installed_is_told_what_it_lacks_with_the_line_that_fixes_it() {
    let report = Machine::of(BARE_METAL).examine(&spinning(&[1]));
    assert_eq!(checks(&report).len(), CHECK_COUNT);
    for (check, level, fact, fixes) in [
        ("cpu", Level::Ok, "online, and this process may use it", vec![]),
        ("boot_cpu", Level::Ok, "it is not", vec![]),
        ("isolation", Level::Bad, "not isolated: any thread", vec!["reboot: isolcpus=managed_irq,domain,1"]),
        ("ticks", Level::Bad, "ticks; 250 timer interrupts a second", vec!["reboot: nohz_full=1"]),
        ("rcu_callbacks", Level::Bad, "runs on this core", vec!["reboot: rcu_nocbs=1"]),
        (
            "frequency",
            Level::Bad,
            "governor powersave, 800 to 4200 MHz, turbo on, preference balance_performance",
            vec![
                "echo performance > /sys/devices/system/cpu/cpu1/cpufreq/scaling_governor",
                "echo performance > /sys/devices/system/cpu/cpu1/cpufreq/energy_performance_preference",
            ],
        ),
        ("sleep_states", Level::Ok, "never idle", vec![]),
        ("sibling", Level::Bad, "CPU 5 shares the core, and anything may run there", vec!["leave CPU 5 idle"]),
        ("numa_node", Level::Bad, "node 0, while eno1 is on node 1", vec!["make one of CPUs 2-3,6-7 the hot core"]),
        ("stolen_time", Level::Ok, "none since boot", vec![]),
        ("interrupts", Level::Ok, "none of a device's", vec![]),
        ("new_interrupts", Level::Note, "may go to CPU 1", vec!["echo dd > /proc/irq/default_smp_affinity"]),
        ("irqbalance", Level::Note, "runs", vec!["IRQBALANCE_BANNED_CPULIST=1 in"]),
        ("nmi_watchdog", Level::Note, "on", vec!["echo 0 > /proc/sys/kernel/nmi_watchdog"]),
        ("vm_statistics", Level::Note, "every 1 s", vec!["echo 10 > /proc/sys/vm/stat_interval"]),
        ("workqueues", Level::Note, "may run on CPU 1", vec!["echo dd > /sys/devices/virtual/workqueue/cpumask"]),
        ("huge_pages", Level::Bad, "`always`", vec!["echo madvise > /sys/kernel/mm/transparent_hugepage/enabled"]),
        ("numa_balancing", Level::Bad, "on", vec!["echo 0 > /proc/sys/kernel/numa_balancing"]),
        ("ksm", Level::Note, "merged", vec!["echo 0 > /sys/kernel/mm/ksm/run"]),
        ("swap", Level::Note, "1 in use, swappiness 60", vec!["echo 0 > /proc/sys/vm/swappiness"]),
        (
            "clock_source",
            Level::Bad,
            "hpet; there are: tsc hpet acpi_pm",
            vec!["echo tsc > /sys/devices/system/clocksource/clocksource0/current_clocksource"],
        ),
        ("counter", Level::Ok, "one rate", vec![]),
        ("clock_sync", Level::Ok, "estimated error 12 µs, at most 400 µs", vec![]),
        (
            "busy_poll",
            Level::Note,
            "busy_read 0 µs",
            vec!["echo 50 > /proc/sys/net/core/busy_read", "echo 50 > /proc/sys/net/core/busy_poll"],
        ),
        (
            "socket_buffers",
            Level::Note,
            "up to 2097152 bytes",
            vec!["echo 4096 131072 4194304 > /proc/sys/net/ipv4/tcp_rmem"],
        ),
        ("coalescing", Level::Ok, "eno1 waits 0 µs", vec![]),
        ("deferral", Level::Note, "up to 20000 ns", vec!["echo 0 > /sys/class/net/eno1/gro_flush_timeout"]),
        (
            "steering",
            Level::Bad,
            "to CPU 1 (rps_cpus); what they send goes by tx-0",
            vec!["echo fd > /sys/class/net/eno1/queues/rx-0/rps_cpus"],
        ),
        (
            "cpu_quota",
            Level::Bad,
            "150000 of every 100000 µs for /sys/fs/cgroup/system.slice/tickwire.service, 3 times used up",
            vec!["take the limit off"],
        ),
        ("locked_memory", Level::Bad, "RLIMIT_MEMLOCK 8388608 bytes", vec!["ulimit -l unlimited"]),
        ("open_files", Level::Bad, "RLIMIT_NOFILE 70, at most 524288; up to 72 are needed", vec!["ulimit -n 72"]),
        ("priority", Level::Note, "lacks CAP_SYS_NICE, RLIMIT_RTPRIO 0", vec!["ulimit -r 50"]),
        ("virtual_machine", Level::Ok, "no: A Processor", vec![]),
        ("mitigations", Level::Note, "active: spectre_v2", vec!["mitigations=off on"]),
        ("decoders", Level::Ok, "use AVX-512", vec![]),
    ] {
        let (is_level, is_fact, lines) = found(&report, check);
        assert_eq!(is_level, level, "{check}: {is_fact}");
        assert!(is_fact.contains(fact), "{check}: {is_fact}");
        assert_eq!(lines.len(), fixes.len(), "{check}: {lines:?}");
        for (line, fix) in lines.iter().zip(&fixes) {
            assert!(line.contains(fix), "{check}: {line}");
        }
    }
    assert!(report.findings.is_sorted_by_key(|finding| finding.level), "worst first");
}

/// What the kernel shows after a value was written.
fn shown(path: &str, value: &str) -> String {
    if path.ends_with("transparent_hugepage/enabled") {
        format!("always [{value}] never\n")
    } else {
        format!("{value}\n")
    }
}

#[test]
fn a_server_on_which_every_line_was_done_lacks_nothing() {
    let machine = Machine::of(BARE_METAL);
    let mut question = spinning(&[2, 3]);
    question.receive_buffer_bytes = Some(1 << 20);
    let before = machine.examine(&question);
    let mut words = BTreeSet::new();
    for fix in before.findings.iter().flat_map(|finding| &finding.fixes) {
        match fix {
            Fix::Write { path, value, was, .. } => {
                let now = machine.read(path);
                let plain: String = now.split_whitespace().collect::<Vec<_>>().join(" ");
                let is_mask = cpus::from_mask(&plain).is_some_and(|cpus| cpus::to_mask(&cpus) == *was);
                assert!(
                    plain == *was || plain.contains(&format!("[{was}]")) || is_mask,
                    "{path} is {plain}, not {was}"
                );
                machine.write(path, &shown(path, value));
            }
            Fix::Boot { words: word } => drop(words.insert(word.clone())),
            Fix::Hand { .. } => {}
        }
    }
    let words: Vec<String> = words.into_iter().collect();
    assert_eq!(words, ["isolcpus=managed_irq,domain,2-3", "nohz_full=2-3", "rcu_nocbs=2-3"]);
    machine.write("/sys/devices/system/cpu/isolated", "2-3,6-7\n");
    machine.write("/sys/devices/system/cpu/nohz_full", "2-3\n");
    let after = machine.examine(&question);
    let left: Vec<&str> =
        after.findings.iter().filter(|of| of.level != Level::Ok).map(|finding| finding.check).collect();
    assert_eq!(left, ["cpu_quota", "locked_memory", "open_files", "irqbalance", "priority", "mitigations"]);
    let writes = fix_lines(&after);
    assert!(!writes.contains("write\t") && !writes.contains("try\t"), "nothing is written twice: {writes}");
    assert!(found(&after, "sibling").1.contains("CPU 6 shares the core, and is isolated"));
    assert_eq!(found(&after, "numa_node").1, "node 1, as eno1");
}

#[test]
fn a_core_that_sleeps_is_held_to_what_concerns_it() {
    let machine = Machine::of(BARE_METAL);
    let report = machine.examine(&parking(&[2]));
    for check in ["isolation", "ticks", "rcu_callbacks", "sibling", "interrupts", "steering"] {
        assert_eq!(found(&report, check).0, Level::Note, "{check}: others may run there by right");
    }
    let (level, fact, fixes) = found(&report, "sleep_states");
    assert_eq!(
        (level, fact.as_str()),
        (Level::Bad, "states and their exits: POLL 0 µs, C1 2 µs, C1E 10 µs, C6 133 µs")
    );
    assert_eq!(fixes, ["echo 1 > /sys/devices/system/cpu/cpu2/cpuidle/state3/disable"]);
    let live = Live { wakeup_us_max: Some(0), ..well() };
    let held = examine(&machine.0, &parking(&[2]), &live);
    assert_eq!(found(&held, "sleep_states").0, Level::Ok, "somebody forbids deep sleep");
    let unheld = examine(&machine.0, &parking(&[2]), &Live { wakeup_us_max: Some(2_000_000_000), ..well() });
    assert_eq!(found(&unheld, "sleep_states").0, Level::Bad, "the kernel's own default forbids nothing");
}

#[test]
fn the_recorded_virtual_machine_is_described_as_it_was() {
    let machine = Machine::of(VIRTUAL_MACHINE);
    let report = examine(&machine.0, &spinning(&[1]), &Live::elsewhere());
    assert_eq!(checks(&report).len(), CHECK_COUNT);
    let bad: Vec<&str> = report.findings.iter().filter(|of| of.level == Level::Bad).map(|of| of.check).collect();
    assert_eq!(bad, ["isolation", "ticks", "rcu_callbacks", "interrupts"]);
    let unknown: Vec<&str> =
        report.findings.iter().filter(|of| of.level == Level::Unknown).map(|of| of.check).collect();
    assert_eq!(unknown, ["frequency", "irqbalance", "clock_sync", "coalescing", "decoders"]);
    assert!(found(&report, "ticks").1.starts_with("ticks, and this kernel cannot stop them; 2"));
    let (_, fact, fixes) = found(&report, "interrupts");
    assert!(fact.starts_with("arrive here, counted since boot: 36 virtio1-req.0 1"), "{fact}");
    assert!(fact.ends_with("3 more, 3 that may and did not yet"), "{fact}");
    assert_eq!(fixes.len(), 10, "one for each that arrives or may: {fixes:?}");
    assert_eq!(fixes[0], "echo 0 > /proc/irq/25/smp_affinity_list");
    assert_eq!(found(&report, "virtual_machine").1, "yes, on Intel(R) Xeon(R) Processor");
    assert!(found(&report, "stolen_time").1.starts_with("0.0"));
    let parked = examine(&machine.0, &parking(&[0]), &Live::elsewhere());
    assert!(found(&parked, "sleep_states").1.starts_with("no idle driver"));
}

#[test]
fn every_cpu_hot_leaves_nowhere_to_move_things_to_and_is_told_so() {
    let report = Machine::of(VIRTUAL_MACHINE).examine(&spinning(&[0, 1]));
    for check in ["isolation", "interrupts", "new_interrupts", "workqueues"] {
        assert_eq!(found(&report, check).2, [cores::ALL_HOT], "{check}");
    }
    let isolation = find(&report, "isolation");
    assert_eq!(isolation.cpus, Cpus::from([0, 1]), "what is the same of two cores is said once");
    assert_eq!(report.findings.iter().filter(|of| of.check == "boot_cpu").count(), 2, "what differs, twice");
    assert_eq!(found(&report, "boot_cpu").0, Level::Note);
}

#[test]
fn what_somebody_set_is_weighed_case_by_case() {
    let machine = Machine::of(BARE_METAL);
    let mut question = spinning(&[2]);
    question.receive_buffer_bytes = Some(1 << 20);
    for (path, content, check, level, fact) in [
        ("/sys/devices/system/cpu/isolated", "4-5\n", "isolation", Level::Bad, "isolated are 4-5"),
        ("/sys/fs/cgroup/cpuset.cpus.isolated", "2\n", "isolation", Level::Ok, "isolated from"),
        ("/proc/cmdline", "quiet rcu_nocbs=0-3\n", "rcu_callbacks", Level::Ok, "by rcu_nocbs"),
        ("/proc/cmdline", "quiet rcu_nocbs=all\n", "rcu_callbacks", Level::Ok, "by rcu_nocbs"),
        ("/sys/devices/system/cpu/nohz_full", "2\n", "rcu_callbacks", Level::Ok, "by nohz_full"),
        ("/sys/devices/system/cpu/nohz_full", "2\n", "ticks", Level::Ok, "no tick while one thread runs here; 250"),
        ("/sys/class/net/eno1/device/numa_node", "-1\n", "numa_node", Level::Unknown, "eno1 does not say"),
        ("/proc/stat", "cpu2 0 0 0 9990 0 0 0 10\n", "stolen_time", Level::Note, "0.100 %"),
        ("/proc/stat", "cpu2 0 0 0 9980 0 0 0 20\n", "stolen_time", Level::Bad, "0.200 %"),
        ("/proc/stat", "cpu22 0 0 0 1 0 0 0 20\n", "stolen_time", Level::Unknown, "no cpu2"),
        ("/proc/swaps", "Filename Type\n", "swap", Level::Ok, "none"),
        (
            "/sys/devices/system/clocksource/clocksource0/current_clocksource",
            "kvm-clock\n",
            "clock_source",
            Level::Note,
            "without a system call",
        ),
        ("/proc/cpuinfo", "flags : tsc constant_tsc\n", "counter", Level::Bad, "stops in deep sleep"),
        ("/proc/cpuinfo", "flags : tsc nonstop_tsc\n", "counter", Level::Bad, "changes its rate"),
        ("/proc/cpuinfo", "processor : 0\nFeatures : fp asimd\n", "counter", Level::Unknown, "no line `flags`"),
        ("/proc/sys/net/core/rmem_max", "100\n", "socket_buffers", Level::Bad, "asks for 1048576 and will get less"),
        ("/sys/fs/cgroup/system.slice/cpu.max", "50000 100000\n", "cpu_quota", Level::Bad, "system.slice; 150000"),
        ("/proc/irq/40/smp_affinity_list", "0\n", "interrupts", Level::Note, "1 that may and did not yet"),
        ("/sys/devices/system/node/online", "0\n", "numa_balancing", Level::Ok, "one node"),
        ("/sys/devices/system/cpu/online", "0-1\n", "cpu", Level::Bad, "not online; those online: 0-1"),
        ("/proc/self/status", "Cpus_allowed_list:\t0-1\n", "cpu", Level::Bad, "may use only 0-1"),
    ] {
        let before = std::fs::read_to_string(machine.at(path));
        machine.write(path, content);
        let (is_level, is_fact, _) = found(&machine.examine(&question), check);
        assert_eq!(is_level, level, "{path} {content}: {is_fact}");
        assert!(is_fact.contains(fact), "{path} {content}: {is_fact}");
        match before {
            Ok(before) => machine.write(path, &before),
            Err(_) => machine.remove(path),
        }
    }
    let two = machine.examine(&spinning(&[1, 5]));
    assert!(found(&two, "sibling").1.contains("is a hot core too"));
    question.cold_cores = vec![6];
    assert!(found(&machine.examine(&question), "sibling").1.contains("our cold threads run there"));
    machine.write("/proc/cpuinfo", "processor : 0\nFeatures : fp asimd\n");
    assert_eq!(found(&machine.examine(&question), "virtual_machine").0, Level::Unknown);
    machine.write("/sys/hypervisor/type", "xen\n");
    assert_eq!(found(&machine.examine(&question), "virtual_machine").1, "yes (xen)");
}

#[test]
fn what_the_kernel_answers_is_weighed() {
    let machine = Machine::of(BARE_METAL);
    let with = |live: Live, check: &str| found(&examine(&machine.0, &spinning(&[2]), &live), check);
    let clock = |is_synchronised, error_us| Live {
        clock: Ok(ClockState { is_synchronised, error_us, error_us_max: 16_000_000 }),
        ..well()
    };
    assert_eq!(with(clock(false, 10), "clock_sync").0, Level::Bad);
    assert_eq!(with(clock(true, 1_001), "clock_sync").0, Level::Note);
    assert_eq!(with(clock(true, 1_000), "clock_sync").0, Level::Ok);
    let (level, why, _) = with(Live { clock: Err("not permitted".into()), ..well() }, "clock_sync");
    assert_eq!((level, why.as_str()), (Level::Unknown, "adjtimex: not permitted"));
    let coalescing =
        |asked: fn(&str) -> Result<Coalescing, String>| with(Live { coalescing: asked, ..well() }, "coalescing");
    let (level, _, fixes) = coalescing(|_| Ok(Coalescing { receive_us: 50, is_adaptive: true }));
    assert_eq!((level, fixes), (Level::Note, vec!["ethtool -C eno1 adaptive-rx off rx-usecs 0".to_owned()]));
    assert_eq!(coalescing(|_| Ok(Coalescing { receive_us: 0, is_adaptive: true })).0, Level::Note);
    let (level, why, _) = coalescing(|name| Err(format!("{name} is mute")));
    assert_eq!((level, why.as_str()), (Level::Unknown, "eno1: eno1 is mute"));
    let decoders = |cpu| with(Live { decoders: Some(cpu), ..well() }, "decoders").0;
    assert_eq!(decoders(crate::venue::Cpu::Sse41), Level::Note);
    assert_eq!(decoders(crate::venue::Cpu::Portable), Level::Note);
}

#[test]
fn where_nothing_can_be_read_nothing_is_claimed() {
    let machine = Machine::empty();
    let report = examine(&machine.0, &spinning(&[1]), &Live::elsewhere());
    assert_eq!(checks(&report).len(), CHECK_COUNT);
    for finding in &report.findings {
        // These two follow from the question alone.
        let is_known = ["boot_cpu", "sleep_states"].contains(&finding.check);
        let level = if is_known { Level::Ok } else { Level::Unknown };
        assert_eq!(finding.level, level, "{}: {}", finding.check, finding.fact);
        assert!(finding.fixes.is_empty() && !finding.fact.is_empty(), "{finding:?}");
    }
    let missing = machine.0.join("nowhere");
    let report = examine(&missing, &parking(&[1]), &Live::elsewhere());
    assert_eq!(report.count(Level::Unknown), CHECK_COUNT - 1, "{report:?}");
    assert!(allowed_cpus(&missing).is_err());
}

/// What may have become of a file.
fn damaged(content: &str) -> Vec<(&'static str, Option<Vec<u8>>)> {
    let half = content.len() / 2;
    let half = (0..=half).rev().find(|&at| content.is_char_boundary(at)).unwrap_or(0);
    vec![
        ("missing", None),
        ("empty", Some(Vec::new())),
        ("cut in half", Some(content.as_bytes()[..half].to_vec())),
        ("a word", Some(b"garbage\n".to_vec())),
        ("no text", Some(vec![0xff, 0x00, 0x1b, b'[', b'2', b'J', 0xc3])),
        ("a huge number", Some(b"999999999999999999999999999\n".to_vec())),
        ("a negative number", Some(b"-1\n".to_vec())),
        ("many lines", Some("0 0 0 0 0 0 0 0 0 0\n".repeat(1_000).into_bytes())),
        ("separators", Some(b":,-,[]:::\t\t \n= = =\n".to_vec())),
    ]
}

#[test]
fn a_file_that_is_missing_cut_or_garbage_is_an_answer_too_and_never_a_fault() {
    let mut question = spinning(&[1]);
    question.cores.push(HotCore { cpu: 0, spins: false });
    for text in [BARE_METAL, VIRTUAL_MACHINE] {
        let machine = Machine::of(text);
        for (path, content) in files(text) {
            for (how, bytes) in damaged(content) {
                match bytes {
                    Some(bytes) => std::fs::write(machine.at(path), bytes).unwrap(),
                    None => machine.remove(path),
                }
                let report = machine.examine(&question);
                assert_eq!(checks(&report).len(), CHECK_COUNT, "{path} {how}");
                let printed = host_text(&report);
                let is_plain = |text: &str| !text.chars().any(|c| c.is_control() && c != '\n' && c != '\t');
                assert!(is_plain(&printed) && !printed.contains('\t'), "{path} {how}: {printed}");
                assert!(is_plain(&fix_lines(&report)), "{path} {how}");
                machine.write(path, content);
            }
        }
    }
}

#[test]
fn huge_pages_are_to_be_given_to_those_who_ask_and_to_nobody_else() {
    let machine = Machine::of(BARE_METAL);
    let path = "/sys/kernel/mm/transparent_hugepage/enabled";
    for (content, expected) in [
        ("[always] madvise never\n", Level::Bad),
        ("always [madvise] never\n", Level::Ok),
        ("always madvise [never]\n", Level::Note),
    ] {
        machine.write(path, content);
        let (level, why, fixes) = found(&machine.examine(&spinning(&[2])), "huge_pages");
        assert_eq!((level, fixes.is_empty()), (expected, expected == Level::Ok), "{content}: {why}");
        assert!(fixes.iter().all(|fix| fix.contains(&format!("echo madvise > {path}"))), "{fixes:?}");
    }
}

#[test]
fn garbage_where_a_value_is_needed_is_unknown_and_names_the_file() {
    let machine = Machine::of(BARE_METAL);
    for (path, check) in [
        ("/sys/devices/system/cpu/online", "cpu"),
        ("/sys/devices/system/cpu/isolated", "isolation"),
        ("/sys/devices/system/cpu/nohz_full", "ticks"),
        ("/sys/devices/system/cpu/cpu2/topology/core_cpus_list", "sibling"),
        ("/sys/devices/system/node/online", "numa_node"),
        ("/sys/class/net/eno1/device/numa_node", "numa_node"),
        ("/proc/interrupts", "interrupts"),
        ("/proc/irq/40/smp_affinity_list", "interrupts"),
        ("/proc/irq/40/effective_affinity_list", "interrupts"),
        ("/proc/irq/default_smp_affinity", "new_interrupts"),
        ("/proc/sys/kernel/nmi_watchdog", "nmi_watchdog"),
        ("/proc/sys/vm/stat_interval", "vm_statistics"),
        ("/sys/devices/virtual/workqueue/cpumask", "workqueues"),
        ("/sys/kernel/mm/transparent_hugepage/enabled", "huge_pages"),
        ("/proc/sys/kernel/numa_balancing", "numa_balancing"),
        ("/sys/kernel/mm/ksm/run", "ksm"),
        ("/proc/sys/vm/swappiness", "swap"),
        ("/proc/sys/net/core/busy_read", "busy_poll"),
        ("/proc/sys/net/ipv4/tcp_rmem", "socket_buffers"),
        ("/proc/sys/net/core/rmem_max", "socket_buffers"),
        ("/sys/class/net/eno1/gro_flush_timeout", "deferral"),
        ("/sys/class/net/eno1/queues/rx-0/rps_cpus", "steering"),
        ("/sys/class/net/eno1/queues/tx-0/xps_cpus", "steering"),
        ("/proc/self/cgroup", "cpu_quota"),
        ("/sys/fs/cgroup/system.slice/cpu.max", "cpu_quota"),
        ("/proc/self/limits", "locked_memory"),
        ("/proc/self/status", "priority"),
        ("/proc/self/status", "locked_memory"),
    ] {
        let content = machine.read(path);
        machine.write(path, "garbage\n");
        let (level, why, fixes) = found(&machine.examine(&spinning(&[2])), check);
        assert_eq!(level, Level::Unknown, "{path}: {why}");
        assert!(why.contains(path) && fixes.is_empty(), "{path}: {why}");
        machine.write(path, &content);
    }
    let (level, why, _) = {
        machine.write("/sys/devices/system/cpu/cpu2/cpuidle/state1/latency", "garbage\n");
        found(&machine.examine(&parking(&[2])), "sleep_states")
    };
    assert_eq!(level, Level::Unknown);
    assert_eq!(why, "/sys/devices/system/cpu/cpu2/cpuidle/state1/latency: `garbage` is not a number");
}

#[test]
fn what_is_no_file_is_not_waited_on_and_says_so() {
    let machine = Machine::of(BARE_METAL);
    let path = "/proc/sys/vm/stat_interval";
    machine.remove(path);
    // A socket stands for whatever would never end: a pipe, a device.
    let _listener = std::os::unix::net::UnixListener::bind(machine.at(path)).unwrap();
    std::fs::create_dir_all(machine.at("/proc/uptime_is_a_folder")).unwrap();
    machine.remove("/proc/swaps");
    std::fs::create_dir(machine.at("/proc/swaps")).unwrap();
    let report = machine.examine(&spinning(&[2]));
    assert_eq!(found(&report, "vm_statistics").1, format!("{path}: is no file"));
    assert_eq!(found(&report, "swap").1, "/proc/swaps: is no file");
}

#[test]
fn an_interface_whose_name_is_a_command_goes_into_none() {
    let machine = Machine::of(BARE_METAL);
    for name in ["$(reboot)", "../../x", "..", "a;b", "a`b`"] {
        machine.write("/proc/net/route", &format!("heading\n{name} 00000000 0 0003 0 0 1 00000000 0 0 0\n"));
        let report = machine.examine(&spinning(&[2]));
        for check in ["coalescing", "deferral", "steering"] {
            assert_eq!(found(&report, check).0, Level::Unknown, "{name}");
        }
        assert!(!fix_lines(&report).contains(name));
    }
    machine.write("/proc/net/route", "heading\nlo 0000007F 0 0001 0 0 0 000000FF 0 0 0\n");
    assert_eq!(found(&machine.examine(&spinning(&[2])), "deferral").1, "no route leads out of this machine");
    let zeros = "0".repeat(32);
    let route = |metric: &str, flags: &str, name: &str| {
        format!("{zeros} 00 {zeros} 00 {zeros} {metric} 00000001 00000000 {flags} {name}\n")
    };
    let text = route("00000400", "00000003", "eno1") + &route("00000001", "00200200", "lo") + &route("x", "y", "z");
    machine.write("/proc/net/ipv6_route", &text);
    assert!(found(&machine.examine(&spinning(&[2])), "deferral").1.starts_with("eno1: "), "IPv6 leads out");
}

#[test]
fn how_much_memory_may_be_locked_is_told_with_what_is_mapped() {
    let machine = Machine::of(BARE_METAL);
    let asked = || memory_limit(&machine.0);
    assert_eq!(asked(), Ok(MemoryLimit::Bytes { allowed: 8_388_608, mapped: 2_048_000 }));
    machine.write("/proc/self/status", "VmSize:\tmuch\nCapEff:\t0000000000000000\n");
    assert!(asked().unwrap_err().contains("`much` is not a size"), "{:?}", asked());
    machine.write("/proc/self/status", "CapEff:\t0000000000004000\n");
    assert_eq!(asked(), Ok(MemoryLimit::None), "CAP_IPC_LOCK");
    machine.write("/proc/self/status", "CapEff:\t0000000000000000\n");
    machine.write("/proc/self/limits", "Max locked memory         unlimited            unlimited            bytes\n");
    assert_eq!(asked(), Ok(MemoryLimit::None));
    assert!(memory_limit(&machine.0.join("nowhere")).is_err());
}

#[test]
fn this_machine_gives_an_answer_to_every_check() {
    let root = Path::new("/");
    let cpus = allowed_cpus(root).expect("a process may read its own status");
    assert!(!cpus.is_empty());
    let cores = cpus.iter().map(|&cpu| HotCore { cpu, spins: true }).collect();
    let report = examine(root, &Question { cores, ..Question::default() }, &Live::here());
    assert_eq!(checks(&report).len(), CHECK_COUNT);
    let known: BTreeMap<&str, Level> = report.findings.iter().map(|finding| (finding.check, finding.level)).collect();
    for check in ["cpu", "rcu_callbacks", "swap", "locked_memory", "open_files", "priority", "decoders", "clock_sync"] {
        assert_ne!(known[check], Level::Unknown, "{check}: {:?}", find(&report, check));
    }
    assert_eq!(known["cpu"], Level::Ok, "it runs here");
    let json: serde_json::Value = serde_json::from_str(&report.to_json()).expect("one object");
    assert_eq!(json["findings"].as_array().map(Vec::len), Some(report.findings.len()));
}
