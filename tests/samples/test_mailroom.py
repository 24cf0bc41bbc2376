"""The mailroom as anybody runs it, and as a program that somebody breaks on purpose."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import anyio
import msgspec
import pytest

from sample_plugins.mailroom import mailroom as application
from sample_plugins.mailroom.audit import audit
from sample_plugins.mailroom.journal import Journal
from sample_plugins.mailroom.letters import Document, Parcel
from sample_plugins.mailroom.mailroom import CannotBegin, Mailroom, files_in
from tests.support.daemon import Done, eventually

HERE = Path(application.__file__).parent
DOCUMENTS = HERE / "documents"


def command(*words: str | Path) -> list[str | Path]:
    return [sys.executable, "-W", "error", "-m", "sample_plugins.mailroom", *words]


def run(*words: str | Path) -> Done:
    ran = subprocess.run(command(*words), capture_output=True, timeout=50, check=False)
    return Done(ran.returncode, ran.stdout.decode(), ran.stderr.decode())


# -- as anybody runs it ------------------------------------------------------------------------------


def test_every_document_that_ships_is_delivered_once_and_by_a_second_run_what_is_new(tmp_path: Path) -> None:
    inbox, out = tmp_path / "in", tmp_path / "out"
    shutil.copytree(DOCUMENTS, inbox)
    done = run(inbox, out)
    assert (done.code, done.err) == (0, "")
    assert "12 documents: 12 delivered; the longest took " in done.out
    assert done.out.count("delivered   ") == 12
    seen = audit(inbox, out)
    assert (seen.documents, seen.lost, seen.doubled) == (12, [], [])

    (inbox / "watch.md").touch()
    (inbox / "faro.txt").write_text("Otra luz, y no la misma.")  # what is edited is another document
    (inbox / "new.md").write_text("# New")
    (inbox / ".hidden.md").write_text("# Not whole yet")
    again = run(inbox, out)
    assert sorted(line.split()[1] for line in again.out.splitlines()[:-1]) == ["faro.txt", "new.md"]
    assert "14 documents: 14 delivered" in again.out


def test_what_nobody_can_do_is_held_and_tried_again_another_time(tmp_path: Path) -> None:
    inbox, out = tmp_path / "in", tmp_path / "out"
    inbox.mkdir()
    (inbox / "a.png").write_bytes(b"\x89PNG\0")
    (inbox / "a.json").write_text('{"tide": ')
    (inbox / "a.md").write_text("# A")
    (inbox / "large.txt").write_text("tide " * 3_500_000)
    done = run(inbox, out)
    assert done.code == 1
    assert "4 documents: 1 delivered, 3 held" in done.out
    assert "large.txt" in done.err
    assert "nobody accepts it" in done.err
    assert "JSONDecodeError" in done.err
    (inbox / "a.json").unlink()  # it is in the spool: taken is taken
    assert "4 documents: 1 delivered, 3 held" in run(inbox, out).out


def with_few_plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that mailrooms of this process take them from: those that plain documents need."""
    plugins = tmp_path / "plugins"
    plugins.mkdir()
    for name in ("plain", "tidy", "language", "archive", "index", "ledger"):
        shutil.copy(HERE / "plugins" / f"{name}.py", plugins)
    monkeypatch.setattr(application, "PLUGINS", plugins)
    return plugins


def test_a_file_that_cannot_be_read_is_told_once_and_is_not_called_delivered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox = tmp_path / "in"
    inbox.mkdir()
    (inbox / "a.md").write_text("# A")
    (inbox / "b.md").write_text("# B")
    read = Path.read_bytes

    def refusing(path: Path) -> bytes:  # the tests may run as root, to whom nothing is forbidden
        if path.name == "b.md":
            raise PermissionError(13, "Permission denied")
        return read(path)

    with_few_plugins(tmp_path, monkeypatch)
    monkeypatch.setattr(Path, "read_bytes", refusing)
    said: Said = []
    mailroom = Mailroom(inbox, tmp_path / "out", tell=lambda *told: said.append(told))

    async def work() -> None:
        async with mailroom.host:
            await mailroom.run()
            mailroom.look_into_inbox()

    anyio.run(work)
    assert mailroom.journal.counts() == {"delivered": 1}
    mailroom.journal.close()
    assert sorted((what, name) for what, name, _ in said) == [("delivered", "a.md"), ("unread", "b.md")]
    assert mailroom.unread == {"b.md"}


def test_an_outbox_that_would_feed_the_inbox_is_refused(tmp_path: Path) -> None:
    done = run(tmp_path, tmp_path / "out")
    assert (done.code, done.out) == (2, "")
    assert "OUTBOX is inside INBOX" in done.err


def test_two_mailrooms_do_not_share_an_outbox(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    journal = Journal(tmp_path / "out")
    done = run(DOCUMENTS, tmp_path / "out")
    journal.close()
    assert done.code == 1
    assert "another mailroom is at work" in done.err


def test_one_that_watches_takes_what_comes_until_it_is_interrupted(tmp_path: Path) -> None:
    inbox, out = tmp_path / "in", tmp_path / "out"
    inbox.mkdir()
    with (tmp_path / "said").open("wb") as said:
        watching = subprocess.Popen(command(inbox, out, "--watch"), stdout=said, stderr=said)
    try:
        for number in range(3):
            (inbox / f"{number}.md").write_text(f"# {number}")
            # Said when it is in the journal too, which is a moment after it has been delivered.
            eventually(lambda: (tmp_path / "said").read_text().count("delivered ") == number + 1)  # noqa: B023
            assert not audit(inbox, out).lost
        watching.send_signal(2)
        assert watching.wait(15) == 0
    finally:
        watching.kill()
        watching.wait()
    assert "3 documents: 3 delivered" in (tmp_path / "said").read_text()


# -- its parts -------------------------------------------------------------------------------------------


def taken(journal: Journal, folder: Path, name: str, text: str = "x") -> Path:
    file = folder / name
    file.write_text(text)
    journal.take(file, name)
    return file


def test_a_document_is_in_one_hand_and_the_next_mailroom_takes_it_up_where_it_was(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "out")
    file = taken(journal, tmp_path, "a.txt", "lamp")
    journal.take(file, "a.txt")
    claim = journal.claim()
    assert claim is not None
    assert (claim.letter.name, Path(claim.letter.path).read_text(), claim.parcel) == ("a.txt", "lamp", None)
    assert journal.claim() is None
    parcel = Parcel(document=Document(id=claim.letter.id, name="a.txt", path="", media="x"), notes={})
    journal.note(claim, state="sealed", parcel=msgspec.json.encode(parcel))
    journal.note(claim, receipts=b'{"archive":"yes"}')
    journal.close()

    journal = Journal(tmp_path / "out")
    again = journal.claim()
    assert again is not None
    assert (again.letter, again.receipts) == (claim.letter, {"archive": "yes"})
    assert again.parcel == parcel
    journal.finish(again)
    assert (journal.claim(), journal.counts()) == (None, {"delivered": 1})
    assert list((tmp_path / "out" / "spool").iterdir()) == []
    journal.take(file, "a.txt")
    assert journal.claim() is None
    journal.close()


def test_what_a_kill_left_in_the_spool_is_swept_and_what_is_needed_stays(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "out")
    taken(journal, tmp_path, "a.txt")
    spool = tmp_path / "out" / "spool"
    kept = list(spool.iterdir())
    (spool / "0123.draft").write_text("half")
    (spool / "4567").write_text("never noted")
    journal.close()
    Journal(tmp_path / "out").close()
    assert list(spool.iterdir()) == kept


def test_a_document_that_was_put_back_is_due_later(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "out")
    taken(journal, tmp_path, "a.txt")
    claim = journal.claim()
    assert claim is not None
    journal.note(claim, due_at=time.time() + 60, tries=1)
    assert journal.claim() is None
    journal.note(claim, due_at=time.time() - 1)
    again = journal.claim()
    assert again is not None
    assert (again.tries, again.begun_at) == (1, claim.begun_at)
    journal.close()


def test_a_name_that_is_not_utf_8_is_delivered_too(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    Path(os.fsdecode(os.fsencode(tmp_path / "in") + b"/f\xfcr.txt")).write_text("the lamp")
    done = run(tmp_path / "in", tmp_path / "out")
    assert (done.code, done.err) == (0, "")
    assert audit(tmp_path / "in", tmp_path / "out").is_clean


def test_the_embedding_host_is_under_250_lines() -> None:
    lines = [len((HERE / name).read_text().splitlines()) for name in ("mailroom.py", "__main__.py")]
    assert sum(lines) < 250


# -- with plugins that are broken on purpose ---------------------------------------------------------------

Said = list[tuple[str, str, str]]


def deliver_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plugin: str, old: str, new: str, config: str = ""
) -> tuple[Said, Path, Path]:
    """What is told of three documents, with `old` replaced by `new` in the code of a plugin."""
    plugins, inbox, out = with_few_plugins(tmp_path, monkeypatch), tmp_path / "in", tmp_path / "out"
    code = (plugins / f"{plugin}.py").read_text()
    assert old in code
    (plugins / f"{plugin}.py").write_text(code.replace(old, new))
    inbox.mkdir()
    for number in range(3):
        (inbox / f"{number}.md").write_text(f"# {number}\n\nThe lamp is lit.")
    (tmp_path / "outboard.toml").write_text(config)
    said: Said = []
    mailroom = Mailroom(inbox, out, tell=lambda *told: said.append(told), config=tmp_path / "outboard.toml")

    async def work() -> None:
        async with mailroom.host:
            await mailroom.run(patience_s=3.0)

    try:
        anyio.run(work)
    finally:
        mailroom.journal.close()
    return said, inbox, out


def test_one_who_cannot_enrich_costs_his_own_notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = "    words = 1 / 0 or "
    said, inbox, out = deliver_with(tmp_path, monkeypatch, "language", "    words = ", broken)
    assert audit(inbox, out).is_clean
    assert [(what, how.endswith("(without language)")) for what, _, how in said] == [("delivered", True)] * 3


def test_one_who_dies_on_every_document_holds_them_up_and_loses_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    die = "    import os, signal; os.kill(os.getpid(), signal.SIGKILL)\n    document, db ="
    said, inbox, out = deliver_with(tmp_path, monkeypatch, "index", "    document, db =", die)
    assert {what for what, _, _ in said} == {"put back"}
    assert {place.partition(":")[0] for place in audit(inbox, out).lost} == {"index"}
    monkeypatch.undo()
    done = run(inbox, out)
    assert "3 documents: 3 delivered" in done.out
    assert audit(inbox, out).is_clean


def test_the_audit_sees_a_ledger_that_does_not_look_before_it_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forgetful = "if True:  # and is killed between the line and the answer, once"
    kill = """
    if not os.path.exists("killed"):
        open("killed", "w").close()
        os.kill(os.getpid(), 9)
    return document.id"""
    plugin = (HERE / "plugins" / "ledger.py").read_text()
    old = plugin[plugin.index("            if row[0] not in self._ids:") :]
    new = old.replace("if row[0] not in self._ids:", forgetful).replace("\n    return document.id", kill)
    _, inbox, out = deliver_with(tmp_path, monkeypatch, "ledger", old, new)
    seen = audit(inbox, out)
    assert seen.lost == []
    assert len(seen.doubled) >= 1
    assert {place.partition(":")[0] for place in seen.doubled} == {"ledger"}


def test_a_plugin_that_nobody_has_ever_heard_lets_no_document_pass_it_by(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(CannotBegin, match="index has never run"):
        deliver_with(
            tmp_path,
            monkeypatch,
            "index",
            "plugin = Plugin()",
            "raise SystemExit(1)",
            '[plugins.index.restart]\nintensity = 1\nbackoff_min = "20ms"\n',
        )
    assert len(list(files_in(tmp_path / "in"))) == 3
    assert not (tmp_path / "out" / "plugins" / "ledger" / "ledger.csv").read_text()


def test_one_that_an_operator_has_disabled_is_owed_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said, inbox, out = deliver_with(
        tmp_path,
        monkeypatch,
        "index",
        "plugin = Plugin()",
        "plugin = Plugin()",
        "[plugins.index]\nenabled = false\n",
    )
    assert [what for what, _, _ in said] == ["delivered"] * 3
    assert {place.partition(":")[0] for place in audit(inbox, out).lost} == {"index"}
