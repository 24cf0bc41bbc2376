"""How long a person waits for `outboard status`: the whole process, beside `python -c pass` of the same run.

Rounds are interleaved, so that a busy machine is busy for both. `make bench-cli` runs it; exits with 1
if even the fastest round took longer than 120 ms.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.support.daemon import SAMPLES, Daemon

ROUNDS = 21
GATE_MS = 120.0


def took_ms(command: Sequence[str], env: dict[str, str]) -> float:
    started = time.perf_counter()
    # Its output is read: waiting for a process alone is done by polling, which rounds up to 64 ms.
    subprocess.run(command, env=env, stdout=subprocess.PIPE, check=True, timeout=30)
    return (time.perf_counter() - started) * 1000


def main() -> int:
    script = str(Path(sys.executable).with_name("outboard"))
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "outboard status": [script, "status"],
        "outboard call": [script, "call", "hello", "greet", "name=Ada"],
        "outboard explain OB401": [script, "explain", "OB401"],
    }
    took: dict[str, list[float]] = {name: [] for name in commands}
    with tempfile.TemporaryDirectory() as home, Daemon(Path(home), SAMPLES / "hello") as daemon:
        env = {key: value for key, value in daemon.env.items() if key != "PYTHONWARNINGS"}
        for command in commands.values():  # once, for what is cached
            took_ms(command, env)
        for _ in range(ROUNDS):
            for name, command in commands.items():
                took[name].append(took_ms(command, env))
    least = statistics.median(took["python -c pass"])
    print(f"{'':<24} {'min':>8} {'median':>8}   of python -c pass")
    for name, times in took.items():
        middle = statistics.median(times)
        print(f"{name:<24} {min(times):>5.1f} ms {middle:>5.1f} ms   {middle / least:>5.1f}")
    return int(min(took["outboard status"]) > GATE_MS)


if __name__ == "__main__":
    sys.exit(main())
