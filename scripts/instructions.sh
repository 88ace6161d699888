#!/usr/bin/env bash
# Counts the instructions of one message under valgrind and compares them with the committed figures.
#
#   scripts/instructions.sh             fails where a count has grown by more than TOLERANCE percent, by default 2
#   scripts/instructions.sh --renew     writes what it counts as the figures to come: benches/instructions.expected
#
# A count that has shrunk by as much is named, too, and does not fail: renew the figures with the change that earned it. What
# is counted is `benches/instructions.rs`, built as a release is. Needs a Rust toolchain and valgrind. Counts are of one
# compiler, whose version stands in the file's first line: those of another one are shown beside them, and not judged.
set -euo pipefail
cd "$(dirname "$0")/.."
expected=benches/instructions.expected
tolerance=${TOLERANCE:-2}
case "${1:-}" in
    -h | --help)
        sed -n '2,9s/^# \{0,1\}//p' "$0"
        exit 0
        ;;
    "" | --renew) ;;
    *)
        echo "error: unknown argument $1: --renew, --help, or nothing" >&2
        exit 2
        ;;
esac
command -v valgrind >/dev/null || {
    echo "error: valgrind is not installed" >&2
    exit 2
}

[[ "${1:-}" == --renew || -r "$expected" ]] || {
    echo "error: there is no $expected to compare with: --renew writes it" >&2
    exit 2
}

program=$(cargo bench --locked --bench instructions --no-run 2>&1 | tee -a /dev/stderr |
    sed -n 's/.*Executable.*(\(.*\))$/\1/p')
[[ -x "$program" ]] || {
    echo "error: the build named no program" >&2
    exit 2
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$program" >"$work/rows"
{
    printf '# Instructions of one message, by scripts/instructions.sh: %s\n' "$(rustc --version)"
    while read -r row messages; do
        valgrind --tool=callgrind --collect-atstart=no --toggle-collect='*instructions::counted*' \
            --callgrind-out-file="$work/counts" "$program" --row "$row" >/dev/null 2>"$work/log" || {
            cat "$work/log" >&2
            exit 2
        }
        count=$(sed -n 's/^\(totals\|summary\): //p' "$work/counts" | head -n 1)
        awk -v row="$row" -v count="${count:-0}" -v messages="$messages" \
            'BEGIN { printf "%-64s %9.1f\n", row, count / messages }'
    done <"$work/rows"
} >"$work/found"

if [[ "${1:-}" == --renew ]]; then
    cp "$work/found" "$expected"
    cat "$expected"
    exit 0
fi
is_judged=1
[[ "$(head -n 1 "$expected")" == "$(head -n 1 "$work/found")" ]] || {
    echo "note: not judged, the figures are of another compiler: $(head -n 1 "$expected")" >&2
    is_judged=0
}
awk -v tolerance="$tolerance" -v is_judged="$is_judged" '
    /^#/ { next }
    NR == FNR { expected[$1] = $2; next }
    !($1 in expected) { print $1 ": not among the expected figures"; is_other = 1; next }
    {
        change = 100 * ($2 / expected[$1] - 1)
        verdict = ""
        if ($2 <= 0) { verdict = "  NOTHING COUNTED"; failed = 1 }
        else if (change > tolerance) { verdict = "  GROWN"; failed = 1 }
        else if (change < -tolerance) { verdict = "  shrunk: renew the figures" }
        printf "%-64s %9.1f, expected %9.1f, %+6.2f %%%s\n", $1, $2, expected[$1], change, verdict
        delete expected[$1]
    }
    END {
        for (row in expected) { print row ": expected, and not counted"; is_other = 1 }
        exit is_other || (is_judged && failed)
    }' "$expected" "$work/found"
