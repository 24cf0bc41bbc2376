"""The mailroom under fire: its plugins are killed at random, and so is the mailroom itself.

    python -m tests.samples.mailroom_kills --documents 1000 --seed 7

Everything is real: the application as anybody runs it, its processes as the kernel has them, SIGKILL. What
came out is counted by `sample_plugins.mailroom.audit`, which asks neither the journal nor a plugin.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path

import msgspec
import psutil

from sample_plugins.mailroom.audit import Audit, audit

ROOT = Path(__file__).parents[2]
SOURCES = (ROOT / "sample_plugins" / "mailroom" / "documents", ROOT / "sample_plugins", ROOT / "docs")
KINDS = {".md", ".txt", ".eml", ".html", ".csv", ".json", ".toml"}
CONFIG = """
[defaults.restart]        # so many kills are no fault of theirs: no quarantine, and no long backoff
intensity = 10000
period = "1h"
backoff_max = "200ms"
"""
GIVES_UP_S = 600.0


class Fire(msgspec.Struct, kw_only=True):
    """What happened, and what came of it."""

    audit: Audit
    exit_code: int
    plugin_kills: Counter[str]
    app_kills: int
    took_s: float
    said: str
    """What the mailroom said the last time that it was started."""
    left: list[int]
    """Processes of plugins that are still there."""

    def lines(self) -> list[str]:
        by_plugin = ", ".join(f"{name} {count}" for name, count in sorted(self.plugin_kills.items()))
        return [
            f"documents        {self.audit.documents} in {self.took_s:.0f} s",
            f"plugins killed   {self.plugin_kills.total()} times: {by_plugin}",
            f"mailroom killed  {self.app_kills} times",
            f"lost             {len(self.audit.lost)}",
            f"doubled          {len(self.audit.doubled)}",
            f"processes left   {len(self.left)}",
        ]


def fill(inbox: Path, count: int) -> None:
    """Real documents, over and over, each time under another name."""
    found = sorted({path for source in SOURCES for path in source.rglob("*") if path.suffix in KINDS})
    for number, path in enumerate(islice(cycle(found), count)):
        folder = inbox / f"{number // 100:02}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number:04}-{path.name}").write_bytes(path.read_bytes())


def under_fire(folder: Path, *, documents: int, seed: int, every_s: float = 0.12, app_kills: int = 0) -> Fire:
    """Delivers `documents`. A plugin is killed every `every_s` on average, the mailroom `app_kills` times."""
    luck = random.Random(seed)
    inbox, outbox, config = folder / "inbox", folder / "outbox", folder / "mailroom.toml"
    fill(inbox, documents)
    config.write_text(CONFIG)
    command = [
        sys.executable,
        "-m",
        "sample_plugins.mailroom",
        str(inbox),
        str(outbox),
        "--config",
        str(config),
    ]
    began_at = time.monotonic()
    killed: Counter[str] = Counter()
    met: set[int] = set()
    lives = 0
    while True:
        lives_s = luck.uniform(0.3, 0.5 + documents / 100) if lives < app_kills else GIVES_UP_S
        ends_at = time.monotonic() + lives_s
        lives += 1
        with open(folder / "said", "wb") as said:
            app = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, cwd=folder)
        while app.poll() is None and time.monotonic() < ends_at:
            try:
                app.wait(min(luck.expovariate(1 / every_s), max(0.0, ends_at - time.monotonic())))
            except subprocess.TimeoutExpired:
                plugins = list(plugins_of(app.pid))
                met.update(process.pid for _, process in plugins)
                if plugins:
                    name, victim = luck.choice(plugins)
                    victim.kill()
                    killed[name] += 1
        if app.poll() is not None:
            break
        app.kill()
        app.wait()
    left = [pid for pid in met if is_plugin(pid)]
    return Fire(
        audit=audit(inbox, outbox),
        exit_code=app.returncode,
        plugin_kills=killed,
        app_kills=lives - 1,
        took_s=time.monotonic() - began_at,
        said=(folder / "said").read_text(errors="replace"),
        left=left,
    )


def plugins_of(pid: int) -> Iterator[tuple[str, psutil.Process]]:
    """By name, which is that of the file."""
    try:
        for child in psutil.Process(pid).children():
            command = child.cmdline()
            file = next((word for word in command if word.endswith(".py")), None)
            if file is not None and "plugin_sdk" in command:
                yield Path(file).stem, child
    except psutil.NoSuchProcess:
        return


def is_plugin(pid: int) -> bool:
    try:
        return "plugin_sdk" in psutil.Process(pid).cmdline()
    except psutil.NoSuchProcess:
        return False


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--documents", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--every", type=float, default=0.12, help="seconds between two kills of plugins")
    parser.add_argument("--app-kills", type=int, default=5, help="so often the mailroom itself is killed")
    given = parser.parse_args()
    seed = given.seed if given.seed is not None else random.SystemRandom().randrange(1 << 31)
    print(f"seed             {seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="mailroom-") as folder:
        fire = under_fire(
            Path(folder),
            documents=given.documents,
            seed=seed,
            every_s=given.every,
            app_kills=given.app_kills,
        )
    print("\n".join(fire.lines()))
    if fire.exit_code or not fire.audit.is_clean or fire.left:
        print(
            "\n".join([*fire.audit.lost[:20], *fire.audit.doubled[:20], fire.said[-2000:]]), file=sys.stderr
        )
        sys.exit(1)


if __name__ == "__main__":
    main()
