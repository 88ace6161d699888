//! What makes memory stall: huge pages made behind the process's back, or not given where they are asked for; pages moved,
//! merged or written to a disk.

use super::tree::Unreadable;
use super::{Check, Finding, Fix, Host};

/// A collapse copies 2 MiB under the lock of the process's memory and flushes every core's TLB; clearing 2 MiB at a fault
/// takes 50 to 200 µs. Source: the kernel's `admin-guide/mm/transhuge`.
const HUGE_PAGES: Check = Check {
    name: "huge_pages",
    cost: "pages are merged into huge ones behind the process's back: 50 to 500 µs at a time, on every core's TLB",
};

/// By `scripts/race.sh --quick --only decode` with 2,000 symbols under `never` and under `madvise`, on a virtual machine.
const NO_HUGE_PAGES: Check = Check {
    name: HUGE_PAGES.name,
    cost: "what is looked up by symbol lies on small pages: up to 30 ns more for a message of a symbol that was quiet",
};

/// Source: `numa_balancing` in the kernel's `admin-guide/sysctl/kernel`: pages are unmapped so that their use faults.
const NUMA_BALANCING: Check = Check {
    name: "numa_balancing",
    cost: "the kernel unmaps pages to see who uses them: a fault of 1 to 10 µs each, more where it moves them",
};

/// Source: the kernel's `admin-guide/mm/ksm`.
const KSM: Check =
    Check { name: "ksm", cost: "a scanner reads and write-protects memory: a fault of 1 to 10 µs at the next write" };

/// Source: `swappiness` in the kernel's `admin-guide/sysctl/vm`; reading one page back from a fast disk takes 0.1 ms.
const SWAP: Check = Check {
    name: "swap",
    cost: "a page that was written out costs 0.1 to 10 ms when it is used; locked memory is spared",
};

pub(super) fn check(host: &Host<'_>) -> Vec<Finding> {
    vec![
        HUGE_PAGES.answer(|| huge_pages(host)),
        NUMA_BALANCING.answer(|| numa_balancing(host)),
        KSM.answer(|| ksm(host)),
        SWAP.answer(|| swap(host)),
    ]
}

fn huge_pages(host: &Host<'_>) -> Result<Finding, Unreadable> {
    let path = "/sys/kernel/mm/transparent_hugepage/enabled";
    Ok(match host.tree.within("/sys/kernel/mm", host.tree.chosen(path))? {
        None => HUGE_PAGES.ok("not in this kernel"),
        Some(word) if word == "always" => {
            HUGE_PAGES.bad("made for every process (`always`)").with(Fix::write(path, "madvise", word))
        }
        Some(word) if word == "never" => {
            NO_HUGE_PAGES.note("not given to those who ask (`never`)").with(Fix::write(path, "madvise", word))
        }
        Some(word) => HUGE_PAGES.ok(format!("made only where they are asked for (`{word}`)")),
    })
}

fn numa_balancing(host: &Host<'_>) -> Result<Finding, Unreadable> {
    let path = "/proc/sys/kernel/numa_balancing";
    Ok(match host.tree.within("/proc/sys/kernel", host.tree.number::<u32>(path))? {
        None => NUMA_BALANCING.ok("not in this kernel"),
        Some(0) => NUMA_BALANCING.ok("off"),
        Some(_) if host.tree.cpu_list("/sys/devices/system/node/online")?.len() == 1 => {
            NUMA_BALANCING.ok("on, and idle: the machine has one node")
        }
        Some(was) => NUMA_BALANCING.bad("on").with(Fix::write(path, "0", was.to_string())),
    })
}

fn ksm(host: &Host<'_>) -> Result<Finding, Unreadable> {
    let path = "/sys/kernel/mm/ksm/run";
    Ok(match host.tree.within("/sys/kernel/mm", host.tree.number::<u8>(path))? {
        None => KSM.ok("not in this kernel"),
        Some(1) => KSM.note("equal pages are being merged").with(Fix::write(path, "0", "1")),
        Some(_) => KSM.ok("off"),
    })
}

fn swap(host: &Host<'_>) -> Result<Finding, Unreadable> {
    // The first line is a heading.
    let areas = host.tree.text("/proc/swaps")?.lines().skip(1).filter(|line| !line.trim().is_empty()).count();
    if areas == 0 {
        return Ok(SWAP.ok("none"));
    }
    let path = "/proc/sys/vm/swappiness";
    let swappiness: u32 = host.tree.number(path)?;
    let fact = format!("{areas} in use, swappiness {swappiness}");
    Ok(match swappiness {
        0 => SWAP.ok(fact),
        was => SWAP.note(fact).with(Fix::write(path, "0", was.to_string())),
    })
}
