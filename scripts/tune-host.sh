#!/usr/bin/env bash
# Prepares a Linux host for hot cores: prints what `tickwire doctor` would have done, and does it only with --apply.
#
#   scripts/tune-host.sh 2,3                 the plan for hot cores on CPUs 2 and 3
#   sudo scripts/tune-host.sh 2,3 --apply    does what stands behind `would`
#
#   --tickwire PROGRAM   the program to ask; otherwise the newest build of this checkout, or the one in PATH
#   --root DIR           works on a copy of a machine's /proc and /sys below a folder
#
# What --apply does lasts until the next boot; the lines behind `undo` take it back before that. Done twice, it does
# nothing the second time. What stands behind `by hand` it leaves alone: the kernel's command line, the firmware, the
# network card, and what a hypervisor decides.
set -euo pipefail

usage() {
    sed -n '2,/^set /s/^# \{0,1\}//p' "$0"
    exit "${1:-2}"
}

fail() {
    echo "error: $1" >&2
    exit "${2:-2}"
}

cpus='' apply=false root='' tickwire=''
while (($# > 0)); do
    case "$1" in
        --apply) apply=true ;;
        --tickwire | --root)
            (($# > 1)) || fail "$1 takes a value"
            if [[ $1 == --root ]]; then root=${2%/}; else tickwire=$2; fi
            shift
            ;;
        -h | --help) usage 0 ;;
        -*) fail "unknown option $1; see --help" ;;
        *)
            [[ -z $cpus ]] || fail "a second list of CPUs: $1"
            cpus=$1
            ;;
    esac
    shift
done
[[ -n $cpus ]] || fail "name the CPUs of the hot cores, as in engine.toml: numbers and ranges with commas between"
if $apply && [[ -z $root && $EUID -ne 0 ]]; then
    fail "--apply needs root" 1
fi

# The newest of the two builds of this checkout, or what is installed.
if [[ -z $tickwire ]]; then
    target=$(cd "$(dirname "$0")/.." && pwd)/target
    for built in "$target/release/tickwire" "$target/debug/tickwire"; do
        if [[ -x $built && (-z $tickwire || $built -nt $tickwire) ]]; then
            tickwire=$built
        fi
    done
    tickwire=${tickwire:-$(type -P tickwire || true)}
    [[ -n $tickwire ]] || fail "no tickwire to ask: cargo build --release, or --tickwire PROGRAM" 1
fi
fixes=$("$tickwire" doctor --fixes --cores "$cpus" ${root:+--root "$root"}) || exit

# The files that may be written: the kernel's own, and nothing that leads out of them.
is_kernels() { [[ $1 =~ ^/(proc|sys)/[A-Za-z0-9_./@:-]+$ && $1 != *..* ]]; }

undo=() boot=() hand=() writes=0 failed=0
while IFS=$'\t' read -r kind check first path was; do
    case "$kind" in
        write | try)
            is_kernels "$path" || fail "$check: $path is no file of the kernel's" 1
            writes=$((writes + 1))
            line="echo $first > $root$path"
            if ! $apply; then
                printf 'would    %s\n' "$line"
            elif { printf '%s\n' "$first" >"$root$path"; } 2>/dev/null; then
                printf 'done     %s\n' "$line"
            elif [[ $kind == try ]]; then
                printf 'refused  %s (bound to its CPU, or managed by its driver)\n' "$line"
                continue
            else
                printf 'FAILED   %s\n' "$line"
                failed=$((failed + 1))
                continue
            fi
            undo+=("echo $was > $root$path")
            ;;
        boot) boot+=("$first") ;;
        hand) hand+=("$check: $first") ;;
        '') ;;
        *) fail "$tickwire says what this script does not know: $kind" 1 ;;
    esac
done <<<"$fixes"

if ((${#boot[@]} > 0)); then
    printf 'by hand  kernel command line, then reboot: %s\n' "${boot[*]}"
fi
for text in ${hand[@]+"${hand[@]}"}; do
    printf 'by hand  %s\n' "$text"
done
for line in ${undo[@]+"${undo[@]}"}; do
    printf 'undo     %s\n' "$line"
done

if ((writes == 0)); then
    echo 'Nothing is left that a file of the kernel could mend.'
elif ! $apply; then
    echo "Nothing was changed. With --apply, as root, what stands behind 'would' is done, until the next boot."
elif ((failed > 0)); then
    echo "$failed of $writes were refused by the kernel: see FAILED."
    exit 1
else
    echo 'Done, until the next boot.'
fi
