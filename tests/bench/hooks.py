"""What a dispatch costs, as a ratio to a plain call of the same run. `python -m tests.bench.hooks` prints it.

Host and plugins share one CPU, as in `tests.bench.calls`; rounds are interleaved, and the median counts.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import uvloop

from host import ExtensionPoint, Host

ROUNDS = 7
TIMES = 1000
PLUGINS = 4
PLUGIN = """
from plugin_sdk import Plugin

plugin = Plugin()

@plugin.method
def echo(text: str) -> str:
    return text

@plugin.hook("bench.all")
def all_(text: str) -> str:
    return text
"""
ONE = """
@plugin.hook("bench.one")
def one(text: str) -> str:
    return text

@plugin.hook("bench.piped")
def piped(text: str) -> str:
    return text

@plugin.hook("bench.filtered", when={"text": {"glob": "x*"}})
def filtered(text: str) -> str:
    return text
"""
MESSAGE = "x" * 64


async def timed(ask: Callable[[], Awaitable[Any]]) -> float:
    started = time.perf_counter()
    for _ in range(TIMES):
        await ask()
    return (time.perf_counter() - started) / TIMES


async def measure(folders: list[Path], took: dict[str, list[float]]) -> None:
    points = [ExtensionPoint("bench.piped", mode="pipeline"), ExtensionPoint("bench.all")]
    async with Host(plugins=folders, data_dir=folders[0].parent / "data", extension_points=points) as host:
        asks: dict[str, Callable[[], Awaitable[Any]]] = {
            "a call": lambda: host.call("p0", "echo", text=MESSAGE),
            "collect, 1 plugin": lambda: host.hook("bench.one", text=MESSAGE),
            "pipeline, 1 plugin": lambda: host.hook("bench.piped", text=MESSAGE),
            "collect, 1 plugin, a filter": lambda: host.hook("bench.filtered", text=MESSAGE),
            f"{PLUGINS} calls, gathered": lambda: asyncio.gather(
                *(host.call(f"p{n}", "echo", text=MESSAGE) for n in range(PLUGINS))
            ),
            f"collect, {PLUGINS} plugins": lambda: host.hook("bench.all", text=MESSAGE),
        }
        for ask in asks.values():
            await timed(ask)  # warm
        for _ in range(ROUNDS):
            for what, ask in asks.items():
                took.setdefault(what, []).append(await timed(ask))


def main() -> None:
    os.sched_setaffinity(0, {0})
    with tempfile.TemporaryDirectory() as name:
        folders = [Path(name, f"p{n}") for n in range(PLUGINS)]
        for folder in folders:
            folder.mkdir()
            (folder / "main.py").write_text(PLUGIN + (ONE if folder.name == "p0" else ""))
            (folder / "plugin.toml").write_text(
                f'[plugin]\nname = "{folder.name}"\nversion = "1"\n[run]\npython = "main.py"\n'
            )
        for loop, run in (("asyncio", asyncio.run), ("uvloop", uvloop.run)):
            took: dict[str, list[float]] = {}
            run(measure(folders, took))
            base = statistics.median(took["a call"])
            print(f"{loop} (Python {sys.version.split()[0]}, one CPU)")
            for what, rounds in took.items():
                median = statistics.median(rounds)
                print(f"  {what:<28} {median * 1e6:6.1f} us = {median / base:.2f} x a call")


if __name__ == "__main__":
    main()
