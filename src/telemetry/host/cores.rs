//! What one hot core has to itself: the scheduler, its frequency and its sleep, its sibling, its memory's node, its time.

use super::cpus::{self, to_list};
use super::tree::{Tree, Unreadable};
use super::{Check, Finding, Fix, Host, HotCore};
use std::collections::BTreeSet;

/// Source: CPU hotplug and cpusets in the kernel's `admin-guide`.
const CPU: Check = Check { name: "cpu", cost: "the engine cannot start on it" };

/// Source: the kernel's `timers/no_hz`: the boot CPU keeps the time for all.
const BOOT_CPU: Check = Check {
    name: "boot_cpu",
    cost: "the kernel's own timers and workers gather here, and its tick cannot be stopped: 1 to 10 µs each",
};

/// A thread that is moved away and back waits at least a scheduler slice (EEVDF's base slice: 3 ms on a large machine) and
/// finds its caches cold. Source: `isolcpus` in the kernel's `admin-guide/kernel-parameters`; `sched_base_slice` in
/// `kernel/sched/fair.c`.
const ISOLATION: Check = Check {
    name: "isolation",
    cost: "whatever the scheduler puts here takes the CPU away for 1 to 4 ms, and leaves cold caches behind",
};

/// A tick's handler with its entry, exit and the cache lines it takes is 1 to 5 µs on bare metal, more under a hypervisor.
/// Source: the kernel's `timers/no_hz`.
const TICKS: Check = Check {
    name: "ticks",
    cost: "each timer tick takes 1 to 10 µs, 100 to 1,000 times a second; a message that comes then waits for it",
};

/// Source: `rcu_nocbs` in the kernel's `admin-guide/kernel-parameters`, and `RCU/Design/Requirements`.
const RCU: Check = Check {
    name: "rcu_callbacks",
    cost: "freeing of the kernel's memory runs in this core's interrupts: bursts of 10 to 100 µs",
};

/// Frequency governors change speed in steps of 1 to 10 ms; 1 GHz instead of 4 makes every instruction four times as long.
/// Source: the kernel's `admin-guide/pm/cpufreq`.
const FREQUENCY: Check = Check {
    name: "frequency",
    cost: "after a quiet moment the core runs at a fraction of its speed (2 to 5 times slower) for 1 to 10 ms",
};

/// Exit latencies as firmware states them: C1 1 to 2 µs, C1E 10 µs, C6 50 to 200 µs. A core that spins is never idle.
/// Source: the kernel's `admin-guide/pm/cpuidle`.
const SLEEP_STATES: Check = Check {
    name: "sleep_states",
    cost: "a core that parks wakes from its deepest sleep with every first packet: 2 µs from C1, 50 to 200 µs from C6",
};

/// Source: the optimisation manuals of both makers: threads of a core share its L1 and L2 caches, its decoders and its units.
const SIBLING: Check = Check {
    name: "sibling",
    cost: "a busy sibling takes a third to a half of the core's speed, and its L1 and L2 caches",
};

/// Source: local and remote latencies of two-socket servers, some 80 and 140 ns a cache miss.
const NODE: Check = Check {
    name: "numa_node",
    cost: "every packet and every miss crosses the sockets' link: 50 to 100 ns each, and one more hop for the interrupt",
};

/// Source: `steal` in proc(5), `/proc/stat`.
const STOLEN: Check = Check {
    name: "stolen_time",
    cost: "the hypervisor runs somebody else here: 0.1 to 10 ms at a time, unseen by this machine's own clock of work",
};

/// Every kernel with a `/sys` has it.
const CPU_FOLDER: &str = "/sys/devices/system/cpu";

/// An idle state whose exit takes longer than this is a deep one, µs.
const EXIT_US_MAX: u64 = 10;

/// Share of the time since boot that a hypervisor may have taken before it is bad: 0.1 %.
const STOLEN_PER_MILLE_MAX: u64 = 1;

pub(super) fn check(host: &Host<'_>, core: HotCore) -> Vec<Finding> {
    vec![
        CPU.answer(|| cpu(host, core)),
        boot_cpu(core),
        ISOLATION.answer(|| isolation(host, core)),
        TICKS.answer(|| ticks(host, core)),
        RCU.answer(|| rcu(host, core)),
        FREQUENCY.answer(|| frequency(host, core)),
        SLEEP_STATES.answer(|| sleep_states(host, core)),
        SIBLING.answer(|| sibling(host, core)),
        NODE.answer(|| node(host, core)),
        STOLEN.answer(|| stolen(host, core)),
    ]
}

/// Where nothing is left for the rest there is nothing to move it to.
pub(super) const ALL_HOT: &str = "leave a CPU for everything else: name fewer hot cores (`--cores`), and see again";

/// Bad where the core spins; where it parks it has given the CPU up, and others may run there by right.
fn missed(check: &Check, core: HotCore, fact: impl Into<String>) -> Finding {
    if core.spins { check.bad(fact) } else { check.note(fact) }
}

/// Words for the kernel's command line, or why there are none to give.
fn boot(host: &Host<'_>, key: &str) -> Fix {
    if host.cold.is_empty() {
        return Fix::hand(ALL_HOT);
    }
    Fix::Boot { words: format!("{key}{}", to_list(&host.hot)) }
}

fn cpu(host: &Host<'_>, core: HotCore) -> Result<Finding, Unreadable> {
    let online = host.tree.cpu_list("/sys/devices/system/cpu/online")?;
    if !online.contains(&core.cpu) {
        return Ok(CPU
            .bad(format!("not online; those online: {}", to_list(&online)))
            .with(Fix::hand("name another CPU")));
    }
    let allowed = match &host.question.allowed {
        Some(allowed) => allowed.clone(),
        None => super::process::allowed(&host.tree)?,
    };
    if !allowed.contains(&core.cpu) {
        let fact = format!("online, but this process may use only {}", to_list(&allowed));
        let text = format!("start it where its mask has the CPU: taskset -c {}, or its cpuset", core.cpu);
        return Ok(CPU.bad(fact).with(Fix::hand(text)));
    }
    Ok(CPU.ok("online, and this process may use it"))
}

fn boot_cpu(core: HotCore) -> Finding {
    if core.cpu == 0 {
        let fix = Fix::hand("make another CPU the hot core (`core`, `cpu`), where there is one");
        BOOT_CPU.note("it is").with(fix)
    } else {
        BOOT_CPU.ok("it is not")
    }
}

fn isolation(host: &Host<'_>, core: HotCore) -> Result<Finding, Unreadable> {
    let mut isolated = host.tree.cpu_list("/sys/devices/system/cpu/isolated")?;
    // A cpuset partition isolates while the machine runs.
    let partitions = host.tree.cpu_list("/sys/fs/cgroup/cpuset.cpus.isolated");
    isolated.extend(host.tree.within("/", partitions)?.unwrap_or_default());
    if isolated.contains(&core.cpu) {
        return Ok(ISOLATION.ok("isolated from the scheduler"));
    }
    let fact = match to_list(&isolated) {
        none if none.is_empty() => "not isolated: any thread of the machine may run here".to_owned(),
        others => format!("not isolated: any thread of the machine may run here; isolated are {others}"),
    };
    Ok(missed(&ISOLATION, core, fact).with(boot(host, "isolcpus=managed_irq,domain,")))
}

/// CPUs that the kernel's command line frees of their tick.
fn tickless(host: &Host<'_>) -> Result<Option<cpus::Cpus>, Unreadable> {
    host.tree.within(CPU_FOLDER, host.tree.cpu_list("/sys/devices/system/cpu/nohz_full"))
}

fn ticks(host: &Host<'_>, core: HotCore) -> Result<Finding, Unreadable> {
    let rate = match tick_rate(host, core.cpu) {
        Some(rate) => format!("; {rate} timer interrupts a second on average since boot"),
        None => String::new(),
    };
    Ok(match tickless(host)? {
        Some(cpus) if cpus.contains(&core.cpu) => TICKS.ok(format!("no tick while one thread runs here{rate}")),
        Some(_) => missed(&TICKS, core, format!("ticks{rate}")).with(boot(host, "nohz_full=")),
        None => missed(&TICKS, core, format!("ticks, and this kernel cannot stop them{rate}"))
            .with(Fix::hand("a kernel built with CONFIG_NO_HZ_FULL, as the distributions' server kernels are")),
    })
}

/// Local timer interrupts a second since boot, where the kernel counts them.
fn tick_rate(host: &Host<'_>, cpu: usize) -> Option<u64> {
    let table = host.counted.as_ref().ok()?;
    let count = table.row("LOC")?.count(table, cpu)?;
    let uptime = host.tree.text("/proc/uptime").ok()?;
    let seconds: f64 = uptime.split_ascii_whitespace().next()?.parse().ok()?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a positive whole number, cut down")]
    let seconds = seconds as u64;
    count.checked_div(seconds)
}

fn rcu(host: &Host<'_>, core: HotCore) -> Result<Finding, Unreadable> {
    // nohz_full brings it along.
    if tickless(host)?.is_some_and(|cpus| cpus.contains(&core.cpu)) {
        return Ok(RCU.ok("moved off this core, by nohz_full"));
    }
    let path = "/proc/cmdline";
    for list in host.tree.boot_words("rcu_nocbs")? {
        let is_here = list == "all"
            || cpus::from_list(&list)
                .ok_or_else(|| Unreadable::form(path, &list, "a list of CPUs"))?
                .contains(&core.cpu);
        if is_here {
            return Ok(RCU.ok("moved off this core, by rcu_nocbs"));
        }
    }
    Ok(missed(&RCU, core, "runs on this core").with(boot(host, "rcu_nocbs=")))
}

fn frequency(host: &Host<'_>, core: HotCore) -> Result<Finding, Unreadable> {
    let folder = format!("/sys/devices/system/cpu/cpu{}/cpufreq", core.cpu);
    let path = format!("{folder}/scaling_governor");
    let Some(governor) = host.tree.within(CPU_FOLDER, host.tree.word(&path))? else {
        return Ok(FREQUENCY.unknown("no governor here: the firmware, or a hypervisor, decides"));
    };
    let mhz = |file: &str| host.tree.number::<u64>(&format!("{folder}/{file}")).ok().map(|khz| khz / 1_000);
    let mut fact = format!("governor {governor}");
    if let (Some(least), Some(most)) = (mhz("scaling_min_freq"), mhz("scaling_max_freq")) {
        fact.push_str(&format!(", {least} to {most} MHz"));
    }
    fact.push_str(turbo(host));
    let mut fixes = Vec::new();
    if governor != "performance" {
        fixes.push(Fix::write(&path, "performance", &governor));
    }
    let path = format!("{folder}/energy_performance_preference");
    if let Some(preference) = host.tree.within(CPU_FOLDER, host.tree.word(&path))?
        && preference != "performance"
    // Under the governor performance some drivers take no other word, and show `performance` by themselves.
    {
        fact.push_str(&format!(", preference {preference}"));
        fixes.push(Fix::write(&path, "performance", &preference));
    }
    Ok(match (governor.as_str(), fixes.is_empty()) {
        ("performance", true) => FREQUENCY.ok(fact),
        ("performance", false) => FREQUENCY.note(fact).with_all(fixes),
        _ => FREQUENCY.bad(fact).with_all(fixes),
    })
}

fn turbo(host: &Host<'_>) -> &'static str {
    let number = |path: &str| host.tree.number::<u8>(path).ok();
    let is_off = number("/sys/devices/system/cpu/intel_pstate/no_turbo").map(|off| off == 1);
    match is_off.or_else(|| number("/sys/devices/system/cpu/cpufreq/boost").map(|on| on == 0)) {
        Some(true) => ", turbo off",
        Some(false) => ", turbo on",
        None => "",
    }
}

fn sleep_states(host: &Host<'_>, core: HotCore) -> Result<Finding, Unreadable> {
    let folder = format!("/sys/devices/system/cpu/cpu{}/cpuidle", core.cpu);
    if core.spins {
        return Ok(SLEEP_STATES.ok("a core that spins is never idle"));
    }
    let states = host.tree.within(CPU_FOLDER, host.tree.numbered(&folder, "state"))?.unwrap_or_default();
    if states.is_empty() {
        let driver = host.tree.word("/sys/devices/system/cpu/cpuidle/current_driver");
        return Ok(match host.tree.within(CPU_FOLDER, driver)? {
            Some(driver) if driver == "none" => SLEEP_STATES
                .note("no idle driver: an idle CPU halts, and on a virtual machine the hypervisor takes it")
                .with(Fix::hand(
                    "idle = \"spin\" in the engine's file, where the CPU can be given to the engine alone",
                )),
            Some(driver) => SLEEP_STATES.unknown(format!("driver {driver}, and no states listed for this CPU")),
            None => SLEEP_STATES.unknown("this kernel lists no idle states"),
        });
    }
    let mut deep = Vec::new();
    let mut enabled = Vec::new();
    for (_, state) in states {
        let path = format!("{folder}/{state}");
        let exit_us: u64 = host.tree.number(&format!("{path}/latency"))?;
        if host.tree.number::<u64>(&format!("{path}/disable"))? != 0 {
            continue;
        }
        let name = host.tree.word(&format!("{path}/name"))?;
        enabled.push(format!("{name} {exit_us} µs"));
        if exit_us > EXIT_US_MAX {
            deep.push(Fix::write(&format!("{path}/disable"), "1", "0"));
        }
    }
    let limit = host.live.wakeup_us_max.filter(|&limit_us| limit_us <= EXIT_US_MAX);
    let fact = format!("states and their exits: {}", enabled.join(", "));
    Ok(match limit {
        Some(limit_us) => SLEEP_STATES.ok(format!("{fact}; somebody holds /dev/cpu_dma_latency at {limit_us} µs")),
        None if deep.is_empty() => SLEEP_STATES.ok(fact),
        None => SLEEP_STATES.bad(fact).with_all(deep),
    })
}

/// The CPUs of the core that a CPU belongs to, itself among them.
pub(super) fn threads(tree: &Tree, cpu: usize) -> Result<cpus::Cpus, Unreadable> {
    let folder = format!("/sys/devices/system/cpu/cpu{cpu}/topology");
    // The newer name first.
    match tree.within(CPU_FOLDER, tree.cpu_list(&format!("{folder}/core_cpus_list")))? {
        Some(siblings) => Ok(siblings),
        None => tree.cpu_list(&format!("{folder}/thread_siblings_list")),
    }
}

fn sibling(host: &Host<'_>, core: HotCore) -> Result<Finding, Unreadable> {
    let siblings = threads(&host.tree, core.cpu)?;
    let others: BTreeSet<usize> = siblings.into_iter().filter(|&cpu| cpu != core.cpu).collect();
    if others.is_empty() {
        return Ok(SIBLING.ok("none: the core is this CPU's alone"));
    }
    let list = to_list(&others);
    let isolated = host.tree.cpu_list("/sys/devices/system/cpu/isolated").unwrap_or_default();
    let fix = Fix::hand(format!(
        "leave CPU {list} idle and isolated, or switch it off: echo 0 > /sys/devices/system/cpu/cpuN/online"
    ));
    let is_any = |set: &BTreeSet<usize>| others.iter().any(|cpu| set.contains(cpu));
    let cold: BTreeSet<usize> = host.question.cold_cores.iter().copied().collect();
    Ok(if is_any(&host.hot) {
        SIBLING
            .bad(format!("CPU {list} shares the core, and is a hot core too"))
            .with(Fix::hand("name CPUs of different cores"))
    } else if is_any(&cold) {
        missed(&SIBLING, core, format!("CPU {list} shares the core, and our cold threads run there"))
            .with(Fix::hand(format!("leave CPU {list} out of `cold_cores`, idle and isolated")))
    } else if others.iter().all(|cpu| isolated.contains(cpu)) {
        SIBLING.ok(format!("CPU {list} shares the core, and is isolated: idle unless somebody pins a thread there"))
    } else {
        missed(&SIBLING, core, format!("CPU {list} shares the core, and anything may run there")).with(fix)
    })
}

fn node(host: &Host<'_>, core: HotCore) -> Result<Finding, Unreadable> {
    let nodes = host.tree.cpu_list("/sys/devices/system/node/online")?;
    if nodes.len() == 1 {
        return Ok(NODE.ok("the machine has one"));
    }
    let folder = format!("/sys/devices/system/cpu/cpu{}", core.cpu);
    let Some((own, _)) = host.tree.numbered(&folder, "node")?.into_iter().next() else {
        return Ok(NODE.unknown(format!("{folder}: names no node")));
    };
    let interface = super::network::interface(&host.tree)?;
    let path = format!("/sys/class/net/{interface}/device/numa_node");
    let of_card: i64 = host.tree.number(&path)?;
    Ok(match usize::try_from(of_card) {
        Err(_) => NODE.unknown(format!("node {own}; {interface} does not say which is its own")),
        Ok(card) if card == own => NODE.ok(format!("node {own}, as {interface}")),
        Ok(card) => {
            let near = host.tree.word(&format!("/sys/devices/system/node/node{card}/cpulist"));
            let near = near.map_or_else(|_| format!("a CPU of node {card}"), |list| format!("one of CPUs {list}"));
            NODE.bad(format!("node {own}, while {interface} is on node {card}"))
                .with(Fix::hand(format!("make {near} the hot core (`core`, `cpu`)")))
        }
    })
}

fn stolen(host: &Host<'_>, core: HotCore) -> Result<Finding, Unreadable> {
    let path = "/proc/stat";
    let stat = host.tree.text(path)?;
    let name = format!("cpu{}", core.cpu);
    let row = stat.lines().find(|line| line.split_ascii_whitespace().next() == Some(&name));
    let row = row.ok_or_else(|| Unreadable::Other(format!("{path}: no {name}")))?;
    let times: Result<Vec<u64>, _> = row.split_ascii_whitespace().skip(1).map(str::parse).collect();
    let times = times.map_err(|_| Unreadable::form(path, row, "a row of numbers"))?;
    // user, nice, system, idle, iowait, irq, softirq, steal, and guests' times that user holds already.
    let Some(&stolen) = times.get(7) else {
        return Err(Unreadable::form(path, row, "a row of eight numbers or more"));
    };
    let total: u64 = times[..8].iter().fold(0, |sum, &time| sum.saturating_add(time));
    let per_100k = u128::from(stolen) * 100_000 / u128::from(total.max(1));
    let fact = format!("{}.{:03} % of the time since boot", per_100k / 1_000, per_100k % 1_000);
    Ok(if stolen == 0 {
        STOLEN.ok("none since boot")
    } else if per_100k <= u128::from(STOLEN_PER_MILLE_MAX) * 100 {
        STOLEN.note(fact).with(Fix::hand("a machine of its own, or a virtual one with dedicated CPUs"))
    } else {
        STOLEN.bad(fact).with(Fix::hand("a machine of its own, or a virtual one with dedicated CPUs"))
    })
}
