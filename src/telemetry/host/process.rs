//! What this process may: its CPUs, its limits, its share of time; and what its processor is.

use super::cpus::{self, Cpus};
use super::tree::{Tree, Unreadable, field};
use super::{Check, Finding, Fix, Host};
use crate::venue::Cpu;

/// Source: the kernel's `scheduler/sched-bwc`: a group that has used its quota stands still until the period ends.
const CPU_QUOTA: Check = Check {
    name: "cpu_quota",
    cost: "once the quota of a period is used, every thread stands still until the next: up to 100 ms",
};

/// Source: getrlimit(2), mlock(2).
const LOCKED_MEMORY: Check = Check {
    name: "locked_memory",
    cost: "memory that cannot be locked may be taken away: a fault of 1 to 10 µs, or 0.1 to 10 ms from a disk",
};

/// Source: getrlimit(2), `RLIMIT_NOFILE`.
const OPEN_FILES: Check = Check { name: "open_files", cost: "a connection that finds no descriptor left is not made" };

/// Source: sched(7), capabilities(7). The engine raises no priority by itself.
const PRIORITY: Check = Check {
    name: "priority",
    cost: "where a hot core is not isolated, `chrt -f` cannot keep others off its thread: they take 1 to 4 ms at a time",
};

/// A system call of 100 ns becomes one of 150 to 500: flushed buffers at each entry. `cargo bench --bench wait` prints what
/// an empty read costs here. Source: the kernel's `admin-guide/hw-vuln`.
const MITIGATIONS: Check = Check {
    name: "mitigations",
    cost: "each system call takes 50 to 400 ns more, and a core that spins makes millions a second",
};

/// Source: `cargo bench --bench decode`, and `scripts/race.sh --no-avx512`.
const DECODERS: Check = Check {
    name: "decoders",
    cost: "without AVX-512 a list of 50 levels takes some 1.1 to 1.6 times as long, without SSE4.1 more",
};

/// A hypervisor's exits take 1 to 5 µs each, and its scheduler takes whole CPUs away: see `stolen_time`.
/// Source: the kernel's `virt/kvm`.
const VIRTUAL_MACHINE: Check = Check {
    name: "virtual_machine",
    cost: "interrupts, timers and sleeps leave for the hypervisor: 1 to 5 µs each; it may take the CPU away unseen",
};

/// Descriptors that the process needs beside its sockets.
const FILES_SPARE: u64 = 64;

/// Bits of the capabilities that matter here. Source: `linux/capability.h`.
const CAP_IPC_LOCK: u32 = 14;
const CAP_SYS_NICE: u32 = 23;

pub(super) fn check(host: &Host<'_>) -> Vec<Finding> {
    vec![
        CPU_QUOTA.answer(|| cpu_quota(&host.tree)),
        LOCKED_MEMORY.answer(|| locked_memory(&host.tree)),
        OPEN_FILES.answer(|| open_files(host)),
        PRIORITY.answer(|| priority(&host.tree)),
        VIRTUAL_MACHINE.answer(|| virtual_machine(&host.tree)),
        MITIGATIONS.answer(|| mitigations(&host.tree)),
        DECODERS.answer(|| decoders(host)),
    ]
}

/// The CPUs that the reading process may use.
pub(super) fn allowed(tree: &Tree) -> Result<Cpus, Unreadable> {
    let path = "/proc/self/status";
    let text = tree.text(path)?;
    let list = status_field(path, &text, "Cpus_allowed_list")?;
    cpus::from_list(list).ok_or_else(|| Unreadable::form(path, list, "a list of CPUs"))
}

fn status_field<'a>(path: &str, text: &'a str, name: &'static str) -> Result<&'a str, Unreadable> {
    field(text, name).ok_or_else(|| Unreadable::Other(format!("{path}: no line `{name}`")))
}

/// A quota holds for a group and all below it, so every group from the process's own up to the root is asked.
fn cpu_quota(tree: &Tree) -> Result<Finding, Unreadable> {
    let groups = tree.text("/proc/self/cgroup")?;
    let (mut asked, mut found) = (0, Vec::new());
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(group)) = (parts.next(), parts.next()) else {
            return Err(Unreadable::form("/proc/self/cgroup", line, "a group"));
        };
        // Version 2 names no controllers; version 1 mounts `cpu` alone or together with `cpuacct`.
        let mounts: &[&str] = match controllers {
            "" => &["/sys/fs/cgroup", "/sys/fs/cgroup/unified"],
            names if names.split(',').any(|name| name == "cpu") => {
                &["/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu,cpuacct"]
            }
            _ => continue,
        };
        for folder in mounts.iter().flat_map(|mount| lineage(mount, group)) {
            if let Some(quota) = quota(tree, &folder)? {
                asked += 1;
                found.extend(quota);
            }
        }
    }
    Ok(match (found.is_empty(), asked) {
        (true, 0) if !tree.has("/sys/fs/cgroup") => CPU_QUOTA.unknown("/sys/fs/cgroup: no such file or directory"),
        (true, _) => CPU_QUOTA.ok("none"),
        (false, _) => {
            let fix =
                Fix::hand("take the limit off (CPUQuota= of the unit, --cpus of the container) and give whole CPUs");
            CPU_QUOTA.bad(found.join("; ")).with(fix)
        }
    })
}

/// A group's folder and those above it, down to the mount.
fn lineage(mount: &str, group: &str) -> Vec<String> {
    let parts: Vec<&str> = group.split('/').filter(|part| !part.is_empty() && *part != "..").collect();
    (0..=parts.len()).map(|depth| [&[mount], &parts[..depth]].concat().join("/")).collect()
}

/// Whether a folder is a group with a quota: `None` where it is none, or the kernel keeps no quotas there.
fn quota(tree: &Tree, folder: &str) -> Result<Option<Option<String>>, Unreadable> {
    let path = format!("{folder}/cpu.max");
    let (quota_us, period_us) = if let Some(text) = tree.within("/", tree.word(&path))? {
        let form = || Unreadable::form(&path, &text, "a quota and a period");
        let (quota, period) = text.split_once(' ').ok_or_else(form)?;
        let period: u64 = period.parse().map_err(|_| form())?;
        if quota == "max" {
            return Ok(Some(None));
        }
        (quota.parse::<u64>().map_err(|_| form())?, period)
    } else {
        let Some(quota) = tree.within("/", tree.number::<i64>(&format!("{folder}/cpu.cfs_quota_us")))? else {
            return Ok(None);
        };
        let Ok(quota) = u64::try_from(quota) else { return Ok(Some(None)) };
        (quota, tree.number(&format!("{folder}/cpu.cfs_period_us"))?)
    };
    let stat = tree.within("/", tree.text(&format!("{folder}/cpu.stat")))?.unwrap_or_default();
    let throttled = stat.lines().find_map(|line| line.strip_prefix("nr_throttled ")?.trim().parse::<u64>().ok());
    let throttled = throttled.map(|count| format!(", {count} times used up so far")).unwrap_or_default();
    Ok(Some(Some(format!("{quota_us} of every {period_us} µs for {folder}{throttled}"))))
}

/// Soft and hard limit of a row of `/proc/self/limits`; `None` is unlimited.
fn limit(tree: &Tree, name: &'static str) -> Result<(Option<u64>, Option<u64>), Unreadable> {
    let path = "/proc/self/limits";
    let text = tree.text(path)?;
    let row = text.lines().find_map(|line| line.strip_prefix(name));
    let row = row.ok_or_else(|| Unreadable::Other(format!("{path}: no row `{name}`")))?;
    let mut words = row.split_ascii_whitespace();
    let mut next = || match words.next() {
        Some("unlimited") => Ok(None),
        Some(word) => word.parse().map(Some).map_err(|_| Unreadable::form(path, row, "a row of limits")),
        None => Err(Unreadable::form(path, row, "a row of limits")),
    };
    Ok((next()?, next()?))
}

/// How much memory this process may lock.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MemoryLimit {
    /// As much as there is: by its limit, or because CAP_IPC_LOCK sets that aside.
    None,
    /// So many bytes; all that is mapped counts, whether it is used or not.
    Bytes {
        /// What the limit allows.
        allowed: u64,
        /// What is mapped now.
        mapped: u64,
    },
}

pub(super) fn memory_limit(tree: &Tree) -> Result<MemoryLimit, Unreadable> {
    if effective(tree)? >> CAP_IPC_LOCK & 1 == 1 {
        return Ok(MemoryLimit::None);
    }
    let Some(allowed) = limit(tree, "Max locked memory")?.0 else { return Ok(MemoryLimit::None) };
    let path = "/proc/self/status";
    let text = tree.text(path)?;
    let size = status_field(path, &text, "VmSize")?;
    let kib: Option<u64> = size.strip_suffix(" kB").and_then(|kib| kib.trim().parse().ok());
    let kib = kib.ok_or_else(|| Unreadable::form(path, size, "a size in kB"))?;
    Ok(MemoryLimit::Bytes { allowed, mapped: kib.saturating_mul(1_024) })
}

fn shown(limit: Option<u64>) -> String {
    limit.map_or_else(|| "unlimited".to_owned(), |limit| limit.to_string())
}

fn effective(tree: &Tree) -> Result<u64, Unreadable> {
    let path = "/proc/self/status";
    let text = tree.text(path)?;
    let mask = status_field(path, &text, "CapEff")?;
    u64::from_str_radix(mask, 16).map_err(|_| Unreadable::form(path, mask, "a mask of capabilities"))
}

fn locked_memory(tree: &Tree) -> Result<Finding, Unreadable> {
    let (soft, hard) = limit(tree, "Max locked memory")?;
    let fact = format!("RLIMIT_MEMLOCK {} bytes, at most {}", shown(soft), shown(hard));
    if soft.is_none() {
        return Ok(LOCKED_MEMORY.ok(fact));
    }
    Ok(if effective(tree)? >> CAP_IPC_LOCK & 1 == 1 {
        LOCKED_MEMORY.ok(format!("{fact}; CAP_IPC_LOCK sets it aside"))
    } else {
        // All that is mapped counts, reserved memory too: an engine maps gigabytes.
        let fix = "ulimit -l unlimited (LimitMEMLOCK=infinity in the unit), or CAP_IPC_LOCK";
        LOCKED_MEMORY.bad(fact).with(Fix::hand(fix))
    })
}

fn open_files(host: &Host<'_>) -> Result<Finding, Unreadable> {
    let (soft, hard) = limit(&host.tree, "Max open files")?;
    // While a connection rotates it has two sockets.
    let needed = 2 * host.question.sockets as u64 + FILES_SPARE;
    let fact = format!("RLIMIT_NOFILE {}, at most {}; up to {needed} are needed", shown(soft), shown(hard));
    Ok(if soft.is_none_or(|files| files >= needed) {
        OPEN_FILES.ok(fact)
    } else {
        OPEN_FILES.bad(fact).with(Fix::hand(format!("ulimit -n {needed} (LimitNOFILE={needed} in the unit)")))
    })
}

fn priority(tree: &Tree) -> Result<Finding, Unreadable> {
    let may = effective(tree)? >> CAP_SYS_NICE & 1 == 1;
    let (soft, _) = limit(tree, "Max realtime priority")?;
    let fact = format!("{} CAP_SYS_NICE, RLIMIT_RTPRIO {}", if may { "has" } else { "lacks" }, shown(soft));
    Ok(if may || soft != Some(0) {
        PRIORITY.ok(fact)
    } else {
        PRIORITY.note(fact).with(Fix::hand("ulimit -r 50 (LimitRTPRIO=50 in the unit), or CAP_SYS_NICE"))
    })
}

fn virtual_machine(tree: &Tree) -> Result<Finding, Unreadable> {
    let path = "/proc/cpuinfo";
    let text = tree.text(path)?;
    // Hypervisors of other processors name themselves here.
    let kind = tree.within("/sys", tree.word("/sys/hypervisor/type"))?.unwrap_or_default();
    let Some(flags) = field(&text, "flags") else {
        return Ok(match kind.as_str() {
            "" => VIRTUAL_MACHINE.unknown(format!("{path}: no line `flags`, which says so on x86-64")),
            kind => VIRTUAL_MACHINE.note(format!("yes ({kind})")),
        });
    };
    let is_virtual = flags.split_ascii_whitespace().any(|flag| flag == "hypervisor");
    let model = field(&text, "model name").unwrap_or("a processor without a name");
    Ok(match is_virtual {
        true => VIRTUAL_MACHINE
            .note(format!("yes, on {model}"))
            .with(Fix::hand("bare metal; or a machine type with dedicated cores, and huge pages under it")),
        false => VIRTUAL_MACHINE.ok(format!("no: {model}")),
    })
}

fn mitigations(tree: &Tree) -> Result<Finding, Unreadable> {
    let folder = "/sys/devices/system/cpu/vulnerabilities";
    let mut active = Vec::new();
    for name in tree.names(folder)? {
        let state = tree.word(&format!("{folder}/{name}"))?;
        if state.starts_with("Mitigation:") || state.starts_with("Mitigated") {
            active.push(name);
        }
    }
    Ok(if active.is_empty() {
        MITIGATIONS.ok("none is active")
    } else {
        let fix = "mitigations=off on the kernel's command line, only where no code runs that is not trusted";
        MITIGATIONS.note(format!("active: {}", active.join(", "))).with(Fix::hand(fix))
    })
}

fn decoders(host: &Host<'_>) -> Result<Finding, Unreadable> {
    let cpu = host.live.decoders.ok_or_else(|| Unreadable::Other("only the machine itself can say".to_owned()))?;
    Ok(match cpu {
        Cpu::Avx512 => DECODERS.ok("use AVX-512"),
        Cpu::Sse41 => DECODERS.note("use SSE4.1: AVX-512 with VBMI2 and BITALG is not here, or a hypervisor hides it"),
        Cpu::Portable => DECODERS.note("use general registers: neither AVX-512 nor SSE4.1 is here"),
    })
}
