#!/usr/bin/env bash
# Profiles one hot thread of a running tickwire with perf, and prints where its time goes.
#
#   scripts/profile.sh [--seconds N] [--core CPU] [--pid PID] [--out FILE]
#
#   --seconds N   how long to record                    [default: 10]
#   --core CPU    which hot thread, by its CPU          [default: the only one; asked for where there are several]
#   --pid PID     which process                         [default: the only one called tickwire]
#   --out FILE    where perf's record is kept           [default: tickwire-CPU.perf.data in the temporary folder]
#
# Stacks come from frame pointers, which the release profile does not keep: what is shown is where the thread is, by
# function and line, not who called it. A spinning core that waits shows recv and epoll_wait: that is its idle state.
set -euo pipefail

usage() {
    sed -n '2,12s/^# \{0,1\}//p' "$0"
    exit "${1:-2}"
}

seconds=10 core='' pid='' out=''
while (($#)); do
    case "$1" in
        -h | --help) usage 0 ;;
        --seconds | --core | --pid | --out)
            if (($# < 2)); then
                echo "error: $1 needs a value" >&2
                usage
            fi
            declare "${1#--}=$2"
            shift 2
            ;;
        *)
            echo "error: unknown argument $1" >&2
            usage
            ;;
    esac
done
for number in "$seconds" ${core:+"$core"} ${pid:+"$pid"}; do
    if [[ ! "$number" =~ ^[0-9]+$ ]]; then
        echo "error: not a whole number: $number" >&2
        exit 2
    fi
done

if ! command -v perf >/dev/null; then
    echo "error: perf is not installed. Debian: apt install linux-perf. Ubuntu: apt install linux-tools-\$(uname -r)." \
        "Fedora: dnf install perf. It must fit the running kernel, $(uname -r)." >&2
    exit 1
fi

if [[ -z "$pid" ]]; then
    mapfile -t pids < <(pgrep -x tickwire || true)
    if ((${#pids[@]} != 1)); then
        echo "error: ${#pids[@]} processes are called tickwire; start one, or name it with --pid (${pids[*]-})" >&2
        exit 1
    fi
    pid=${pids[0]}
fi
if [[ ! -d /proc/$pid/task ]]; then
    echo "error: there is no process $pid" >&2
    exit 1
fi

# Hot threads are called hot-CPU.
declare -A thread_of=()
for task in /proc/"$pid"/task/*; do
    name=$(cat "$task/comm" 2>/dev/null || true)
    if [[ $name == hot-* ]]; then
        thread_of[${name#hot-}]=${task##*/}
    fi
done
if [[ -z "$core" ]]; then
    if ((${#thread_of[@]} != 1)); then
        echo "error: process $pid has hot threads on CPUs (${!thread_of[*]}): name one with --core" >&2
        exit 1
    fi
    core=${!thread_of[*]}
fi
thread=${thread_of[$core]-}
if [[ -z "$thread" ]]; then
    echo "error: process $pid has no hot thread on CPU $core, it has: ${!thread_of[*]}" >&2
    exit 1
fi
out=${out:-${TMPDIR:-/tmp}/tickwire-$core.perf.data}

echo "recording thread $thread (hot-$core of process $pid) for $seconds s into $out" >&2
if ! perf record --quiet --tid "$thread" --freq 4999 --output "$out" -- sleep "$seconds"; then
    echo "error: perf could not record: kernel.perf_event_paranoid is $(cat /proc/sys/kernel/perf_event_paranoid);" \
        "it needs 1 or less, root, or a machine whose hypervisor lends out its counters" >&2
    exit 1
fi
perf report --input "$out" --stdio --percent-limit 0.5 --sort symbol |
    sed -E -e '/^#/d' -e '/^$/d' -e 's/( +-)* *$//'
echo "lines: perf annotate --input $out --stdio" >&2
