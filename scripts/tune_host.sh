#!/usr/bin/env bash
# Prepares a Linux host for hot cores that spin: frequency governor, interrupts, transparent huge pages, and what only the
# kernel's command line can do. Prints what it finds and what it would do; changes something only with --apply.
#
#   scripts/tune_host.sh 2,3            the plan for hot cores on CPU 2 and 3
#   sudo scripts/tune_host.sh 2,3 --apply
#
# What --apply does lasts until the next boot. What it cannot do it says, and leaves alone: the kernel's command line
# (isolation), the BIOS (SMT, C-states, turbo), the network card's queues, and anything a hypervisor decides.
set -euo pipefail

usage() {
    sed -n '2,9s/^# \{0,1\}//p' "$0"
    exit "${1:-2}"
}

cpus='' apply=false
for argument in "$@"; do
    case "$argument" in
        --apply) apply=true ;;
        -h | --help) usage 0 ;;
        -*)
            echo "error: unknown option $argument" >&2
            usage
            ;;
        *)
            if [[ -n "$cpus" ]]; then
                echo "error: a second list of CPUs: $argument" >&2
                usage
            fi
            cpus=$argument
            ;;
    esac
done
if [[ -z "$cpus" ]]; then
    echo "error: name the CPUs of the hot cores, as in engine.toml: a number, or several with commas" >&2
    usage
fi
if [[ ! "$cpus" =~ ^[0-9]+(,[0-9]+)*$ ]]; then
    echo "error: CPUs are numbers with commas between, found: $cpus" >&2
    exit 2
fi
if [[ "$(uname -s)" != Linux ]]; then
    echo "error: this script knows Linux only, found: $(uname -s)" >&2
    exit 1
fi
IFS=, read -r -a hot <<<"$cpus"
for cpu in "${hot[@]}"; do
    if [[ ! -d /sys/devices/system/cpu/cpu$cpu ]]; then
        echo "error: CPU $cpu does not exist; this machine has $(</sys/devices/system/cpu/online)" >&2
        exit 2
    fi
done
if $apply && [[ $EUID -ne 0 ]]; then
    echo "error: --apply needs root" >&2
    exit 1
fi

failed=0
heading() { printf '\n%s\n' "$*"; }
found() { printf '  found   %s\n' "$*"; }
by_hand() { printf '  by hand %s\n' "$*"; }

# Writes a value to a kernel file, or says that it would.
set_value() {
    local value=$1 path=$2
    if ! $apply; then
        printf '  would   echo %s > %s\n' "$value" "$path"
    elif { printf '%s\n' "$value" >"$path"; } 2>/dev/null; then
        printf '  done    echo %s > %s\n' "$value" "$path"
    else
        printf '  FAILED  echo %s > %s\n' "$value" "$path"
        failed=$((failed + 1))
    fi
}

read_file() { cat "$1" 2>/dev/null || true; }

# The CPUs that are no hot core, as a list with commas.
cold_list() {
    local cpu list=()
    for path in /sys/devices/system/cpu/cpu[0-9]*; do
        cpu=${path##*cpu}
        if [[ ",$cpus," != *",$cpu,"* && "$(read_file "$path/online")" != 0 ]]; then
            list+=("$cpu")
        fi
    done
    local IFS=,
    echo "${list[*]-}"
}
cold=$(cold_list)

heading "Isolation: keeps the scheduler, its ticks and RCU work off the hot cores"
found "isolated: $(read_file /sys/devices/system/cpu/isolated | grep . || echo none), without ticks: $(read_file /sys/devices/system/cpu/nohz_full | grep . || echo none)"
by_hand "kernel command line, then reboot: isolcpus=managed_irq,domain,$cpus nohz_full=$cpus rcu_nocbs=$cpus"
if [[ -z "$cold" ]]; then
    by_hand "every CPU is a hot core: leave at least one for everything else (cold_cores in engine.toml)"
fi

heading "SMT: a busy sibling shares the hot core's caches and execution units"
for cpu in "${hot[@]}"; do
    siblings=$(read_file "/sys/devices/system/cpu/cpu$cpu/topology/thread_siblings_list")
    case "$siblings" in
        '') found "CPU $cpu: the kernel does not say" ;;
        "$cpu") found "CPU $cpu: no sibling" ;;
        *)
            found "CPU $cpu shares a core with CPUs $siblings"
            by_hand "leave the sibling idle, or switch SMT off in the BIOS"
            ;;
    esac
done

heading "Frequency: a governor that saves power adds a wake-up and a slow start"
for cpu in "${hot[@]}"; do
    governor=/sys/devices/system/cpu/cpu$cpu/cpufreq/scaling_governor
    if [[ ! -e $governor ]]; then
        found "CPU $cpu: no governor here; a hypervisor or the BIOS decides"
    elif [[ $(<"$governor") == performance ]]; then
        found "CPU $cpu: performance"
    else
        found "CPU $cpu: $(<"$governor")"
        set_value performance "$governor"
    fi
done
found "idle driver: $(read_file /sys/devices/system/cpu/cpuidle/current_driver | grep . || echo 'none shown'); a core that spins does not sleep, its first packet after a park does"

heading "Interrupts: each one takes the hot core away for microseconds"
moved=0 refused=0 here=0
for irq in /proc/irq/[0-9]*; do
    [[ -e $irq/smp_affinity_list ]] || continue
    effective=$(read_file "$irq/effective_affinity_list")
    effective=${effective:-$(read_file "$irq/smp_affinity_list")}
    hits=false
    for cpu in "${hot[@]}"; do
        # A range such as 0-3 is opened by seq.
        for part in ${effective//,/ }; do
            if [[ $part == *-* ]]; then
                first=${part%-*} last=${part#*-}
                ((cpu >= first && cpu <= last)) && hits=true
            elif [[ $part == "$cpu" ]]; then
                hits=true
            fi
        done
    done
    $hits || continue
    here=$((here + 1))
    if ! $apply || [[ -z "$cold" ]]; then
        continue
    elif { echo "$cold" >"$irq/smp_affinity_list"; } 2>/dev/null; then
        moved=$((moved + 1))
    else
        # Timers, per-CPU interrupts and managed queues cannot be moved from here.
        refused=$((refused + 1))
    fi
done
found "$here interrupts may arrive on a hot core"
if $apply; then
    printf '  done    %s moved to CPUs %s, %s refused by the kernel (per-CPU or managed)\n' "$moved" "${cold:-none}" "$refused"
elif [[ -n "$cold" && $here -gt 0 ]]; then
    printf '  would   echo %s > /proc/irq/N/smp_affinity_list, for each of them\n' "$cold"
fi
if [[ -n "$cold" && -w /proc/irq/default_smp_affinity ]] && $apply; then
    mask=0
    for cpu in ${cold//,/ }; do
        # One word holds 32 CPUs; larger machines need a mask of several words.
        ((cpu < 32)) && mask=$((mask | 1 << cpu))
    done
    ((mask > 0)) && set_value "$(printf '%x' "$mask")" /proc/irq/default_smp_affinity
fi
if pgrep -x irqbalance >/dev/null 2>&1; then
    found "irqbalance runs and moves interrupts back"
    by_hand "IRQBALANCE_BANNED_CPULIST=$cpus in its configuration, or stop it"
fi
by_hand "network card: as many queues as cold CPUs (ethtool -L), their interrupts there too"

heading "Transparent huge pages: khugepaged stops a process to merge its pages"
thp=/sys/kernel/mm/transparent_hugepage/enabled
if [[ ! -e $thp ]]; then
    found "not in this kernel"
elif [[ $(<"$thp") == *'[always]'* ]]; then
    found "$(<"$thp")"
    set_value madvise "$thp"
else
    found "$(<"$thp")"
fi

heading "Clock: the time stamp counter must be the kernel's own choice"
source=$(read_file /sys/devices/system/clocksource/clocksource0/current_clocksource)
found "${source:-unknown}"
if [[ "$source" != tsc ]]; then
    by_hand "find out why the kernel distrusts the TSC (dmesg | grep -i tsc); a hypervisor may forbid it"
fi
by_hand "data age is only as good as the wall clock: chrony or PTP, with its error watched"

heading "Swapping, and the watchdog"
found "swappiness: $(read_file /proc/sys/vm/swappiness)"
if [[ $(read_file /proc/sys/vm/swappiness) != 0 ]]; then
    set_value 0 /proc/sys/vm/swappiness
fi
watchdog=/proc/sys/kernel/nmi_watchdog
if [[ $(read_file $watchdog) == 1 ]]; then
    found "the NMI watchdog interrupts every core"
    set_value 0 $watchdog
fi

if ! $apply; then
    heading "Nothing was changed. With --apply, as root, the lines that begin with 'would' are done, until the next boot."
elif ((failed > 0)); then
    heading "$failed settings were refused by the kernel; see FAILED above."
    exit 1
else
    heading "Done, until the next boot. What stands under 'by hand' was not."
fi
