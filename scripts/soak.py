#!/usr/bin/env python3
"""Soaks the engine: many messages for a long time, none lost, memory flat.

    tickwire sim --rate N ──ws──► tickwire run --json   (two connections: binance-spot and bybit-linear)
         │ served VENUE {..}           │ one report an interval; /proc/PID/status: VmRSS
         └──────────── compared ───────┘

The exchange outlives the run, so what it counts is final when it is compared. The engine closes by the closing handshake and
reads until the exchange's answer, so that nothing is under way at the end: what was sent and what was received must be equal.

Exit codes: 0 all well; 1 something was lost, refused or grew; 2 it could not be run.

    cargo build --release && scripts/soak.py
    scripts/soak.py --binary target/debug/tickwire --rate 1000 --seconds 15
"""

import argparse
import json
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
import time

VENUES = {
    "binance-spot": '["trade", "bookTicker", "depth@100ms"]',
    "bybit-linear": '["publicTrade", "orderbook.1", "orderbook.50", "tickers"]',
}
SYMBOLS = '["BTCUSDT", "ETHUSDT", "SOLUSDT"]'

# Resident memory may grow by this part of what it was once warm.
GROWTH_MAX = 0.05

# What the allocator and the kernel may add without a leak: a few pages of stacks and arenas touched late.
GROWTH_KIB_MIN = 512


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    root = pathlib.Path(__file__).resolve().parent.parent
    parser.add_argument("--binary", type=pathlib.Path, default=root / "target/release/tickwire", help="the program")
    parser.add_argument("--rate", type=float, default=10_000, help="messages a second of each connection")
    parser.add_argument("--seconds", type=float, default=60, help="how long the engine runs, 5 or more")
    parser.add_argument("--idle", choices=["park", "yield", "spin"], default="park", help="how the hot core waits")
    parser.add_argument("--tls", action="store_true", help="by wss")
    given = parser.parse_args()
    if not given.binary.is_file():
        parser.error(f"{given.binary}: no such file; allowed is a built tickwire: cargo build --release")
    if given.seconds < 5 or given.rate <= 0:
        parser.error(f"--seconds {given.seconds} --rate {given.rate}: allowed are 5 seconds or more, and a rate above 0")
    return given


def resident_kib(pid):
    try:
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:")), None)


def configs(folder, idle):
    """Writes the exchange files and the engine's; gives their paths."""
    paths = []
    for venue, channels in VENUES.items():
        path = folder / f"{venue}.toml"
        path.write_text(
            f'[[connection]]\nname = "{venue}"\nvenue = "{venue}"\nsymbols = {SYMBOLS}\nchannels = {channels}\n'
        )
        paths.append(str(path))
    engine = folder / "engine.toml"
    engine.write_text(f'[[core]]\nidle = "{idle}"\n')
    return paths + ["--engine", str(engine)]


def soak(given, folder):
    """Runs both processes. Gives the reports, the exchange's counters, the memory samples and what stderr said."""
    words = [given.binary, "sim", "--rate", str(given.rate), "--venues", ",".join(VENUES)]
    words += ["--tls"] if given.tls else []
    sim_errors = (folder / "sim.stderr").open("w+")
    sim = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=sim_errors, text=True)
    run_errors = (folder / "run.stderr").open("w+")
    run = None
    try:
        endpoints = folder / "endpoints.json"
        endpoints.write_text(sim.stdout.readline())
        words = [given.binary, "run", *configs(folder, given.idle), "--endpoints", str(endpoints), "--json"]
        words += ["--interval", "1", "--duration", str(given.seconds)]
        run = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=run_errors, text=True)
        started, samples, reports = time.monotonic(), [], []

        def sample():
            while (kib := resident_kib(run.pid)) is not None:
                samples.append((time.monotonic() - started, kib))
                time.sleep(0.5)

        threading.Thread(target=sample, daemon=True).start()
        for line in run.stdout:
            reports.append(json.loads(line))
        code = run.wait(timeout=10)
        sim.send_signal(signal.SIGINT)
        sim.wait(timeout=10)
    finally:
        for process in filter(None, (run, sim)):
            if process.poll() is None:
                process.kill()
                process.wait()
    sim_errors.seek(0)
    run_errors.seek(0)
    served = [line.split(" ", 2) for line in sim_errors if line.startswith("served ")]
    counters = {venue: json.loads(text) for _, venue, text in served}
    return code, reports, counters, samples, run_errors.read()


def memory(samples, seconds, faults):
    """Resident memory at 10 s (or a third of a short run), the middle and the end, of the samples nearest."""
    at = [min(10.0, seconds / 3), seconds / 2, seconds - 0.75]
    marks = [min(samples, key=lambda sample: abs(sample[0] - moment)) for moment in at]
    for name, (moment, kib) in zip(["warm", "middle", "end"], marks):
        print(f"memory {name:6} at {moment:6.1f} s: {kib} KiB")
    warm, end = marks[0][1], marks[-1][1]
    print(f"memory grew by {end - warm} KiB, {100 * (end - warm) / warm:.2f} %")
    if end - warm > max(GROWTH_MAX * warm, GROWTH_KIB_MIN):
        faults.append(f"memory grew from {warm} to {end} KiB: at most {100 * GROWTH_MAX:.0f} % is allowed")


def messages(given, last, counters, faults):
    for connection in last["connections"]:
        name = connection["name"]
        sent, received = counters[name]["messages_sent"], connection["frames"]
        print(f"{name}: the exchange sent {sent}, received {received}, {connection['events']} events")
        if received != sent:
            faults.append(f"{name}: {sent - received} of {sent} messages lost: allowed is 0")
        expected = given.rate * (given.seconds - 3)
        if received < expected:
            faults.append(f"{name}: {received} messages: at least {expected:.0f} are due at this rate")
        if connection["state"] != "Ready":
            faults.append(f"{name}: {connection['state']} at the end: allowed is Ready; {connection['last_error']}")
        for key in ["unparsed", "unrouted", "tier_two", "reconnects"]:
            if connection[key]:
                faults.append(f"{name}: {key} {connection[key]}: allowed is 0")
        for key in ["slow_clients_dropped", "rate_limit_closes", "request_errors"]:
            if counters[name][key]:
                faults.append(f"{name}: the exchange counted {key} {counters[name][key]}: allowed is 0")
        if counters[name]["messages_late"]:
            print(f"{name}: the exchange left {counters[name]['messages_late']} messages out: it fell behind its own rate")
        for key in ["read_to_handler_ns", "visit_gap_ns", "venue_age_ms"]:
            print(f"{name}: {key} " + " ".join(f"{point} {value}" for point, value in connection[key].items()))


def threads(given, last, faults):
    for thread in last["hot_threads"]:
        print("hot thread: " + ", ".join(f"{key} {value}" for key, value in thread.items()))
        if thread["allocations"] and not given.tls:
            faults.append(f"core {thread['core']}: {thread['allocations']} allocations: allowed is 0 over ws")


def main():
    given = arguments()
    with tempfile.TemporaryDirectory(prefix="tickwire-soak-") as folder:
        code, reports, counters, samples, errors = soak(given, pathlib.Path(folder))
    if code != 0 or not reports or not reports[-1]["final"] or set(counters) != set(VENUES):
        print(errors, file=sys.stderr)
        print(f"soak: the run exited with {code} after {len(reports)} reports; served: {list(counters)}", file=sys.stderr)
        return 2
    faults = []
    messages(given, reports[-1], counters, faults)
    threads(given, reports[-1], faults)
    memory(samples, given.seconds, faults)
    for fault in faults:
        print(f"FAULT {fault}")
    print(f"soak: {given.rate:.0f} messages/s on each of {len(VENUES)} connections for {given.seconds:.0f} s: "
          + ("all well" if not faults else f"{len(faults)} faults"))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
