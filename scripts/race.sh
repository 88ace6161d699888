#!/usr/bin/env bash
# Races tickwire against the usual libraries, all in one run on the same messages, and prints tables: ratios first.
#
#   scripts/race.sh [--quick] [--no-avx512] [--only WORK,..] [--json FILE] [--svg FILE]
#
# --quick: a tenth of the rounds, for a look: about a minute once it is built, and within ten on any two CPUs.
# --no-avx512: tickwire as on a machine without it.
# --only: frame, tls, decode, "decode recorded", cold (a message alone), path (beside decoding alone), wire (loopback, ws and
# wss), throughput, book (recorded changes, kept). What is recorded needs TICKWIRE_FRAMES, which names the folder with it.
# --json: also every row, to a file. --svg: also the distributions of the latencies, as a picture.
#
# The race is a package of its own in `benches/peers`, with a lock file of its own. Needs a Rust toolchain and a C compiler;
# the first time its dependencies are downloaded and built, which takes some minutes. Over loopback two threads take a CPU
# each, for a fifth of a second at a time at a real-time priority where that is allowed (root, or `ulimit -r`).
set -euo pipefail
case "${1:-}" in
    -h | --help)
        sed -n '2,14s/^# \{0,1\}//p' "$0"
        exit 0
        ;;
esac
package=$(cd "$(dirname "$0")/../benches/peers" && pwd)
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$package/target}"
cargo build --release --locked --manifest-path "$package/Cargo.toml"
exec "$CARGO_TARGET_DIR/release/tickwire-race" "$@"
