"""The main part of the demo: real documents go through the mailroom, whose plugins are killed at random.

It is the application of docs/mailroom.md, run in this process so that the kills can be told in between.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio

import host
import sample_plugins
from host.cli.demo_story import DemoFailed, Story
from host.cli.output import cut, terminal_width
from host.observability.events import HostEvent, StateChanged
from host.supervision.states import SERVING
from sample_plugins.mailroom.audit import audit
from sample_plugins.mailroom.mailroom import Mailroom, files_in

KILLS = 8
MOST_OF_ONE = 2
"""So often is one plugin killed: it would be quarantined if it were more than `restart.intensity`."""
PATIENCE_S = 20.0
ASKED = "second pump"


def show(folder: Path, story: Story) -> dict[str, Any]:
    """What was seen. Raises DemoFailed."""
    inbox, outbox = folder / "inbox", folder / "outbox"
    _fill(inbox)
    total = sum(1 for _ in files_in(inbox))
    story.heading(f"{total} real documents go through a mailroom, whose plugins are killed at random")
    fire = _Fire(total, story)
    fire.mailroom = Mailroom(inbox, outbox, tell=fire.note_document)
    fire.mailroom.host.on_event(fire.note_plugin)
    try:
        hits = anyio.run(fire.work)
    finally:
        fire.mailroom.journal.close()
    seen = audit(inbox, outbox)
    story.say(
        f"  {seen.documents} documents: {len(seen.lost)} lost, {len(seen.doubled)} doubled; "
        f"{fire.killed.total()} plugins killed; the longest took {fire.mailroom.longest_s:.2f} s\n"
        "  (counted in archive, index and ledger, not by the mailroom)"
    )
    if not seen.is_clean:
        raise DemoFailed(f"lost: {seen.lost[:5]}; doubled: {seen.doubled[:5]}", hint="this is a bug of ours")
    story.heading(f"what the index finds for: {ASKED}")
    for hit in hits:
        story.say(cut(f"  {hit['name']:<26} {' '.join(hit['excerpt'].split())}", terminal_width()))
    return {
        "documents": seen.documents,
        "lost": len(seen.lost),
        "doubled": len(seen.doubled),
        "killed": dict(fire.killed),
        "longest_s": round(fire.mailroom.longest_s, 3),
    }


def _fill(inbox: Path) -> None:
    """The documents that ship, and those of the project: in a wheel, its pages about errors."""
    samples, inside = Path(sample_plugins.__file__).parent, Path(host.__file__).parent
    shutil.copytree(samples / "mailroom" / "documents", inbox)
    shutil.copytree(samples / "text_tools" / "documents", inbox / "texts")
    pages = inside / "errors_pages"
    shutil.copytree(pages if pages.is_dir() else inside.parent / "docs", inbox / "docs")


class _Kill:
    """One that is told once the plugin is back."""

    def __init__(self, delivered: int, plugin: str) -> None:
        self._told = f"  {delivered:>3} delivered  kill -9 {plugin}"
        self._at = time.monotonic()
        self._back = ""

    def is_back(self, generation: int) -> None:
        self._back = f"back after {time.monotonic() - self._at:.2f} s as generation {generation}"

    def __str__(self) -> str:
        return f"{self._told:<34} {self._back}"

    def __bool__(self) -> bool:
        return bool(self._back)


class _Fire:
    """Kills a plugin whenever another few documents are delivered, and tells what comes of it."""

    mailroom: Mailroom

    def __init__(self, total: int, story: Story) -> None:
        self._story = story
        self._kill_at = [total * number // (KILLS + 1) for number in range(1, KILLS + 1)]
        self._delivered = 0
        self._kills: dict[str, _Kill] = {}
        """Those that have not been told yet, by plugin, the first one first."""
        self.killed: Counter[str] = Counter()

    async def work(self) -> Any:
        """What the index finds afterwards."""
        async with self.mailroom.host as plugins:
            self._story.say(f"  accept > extract > enrich > deliver: {len(plugins.status().plugins)} plugins")
            await self.mailroom.run(patience_s=PATIENCE_S)
            for kill in self._kills.values():
                self._story.say(str(kill) if kill else f"{kill}not missed any more")
            return await plugins.call("index", "search", words=ASKED, most=3, timeout=PATIENCE_S)

    def note_document(self, what: str, name: str, how: str) -> None:
        if what in ("held", "unread"):
            self._story.say(f"  {what} {name}: {how}")
        self._delivered += what == "delivered"
        if self._kill_at and self._delivered >= self._kill_at[0]:
            self._kill()

    def _kill(self) -> None:
        running = {each.name: each.pid for each in self.mailroom.host.status().plugins if each.pid}
        names = [name for name in running if name not in self._kills and self.killed[name] < MOST_OF_ONE]
        if not names:
            return  # another document, another chance
        del self._kill_at[0]
        name = random.choice(names)
        with suppress(ProcessLookupError):  # it has just ended by itself
            os.kill(running[name], signal.SIGKILL)
        self.killed[name] += 1
        self._kills[name] = _Kill(self._delivered, name)

    def note_plugin(self, event: HostEvent) -> None:
        if not isinstance(event, StateChanged) or event.plugin not in self._kills:
            return
        if event.state in SERVING and event.previous == "starting":
            self._kills[event.plugin].is_back(event.generation)
            while self._kills and (first := next(iter(self._kills.items())))[1]:
                self._story.say(str(first[1]))
                del self._kills[first[0]]
