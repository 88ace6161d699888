#!/usr/bin/env bash
# Simulated days of the control plane for as long as wanted: rising seeds, until the time is over or one fails.
#
#   scripts/simulate.sh --hours 8 [--from SEED]
#
# Prints after each batch what was simulated so far. A failing seed ends it: its last events are printed, and the command
# that replays it. Ctrl-C ends it with a summary. Needs a Rust toolchain; nothing else.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
    sed -n '2,7s/^# \{0,1\}//p' "$0"
    exit "$1"
}

hours=1
from=1
while (($# > 0)); do
    case "$1" in
        --hours | --from)
            if [[ ! "${2:-}" =~ ^[0-9]+(\.[0-9]+)?$ ]]; then
                echo "error: $1 takes a number, not \`${2:-}\`" >&2
                exit 2
            fi
            if [[ "$1" == --hours ]]; then hours=$2; else from=${2%%.*}; fi
            shift 2
            ;;
        --help | -h) usage 0 ;;
        *)
            echo "error: unknown argument \`$1\`" >&2
            usage 2 >&2
            ;;
    esac
done

# The test as a program of its own, so that Ctrl-C ends it and not cargo.
program=$(cargo test --release --test simulation --no-run --message-format=json 2>/dev/null |
    sed -n 's/.*"name":"simulation".*"executable":"\([^"]*\)".*/\1/p' | tail -1)
if [[ ! -x "$program" ]]; then
    cargo test --release --test simulation --no-run
    echo "error: the simulation could not be built" >&2
    exit 1
fi

readonly batch=50
begun=$SECONDS
limit=$(awk -v hours="$hours" 'BEGIN { printf "%d", hours * 3600 }')
seed=$from
total_hours=0
total_steps=0
output=$(mktemp)

summary() {
    rm -f "$output"
    echo "seeds $from..$((seed - 1)): $total_hours simulated hours, $total_steps steps in $((SECONDS - begun)) s"
}
trap summary EXIT
trap 'echo; echo "stopped by hand"; exit 130' INT TERM

while ((SECONDS - begun < limit)); do
    if ! TICKWIRE_STOP=1 TICKWIRE_SEED=$seed TICKWIRE_SEEDS=$batch "$program" >"$output"; then
        cat "$output"
        exit 1
    fi
    read -r _ count _ simulated _ steps _ <"$output"
    seed=$((seed + count))
    total_hours=$((total_hours + simulated))
    total_steps=$((total_steps + steps))
    printf '%6d s: seeds up to %d, %d simulated hours, %d steps, no violation\n' \
        $((SECONDS - begun)) $((seed - 1)) "$total_hours" "$total_steps"
done
