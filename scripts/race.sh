#!/usr/bin/env bash
# Races tickwire against the usual libraries, all in one run on the same messages, and prints a table: ratios first.
#
#   scripts/race.sh [--quick] [--no-avx512] [--json FILE]
#
# --quick: fewer rounds, for a look; --no-avx512: tickwire as on a machine without it; --json: also every row, to a file.
#
# The race is a package of its own in `benches/peers`, with a lock file of its own. Needs a Rust toolchain; the first time
# its dependencies are downloaded and built, which takes some minutes.
set -euo pipefail
case "${1:-}" in
    -h | --help)
        sed -n '2,9s/^# \{0,1\}//p' "$0"
        exit 0
        ;;
esac
package=$(cd "$(dirname "$0")/../benches/peers" && pwd)
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$package/target}"
cargo build --release --locked --manifest-path "$package/Cargo.toml"
exec "$CARGO_TARGET_DIR/release/tickwire-race" "$@"
