"""The way of a document through four extension points, and back to where it was when one of them fails.

Nothing here knows a plugin by name. What is not known to be done is done again, and does no harm the second
time: the journal says how far a document is, and whoever delivers knows what it has.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import msgspec

from host import (
    DeadlineExceeded,
    ExtensionPoint,
    HookFailed,
    Host,
    OutboardError,
    PluginBusy,
    PluginCrashed,
    PluginUnavailable,
)
from sample_plugins.mailroom.journal import Claim, Journal
from sample_plugins.mailroom.letters import Document, Parcel

PLUGINS = Path(__file__).with_name("plugins")
POINTS = (
    ExtensionPoint("document.accept", mode="first", type=str, on_error="fail", timeout_s=10),
    ExtensionPoint("document.extract", mode="pipeline", type=Document, on_error="fail", timeout_s=10),
    ExtensionPoint("document.enrich", mode="collect", type=dict[str, Any], on_error="skip", timeout_s=5),
    ExtensionPoint("document.deliver", mode="broadcast", on_error="skip", timeout_s=10),
)
SIDE_BY_SIDE = 8
TRIES = 5
"""So often may plugins say that they cannot do a document; as often as you like that they cannot just now."""
NOT_NOW = (PluginUnavailable, PluginCrashed, PluginBusy, DeadlineExceeded)
PACE_S, LOOK_S, LONGEST_DELAY_S = 0.02, 0.25, 5.0

Tell = Callable[[str, str, str], None]
"""What became of a document (`delivered`, `put back`, `held`, `unread`), its name, and how or why."""


def files_in(inbox: Path) -> Iterator[tuple[str, Path]]:
    """By name. Hidden files are left alone; so whoever writes one may hide it until it is whole."""
    for file in sorted(inbox.rglob("*")):
        path = file.relative_to(inbox)
        if not any(part.startswith(".") for part in path.parts) and file.is_file():
            yield str(path).encode(errors="replace").decode(), file


class CannotBegin(Exception):
    """Nobody knows what a plugin does."""


class Mailroom:
    """Raises BlockingIOError if another one delivers into `outbox`."""

    def __init__(self, inbox: Path, outbox: Path, *, tell: Tell, config: Path | None = None) -> None:
        self.inbox, self.tell = inbox, tell
        self.longest_s = 0.0
        """From when a document was first tried until everybody had it."""
        self.unread: set[str] = set()
        """Files that are there and cannot be read."""
        outbox = outbox.absolute()  # plugins have a working folder of their own
        self.journal = Journal(outbox)
        self.host = Host(
            config=config,
            plugins=[PLUGINS],
            data_dir=outbox / "plugins",
            cache_dir=outbox / "cache",
            extension_points=POINTS,
            services={"mailroom.lookup": self.journal.id_of},
        )

    async def run(self, *, watch: bool = False, patience_s: float = 60.0) -> None:
        """Until every document is delivered or held, or nothing moves for `patience_s`; or for ever.

        The host has to be entered.
        """
        await self._meet_everybody(patience_s)
        async with anyio.create_task_group() as tasks:
            for _ in range(SIDE_BY_SIDE):
                tasks.start_soon(self._work)
            self._moved_at = time.monotonic()
            while True:
                self.look_into_inbox()
                is_idle = self.journal.counts().keys().isdisjoint(("taken", "sealed"))
                if not watch and (is_idle or time.monotonic() > self._moved_at + patience_s):
                    break
                await anyio.sleep(LOOK_S)
            tasks.cancel_scope.cancel()

    async def _meet_everybody(self, patience_s: float) -> None:
        """A plugin that has never run has told nobody what it is for, and documents would pass it by."""
        give_up_at = time.monotonic() + patience_s
        while strangers := [
            each for each in self.host.status().plugins if not each.hooks and each.state != "disabled"
        ]:
            for each in strangers:
                if each.state in ("quarantined", "failed") or time.monotonic() > give_up_at:
                    raise CannotBegin(f"{each.name} has never run, it is {each.state}: {each.reason}")
                if each.start_mode == "lazy":
                    with suppress(PluginUnavailable):
                        await self.host.start(each.name)
            await anyio.sleep(PACE_S)

    def look_into_inbox(self) -> None:
        for name, file in files_in(self.inbox):
            try:
                self.journal.take(file, name)
                self.unread.discard(name)
            except OSError as error:
                if name not in self.unread:
                    self.tell("unread", name, str(error))
                self.unread.add(name)

    async def _work(self) -> None:
        while True:
            claim = self.journal.claim()
            if claim is None:
                await anyio.sleep(PACE_S)
                continue
            try:
                await self._carry(claim)
            except OutboardError as error:
                self._put_back(claim, error.outcome.errors[-1] if isinstance(error, HookFailed) else error)

    async def _carry(self, claim: Claim) -> None:
        """All of its way, or what is left of it. Raises OutboardError where it ends too early."""
        if claim.parcel is None:
            media = (await self.host.hook("document.accept", letter=claim.letter)).value
            if media is None:
                self._hold(claim, "nobody accepts it")
                return
            claim.parcel = await self._open(claim, media)
            self.journal.note(claim, state="sealed", parcel=msgspec.json.encode(claim.parcel))
        # Whoever has signed for it is not asked again: their filters look at the receipts.
        outcome = await self.host.hook("document.deliver", parcel=claim.parcel, receipts=claim.receipts)
        signed = {plugin: str(receipt) for plugin, receipt, error in outcome.results if error is None}
        self.journal.note(claim, receipts=msgspec.json.encode(claim.receipts | signed))
        if outcome.errors:
            raise outcome.errors[0]
        self.journal.finish(claim)
        self._moved_at, took_s = time.monotonic(), time.time() - claim.begun_at
        self.longest_s = max(self.longest_s, took_s)
        without = f" (without {', '.join(claim.parcel.missing)})" if claim.parcel.missing else ""
        self.tell("delivered", claim.letter.name, f"{took_s:.2f} s  {claim.parcel.document.title}{without}")

    async def _open(self, claim: Claim, media: str) -> Parcel:
        letter = claim.letter
        document = Document(id=letter.id, name=letter.name, path=letter.path, media=media)
        document = (await self.host.hook("document.extract", document=document)).value
        found = await self.host.hook("document.enrich", document=document)
        notes = {key: value for note in found.value for key, value in note.items()}
        return Parcel(
            document=document, notes=notes, missing={str(each.plugin): str(each) for each in found.errors}
        )

    def _put_back(self, claim: Claim, error: OutboardError) -> None:
        tries, delay_s = claim.tries + 1, min(LONGEST_DELAY_S, 0.1 * 2.0 ** min(claim.tries, 9))
        if tries >= TRIES and not isinstance(error, NOT_NOW):
            self._hold(claim, str(error))
        else:
            self.journal.note(claim, tries=tries, reason=str(error), due_at=time.time() + delay_s)
            self.tell("put back", claim.letter.name, str(error))

    def _hold(self, claim: Claim, reason: str) -> None:
        self.journal.note(claim, state="held", reason=reason)
        self.tell("held", claim.letter.name, reason)
