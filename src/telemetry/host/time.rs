//! Whether the clocks can be believed: the counter that stamps are read from, and the wall clock behind the data's age.

use super::tree::{Unreadable, field};
use super::{Check, ClockState, Finding, Fix, Host};

/// clock_gettime over the TSC 20 ns, over a hypervisor's page 30 to 50 ns, over hpet or acpi_pm a port read of 1 to 2 µs.
/// Source: the kernel's `timers/timekeeping`, vdso(7).
const CLOCK_SOURCE: Check = Check {
    name: "clock_source",
    cost: "each reading of the system's clock is a system call and a device's answer: 1 µs and more instead of 20 ns",
};

/// Source: Intel SDM volume 3, 18.17.1 (invariant TSC); `nonstop_tsc` and `constant_tsc` in the kernel's `cpufeatures.h`.
const COUNTER: Check = Check {
    name: "counter",
    cost: "stamps cannot be read from the counter: the engine asks the kernel, 20 ns to 1 µs instead of 10 ns",
};

/// Source: adjtimex(2).
const CLOCK_SYNC: Check = Check {
    name: "clock_sync",
    cost: "the data's age (venue's clock to ours) is wrong by the clock's error, milliseconds to seconds",
};

/// An estimated error beyond this makes the age of data from a venue nearby worthless, µs.
const ERROR_US_MAX: i64 = 1_000;

pub(super) fn check(host: &Host<'_>) -> Vec<Finding> {
    vec![
        CLOCK_SOURCE.answer(|| clock_source(host)),
        COUNTER.answer(|| counter(host)),
        CLOCK_SYNC.answer(|| clock_sync(host)),
    ]
}

fn clock_source(host: &Host<'_>) -> Result<Finding, Unreadable> {
    let folder = "/sys/devices/system/clocksource/clocksource0";
    let path = format!("{folder}/current_clocksource");
    let current = host.tree.word(&path)?;
    let fact = format!("the kernel's clock is {current}");
    // Read from user space without a system call: arch/x86/entry/vdso, arch/arm64/kernel/vdso.
    Ok(match current.as_str() {
        "tsc" | "arch_sys_counter" => CLOCK_SOURCE.ok(fact),
        "kvm-clock" | "hyperv_clocksource_tsc_page" => {
            CLOCK_SOURCE.note(format!("{fact}: the hypervisor's, read without a system call"))
        }
        _ => {
            let available = host.tree.word(&format!("{folder}/available_clocksource"))?;
            let finding = CLOCK_SOURCE.bad(format!("{fact}; there are: {available}"));
            if available.split_ascii_whitespace().any(|name| name == "tsc") {
                finding.with(Fix::write(&path, "tsc", current))
            } else {
                finding.with(Fix::hand("find out why the kernel distrusts the TSC: dmesg | grep -i tsc"))
            }
        }
    })
}

fn counter(host: &Host<'_>) -> Result<Finding, Unreadable> {
    let path = "/proc/cpuinfo";
    let text = host.tree.text(path)?;
    let Some(flags) = field(&text, "flags") else {
        return Err(Unreadable::Other(format!(
            "{path}: no line `flags`, as x86-64 has: stamps come from clock_gettime"
        )));
    };
    let has = |flag: &str| flags.split_ascii_whitespace().any(|word| word == flag);
    Ok(match (has("constant_tsc"), has("nonstop_tsc")) {
        (true, true) => COUNTER.ok("the TSC runs at one rate and never stops (constant_tsc, nonstop_tsc)"),
        (true, false) => COUNTER.bad("the TSC stops in deep sleep (no nonstop_tsc)").with(distrusted()),
        (false, _) => COUNTER.bad("the TSC changes its rate (no constant_tsc)").with(distrusted()),
    })
}

fn distrusted() -> Fix {
    Fix::hand("another machine, or a hypervisor that passes the invariant TSC on (for QEMU: -cpu host,+invtsc)")
}

fn clock_sync(host: &Host<'_>) -> Result<Finding, Unreadable> {
    let ClockState { is_synchronised, error_us, error_us_max } =
        host.live.clock.clone().map_err(|why| Unreadable::Other(format!("adjtimex: {why}")))?;
    let fix = || Fix::hand("run chrony, or PTP where the card can: `chronyc tracking` shows its error");
    let fact = format!("estimated error {error_us} µs, at most {error_us_max} µs");
    Ok(if !is_synchronised {
        CLOCK_SYNC.bad(format!("not synchronised, as far as the kernel was told; {fact}")).with(fix())
    } else if error_us > ERROR_US_MAX {
        CLOCK_SYNC.note(format!("synchronised; {fact}")).with(fix())
    } else {
        CLOCK_SYNC.ok(format!("synchronised; {fact}"))
    })
}
