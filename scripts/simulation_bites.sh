#!/usr/bin/env bash
# Proves that the simulations bite: breaks one rule of the control plane, or of the books, after the other in a temporary
# copy of this tree and says which seed catches it, and with what words.
#
#   scripts/simulation_bites.sh [PATCH...]        default: every tests/*/bites/*.patch
#
# A patch lies below the test that must catch it: tests/simulation/bites/, tests/books_simulation/bites/. One that no seed
# catches, or that no longer applies, is a failure. TICKWIRE_SEEDS sets how many seeds are tried (default 100, of books 400),
# CARGO which cargo (default: cargo). Needs a Rust toolchain, git, tar and patch.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD

patches=("$@")
if ((${#patches[@]} == 0)); then
    patches=("$root"/tests/*/bites/*.patch)
fi

copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
git ls-files -z --cached --others --exclude-standard | tar --null --files-from=- -cf - | tar -xf - -C "$copy"

# What the tree depends on is built once, here. Not in `target` itself: to cargo the copy is this very package, and a build
# of both at once would take one for the other.
export CARGO_TARGET_DIR="$root/target/bites"
CARGO=${CARGO:-cargo}
seeds_asked="${TICKWIRE_SEEDS:-}"
export TICKWIRE_SEED=1 TICKWIRE_STOP=1

failures=0
for patch in "${patches[@]}"; do
    patch=$(realpath "$patch")
    name=$(basename "$patch" .patch)
    test=$(basename "$(dirname "$(dirname "$patch")")")
    seeds_default=100
    [[ "$test" == books_simulation ]] && seeds_default=400
    export TICKWIRE_SEEDS="${seeds_asked:-$seeds_default}"
    if ! patch -s -p1 -F3 --no-backup-if-mismatch -d "$copy" <"$patch"; then
        echo "$name: does not apply any more"
        failures=$((failures + 1))
        continue
    fi
    log=$(cd "$copy" && $CARGO test --locked --test "$test" 2>&1) && is_caught=false || is_caught=true
    caught=$(grep -m1 -E '^seed [0-9]+ fails' <<<"$log" || true)
    if [[ "$is_caught" == true && -n "$caught" ]]; then
        echo "$name: $caught"
    else
        echo "$name: NOT CAUGHT by seeds 1..$TICKWIRE_SEEDS"
        tail -3 <<<"$log"
        failures=$((failures + 1))
    fi
    patch -s -R -p1 -F3 --no-backup-if-mismatch -d "$copy" <"$patch"
done
((failures == 0))
