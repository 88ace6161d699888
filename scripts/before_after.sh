#!/usr/bin/env bash
# Measures what a message cost in an earlier tree and what it costs in this one, side by side in one run.
#
#   scripts/before_after.sh [COMMIT [ROUNDS]]        default: 093a4a7, the last one before the control plane, and 8
#
# Checks the commit out into a temporary folder, gives it this tree's `benches/deliver.rs`, with
# `benches/before/COMMIT.patch` applied where there is one (a tree of another interface needs one), builds both, and lets them
# take turns. `EVERY=N` stamps one message in N, by default 64. Prints for each row the median of the turns'
# least and median nanoseconds and, where valgrind is installed, the instructions of one message, which a noisy neighbour
# does not change, but for the looks of a spinning core at a socket without bytes. Needs a Rust toolchain, git and patch; about five minutes.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
commit=${1:-093a4a7}
rounds=${2:-8}
patch=$root/benches/before/$commit.patch
every=${EVERY:-64}

before=$(mktemp -d)
trap 'rm -rf "$before"; git worktree prune' EXIT
git worktree add --quiet --detach "$before/tree" "$commit"
cp benches/deliver.rs "$before/tree/benches/deliver.rs"
[[ ! -r "$patch" ]] || patch -s -p1 -d "$before/tree" <"$patch"
grep -q '^name = "deliver"' "$before/tree/Cargo.toml" ||
    printf '\n[[bench]]\nname = "deliver"\nharness = false\n' >>"$before/tree/Cargo.toml"

# The path of the bench that a build made.
built() {
    (cd "$1" && CARGO_TARGET_DIR=$2 cargo bench --locked --bench deliver --no-run 2>&1) |
        tee /dev/stderr | sed -n 's/.*Executable.*(\(.*\))$/\1/p'
}
declare -A bench
bench[before]=$(built "$before/tree" "$root/target/before")
bench[after]=$(built "$root" "$root/target")
[[ ${bench[after]} == /* ]] || bench[after]=$root/${bench[after]}
rows=$("${bench[before]}" --test | awk '$1 ~ /\// { print $1 }')

turns=$before/turns
for ((turn = 0; turn < rounds; turn++)); do
    for side in before after; do
        # A copy for each turn: where the kernel happens to put a file's pages costs or saves up to 12 ns of 70, as long as
        # it keeps them.
        cp "${bench[$side]}" "$before/copy.$turn"
        "$before/copy.$turn" --rounds 4 --chunks 150 --every "$every" | awk -v side=$side '$1 ~ /\// { print side, $1, $3, $4 }' >>"$turns"
        rm "$before/copy.$turn"
    done
done

# One row's value of one side: the median over the turns of a column.
median() {
    awk -v side="$1" -v row="$2" -v column="$3" '$1 == side && $2 == row { print $column }' "$turns" |
        sort -n | awk '{ all[NR] = $1 } END { print all[int((NR + 1) / 2)] }'
}

# Instructions of one message of a row: the difference of two lengths. The least of three, for a socket that is looked at
# before its bytes are there adds some.
collected() {
    valgrind --tool=callgrind --callgrind-out-file=/dev/null --collect-atstart=no \
        --toggle-collect='deliver::run' --toggle-collect='deliver::next_chunk' "$1" --row "$2" --chunks "$3" --every "$every" 2>&1 |
        awk '/Collected/ { total = $4 } / messages in the last/ { count = $2 * $(NF - 4) } END { print total, count }'
}
instructions() {
    command -v valgrind >/dev/null || { echo -; return; }
    local short few long many
    for _ in 1 2 3; do
        read -r short few < <(collected "$1" "$2" 10)
        read -r long many < <(collected "$1" "$2" 40)
        echo $(((long - short) / (many - few)))
    done | sort -n | head -1
}

echo "one message, read to empty handler, one in $every stamped: medians of $rounds turns"
printf '%-18s %-7s %8s %8s %14s\n' row tree 'min ns' 'p50 ns' instructions
for row in $rows; do
    for side in before after; do
        printf '%-18s %-7s %8s %8s %14s\n' "$row" $side "$(median $side "$row" 3)" "$(median $side "$row" 4)" \
            "$(instructions "${bench[$side]}" "$row")"
    done
done
