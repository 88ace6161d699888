//! What interrupts a hot core: devices' interrupts, the kernel's own timers and workers.

use super::cores::ALL_HOT;
use super::cpus::{Cpus, to_list, to_mask};
use super::tree::{Tree, Unreadable};
use super::{Check, Finding, Fix, Host, HotCore, known};

/// Source: the kernel's `core-api/irq/irq-affinity`. An interrupt with its softirq is 2 to 20 µs.
const INTERRUPTS: Check = Check {
    name: "interrupts",
    cost: "each one takes the core away for 2 to 20 µs, the network's with all packets that it brings",
};

/// Source: `default_smp_affinity` in the kernel's `core-api/irq/irq-affinity`.
const NEW_INTERRUPTS: Check =
    Check { name: "new_interrupts", cost: "a device that comes up later may be given a hot core: as above" };

/// Source: irqbalance(1): it moves interrupts every ten seconds, to any CPU that it is not told to leave alone.
const IRQBALANCE: Check =
    Check { name: "irqbalance", cost: "moves interrupts back onto the hot cores every ten seconds" };

/// Source: the kernel's `admin-guide/lockup-watchdogs`.
const NMI_WATCHDOG: Check = Check {
    name: "nmi_watchdog",
    cost: "a non-maskable interrupt of 1 to 10 µs on every core every few seconds, and a performance counter less",
};

/// Source: `stat_interval` in the kernel's `admin-guide/sysctl/vm`.
const VM_STATISTICS: Check = Check {
    name: "vm_statistics",
    cost: "a kernel worker of 2 to 10 µs on every core that touched the kernel's counters, once an interval",
};

/// Source: the kernel's `core-api/workqueue`, section on affinity scopes.
const WORKQUEUES: Check = Check {
    name: "workqueues",
    cost: "kernel work that is bound to no CPU may run on a hot core: 10 µs to milliseconds",
};

/// Seconds between two gatherings of statistics that are rare enough.
const STAT_INTERVAL_S: u64 = 10;

/// Interrupts named before a list is cut short.
const NAMED_MAX: usize = 4;

/// `/proc/interrupts`, and where each of the devices' interrupts may go.
pub(super) struct Table {
    cpus: Vec<usize>,
    rows: Vec<Row>,
}

/// One interrupt of a device: its number, and the CPUs that it may go to.
pub(super) struct Interrupt {
    number: usize,
    path: String,
    /// As somebody asked for it.
    wanted: Cpus,
    /// As it is, where the kernel says.
    effective: Option<Cpus>,
}

/// One interrupt: its number or short name, its count on each CPU of the table, and what it is.
pub(super) struct Row {
    name: String,
    counts: Vec<u64>,
    what: String,
}

impl Table {
    pub(super) fn read(tree: &Tree) -> Result<Self, Unreadable> {
        let path = "/proc/interrupts";
        let text = tree.text(path)?;
        let mut lines = text.lines();
        let heads = lines.next().unwrap_or_default();
        let cpu = |head: &str| head.strip_prefix("CPU").and_then(|number| number.parse().ok());
        let cpus: Option<Vec<usize>> = heads.split_ascii_whitespace().map(cpu).collect();
        let cpus = cpus.filter(|cpus| !cpus.is_empty());
        let cpus = cpus.ok_or_else(|| Unreadable::form(path, heads, "a row of CPUs"))?;
        let row = |line: &str| {
            let (name, rest) = line.split_once(':')?;
            let mut fields = rest.split_ascii_whitespace().peekable();
            let counts: Vec<u64> = std::iter::from_fn(|| fields.next_if(|field| field.parse::<u64>().is_ok()))
                .take(cpus.len())
                .filter_map(|field| field.parse().ok())
                .collect();
            let what = fields.last().unwrap_or_default().to_owned();
            Some(Row { name: name.trim().to_owned(), counts, what })
        };
        let rows = lines.filter_map(row).collect();
        Ok(Self { cpus, rows })
    }

    pub(super) fn row(&self, name: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.name == name)
    }
}

impl Row {
    /// How often it came on a CPU since boot. `None` where the table does not say.
    pub(super) fn count(&self, table: &Table, cpu: usize) -> Option<u64> {
        self.counts.get(table.cpus.iter().position(|&column| column == cpu)?).copied()
    }
}

/// Every interrupt of a device.
pub(super) fn read_interrupts(tree: &Tree) -> Result<Vec<Interrupt>, Unreadable> {
    let mut all = Vec::new();
    for (number, name) in tree.numbered("/proc/irq", "")? {
        let path = format!("/proc/irq/{name}/smp_affinity_list");
        // An interrupt can go while they are listed.
        let Some(wanted) = tree.within("/proc/irq", tree.cpu_list(&path))? else { continue };
        let effective = tree.cpu_list(&format!("/proc/irq/{name}/effective_affinity_list"));
        let effective = tree.within("/proc/irq", effective)?.filter(|cpus| !cpus.is_empty());
        all.push(Interrupt { number, path, wanted, effective });
    }
    Ok(all)
}

/// What concerns one core.
pub(super) fn check_core(host: &Host<'_>, core: HotCore) -> Vec<Finding> {
    vec![INTERRUPTS.answer(|| interrupts(host, core))]
}

/// What concerns all.
pub(super) fn check(host: &Host<'_>) -> Vec<Finding> {
    vec![
        NEW_INTERRUPTS.answer(|| {
            let path = "/proc/irq/default_smp_affinity";
            mask(host, &NEW_INTERRUPTS, path, "new interrupts may go to", "new interrupts go elsewhere")
        }),
        IRQBALANCE.answer(|| irqbalance(host)),
        NMI_WATCHDOG.answer(|| nmi_watchdog(host)),
        VM_STATISTICS.answer(|| vm_statistics(host)),
        WORKQUEUES.answer(|| {
            let path = "/sys/devices/virtual/workqueue/cpumask";
            mask(host, &WORKQUEUES, path, "unbound kernel work may run on", "unbound kernel work runs elsewhere")
        }),
    ]
}

fn interrupts(host: &Host<'_>, core: HotCore) -> Result<Finding, Unreadable> {
    let table = known(&host.counted)?;
    let (mut come, mut silent, mut fixes) = (Vec::new(), 0, Vec::new());
    for Interrupt { number, path, wanted, effective } in known(&host.interrupts)? {
        let is_here = |cpus: &Cpus| cpus.contains(&core.cpu);
        // What was moved goes on arriving where it did until it comes once more.
        if !is_here(wanted) || !effective.as_ref().is_none_or(is_here) {
            continue;
        }
        let row = table.row(&number.to_string());
        match row.and_then(|row| row.count(table, core.cpu).map(|count| (count, row.what.as_str()))) {
            Some((count, what)) if count > 0 => come.push((count, format!("{number} {what} {count} times"))),
            _ => silent += 1,
        }
        if !host.cold.is_empty() {
            let (path, value, was) = (path.clone(), to_list(&host.cold), to_list(wanted));
            fixes.push(Fix::Write { path, value, was, may_be_refused: true });
        }
    }
    if come.is_empty() && silent == 0 {
        return Ok(INTERRUPTS.ok("none of a device's arrives here"));
    }
    come.sort_by_key(|&(count, _)| std::cmp::Reverse(count));
    let more = come.len().saturating_sub(NAMED_MAX);
    let mut named: Vec<String> = come.iter().take(NAMED_MAX).map(|(_, text)| text.clone()).collect();
    if more > 0 {
        named.push(format!("{more} more"));
    }
    if silent > 0 {
        named.push(format!("{silent} that may and did not yet"));
    }
    let fact = format!("arrive here, counted since boot: {}", named.join(", "));
    if fixes.is_empty() {
        fixes.push(Fix::hand(ALL_HOT));
    }
    let finding = match (core.spins, come.is_empty()) {
        (true, false) => INTERRUPTS.bad(fact),
        _ => INTERRUPTS.note(fact),
    };
    Ok(finding.with_all(fixes))
}

/// A mask that hot cores should not be in.
fn mask(host: &Host<'_>, check: &Check, path: &str, here: &str, elsewhere: &str) -> Result<Finding, Unreadable> {
    let cpus = host.tree.cpu_mask(path)?;
    let hot: Cpus = cpus.intersection(&host.hot).copied().collect();
    if hot.is_empty() {
        return Ok(check.ok(elsewhere));
    }
    let finding = check.note(format!("{here} CPU {}", to_list(&hot)));
    Ok(match host.cold.is_empty() {
        true => finding.with(Fix::hand(ALL_HOT)),
        false => finding.with(Fix::write(path, to_mask(&host.cold), to_mask(&cpus))),
    })
}

fn irqbalance(host: &Host<'_>) -> Result<Finding, Unreadable> {
    let processes = host.tree.numbered("/proc", "")?;
    if processes.is_empty() {
        return Ok(IRQBALANCE.unknown("/proc: lists no processes"));
    }
    // A process can end while they are listed.
    let is_it =
        |(_, id): &(usize, String)| host.tree.word(&format!("/proc/{id}/comm")).is_ok_and(|name| name == "irqbalance");
    if !processes.iter().any(is_it) {
        return Ok(IRQBALANCE.ok("not among the processes that can be seen here"));
    }
    let text = format!("IRQBALANCE_BANNED_CPULIST={} in its configuration, or stop it", to_list(&host.hot));
    Ok(IRQBALANCE.note("runs; whether it leaves the hot cores alone is in its own configuration").with(Fix::hand(text)))
}

fn nmi_watchdog(host: &Host<'_>) -> Result<Finding, Unreadable> {
    let path = "/proc/sys/kernel/nmi_watchdog";
    Ok(match host.tree.within("/proc/sys/kernel", host.tree.number::<u8>(path))? {
        None => NMI_WATCHDOG.ok("not in this kernel"),
        Some(0) => NMI_WATCHDOG.ok("off"),
        Some(was) => NMI_WATCHDOG.note("on").with(Fix::write(path, "0", was.to_string())),
    })
}

fn vm_statistics(host: &Host<'_>) -> Result<Finding, Unreadable> {
    let path = "/proc/sys/vm/stat_interval";
    let seconds: u64 = host.tree.number(path)?;
    let fact = format!("gathered every {seconds} s");
    Ok(if seconds >= STAT_INTERVAL_S {
        VM_STATISTICS.ok(fact)
    } else {
        VM_STATISTICS.note(fact).with(Fix::write(path, STAT_INTERVAL_S.to_string(), seconds.to_string()))
    })
}
