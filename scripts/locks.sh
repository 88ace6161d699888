#!/usr/bin/env bash
# Counts the locked instructions that the hot core executes for one message, from its bytes to its handler, under valgrind.
#
#   scripts/locks.sh [ROW...]           every row of benches/deliver.rs, or these; fails where a message has one
#
# A lock that is free costs no system call; but to take one, to count a reference or to fence takes an instruction that waits
# for all stores before it: one with a lock prefix, an exchange with memory, or mfence. Each row is run twice, the second time with
# more messages: what both have in common (the start, a chunk's own, the end) is not a message's. Built as the tests are: how
# often an atomic operation is executed does not depend on what is optimised. Needs a Rust toolchain, valgrind, objdump, python3.
set -euo pipefail
cd "$(dirname "$0")/.."
case "${1:-}" in
    -h | --help)
        sed -n '2,9s/^# \{0,1\}//p' "$0"
        exit 0
        ;;
esac
for tool in valgrind objdump python3; do
    command -v "$tool" >/dev/null || {
        echo "error: $tool is not installed" >&2
        exit 2
    }
done

program=$(cargo test --locked --bench deliver --no-run 2>&1 | tee -a /dev/stderr |
    sed -n 's/.*Executable.*(\(.*\))$/\1/p')
[[ -x "$program" ]] || {
    echo "error: the build named no program" >&2
    exit 2
}
rows=("$@")
((${#rows[@]} > 0)) || mapfile -t rows < <("$program" --test | awk '$1 ~ /\// { print $1 }')

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for row in "${rows[@]}"; do
    for chunks in 2 6; do
        # A profile, and how many messages it is of.
        valgrind --tool=callgrind --dump-instr=yes --collect-atstart=no --toggle-collect='deliver::run' \
            --toggle-collect='deliver::next_chunk' --callgrind-out-file="$work/profile.${row//\//-}.$chunks" \
            "$program" --row "$row" --chunks "$chunks" --every 0 2>"$work/log" >"$work/said.${row//\//-}.$chunks" || {
            cat "$work/log" >&2
            exit 2
        }
    done
done
python3 - "$work" "${rows[@]}" <<'PYTHON'
import collections
import re
import subprocess
import sys

work, rows = sys.argv[1], sys.argv[2:]


def executed(path):
    """How often each instruction of each object was executed. Source: the format of callgrind's profiles."""
    counts, objects, names = collections.Counter(), {}, {}
    functions, at, thing, function, is_call = {}, 0, "", "", False
    with open(path, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            name = re.match(r"(c?ob|c?fn)=\((\d+)\)(?: (.*))?", line)
            if name:
                kind, number, text = name.groups()
                known = objects if kind.endswith("ob") else names
                if text:
                    known[number] = text
                if kind == "ob":
                    thing = known[number]
                if kind == "fn":
                    function = known[number]
            elif line.startswith("calls="):
                is_call = True
            elif line[0] in "0123456789+-*":
                position, _, *cost = line.split()
                if position[0] in "+-":
                    at += int(position[0] + str(int(position[1:], 0)))
                elif position != "*":
                    at = int(position, 0)
                # What stands behind a call is the callee's.
                if not is_call and cost:
                    counts[thing, at] += int(cost[0])
                    functions[thing, at] = function
                is_call = False
    return counts, functions


def code_of(thing, cache={}):
    """The instructions of an object, by their addresses."""
    if thing not in cache:
        text = subprocess.run(
            ["objdump", "-d", "--no-show-raw-insn", thing], check=True, capture_output=True, text=True
        ).stdout
        lines = re.findall(r"^\s*([0-9a-f]+):\t([^\n]*)$", text, re.MULTILINE)
        cache[thing] = {int(at, 16): code for at, code in lines}
    return cache[thing]


def is_locked(code):
    return re.match(r"lock |xchg .*\(|mfence", code) is not None


failed = False
for row in rows:
    file = row.replace("/", "-")
    profiles = [executed(f"{work}/profile.{file}.{chunks}") for chunks in (2, 6)]
    messages = []
    for chunks in (2, 6):
        with open(f"{work}/said.{file}.{chunks}", encoding="utf-8") as said:
            count, of_each = map(int, re.search(r": (\d+) chunks, (\d+) messages", said.read()).groups())
            messages.append(count * of_each)
    (few, _), (many, functions) = profiles
    extra = {at: many[at] - few[at] for at in many if at[0].startswith("/") and many[at] != few[at]}
    more = messages[1] - messages[0]
    code = {at: code_of(at[0])[at[1]] for at in extra if at[1] in code_of(at[0])}
    instructions = sum(extra.values()) / more
    known = sum(extra[at] for at in code) / more
    found = {at: extra[at] for at in code if is_locked(code[at])}
    each = sum(found.values()) / more
    verdict = ""
    # Where the profile's addresses were not the object's, none that is locked would be found, either.
    if instructions < 100 or known < 0.99 * instructions:
        verdict, failed = f"  BUT {known:.1f} OF THEM ARE KNOWN", True
    elif each >= 0.01:
        verdict, failed = "  LOCKED", True
    print(f"{row:<20} {each:8.4f} locked of {instructions:9.1f} instructions a message{verdict}")
    for at, count in sorted(found.items(), key=lambda item: -item[1])[:5]:
        print(f"    {count / more:8.4f} {code[at]} in {functions[at]}")
sys.exit(failed)
PYTHON
