"""The log file: rotated, kept five times, and nobody else's."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from host.config.places import log_file
from host.observability.logfiles import LogFiles
from host.observability.logs import KEEP_FILES, LoguruSubscriber, stamp


@pytest.fixture(autouse=True)
def _stderr_as_it_was() -> Iterator[None]:
    before = sys.stderr
    yield
    sys.stderr = before


def written(folder: Path) -> list[str]:
    """All messages in all files, oldest first."""
    files = sorted(folder.glob("*.jsonl"), key=lambda file: file.stat().st_mtime_ns)
    return [json.loads(line)["message"] for file in files for line in file.read_text().splitlines()]


def test_a_file_is_rotated_at_its_size_and_five_are_kept(tmp_path: Path) -> None:
    file = tmp_path / "log" / "outboard.jsonl"
    log = LoguruSubscriber(level="error", format="text", file=str(file), rotate_bytes=10_000)
    for number in range(1000):
        log.say(f"{number:04} {'x' * 100}")
        if number % 20 == 0:
            assert log.settle()
    log.close()
    files = list(file.parent.iterdir())
    assert len(files) == KEEP_FILES + 1
    assert all(each.stat().st_size <= 10_000 for each in files)
    assert file in files
    messages = written(file.parent)
    assert messages[-1].startswith("0999")
    first = int(messages[0][:4])
    assert [int(message[:4]) for message in messages] == list(range(first, 1000))


def test_a_file_that_somebody_moved_away_is_begun_again(tmp_path: Path) -> None:
    file = tmp_path / "outboard.jsonl"
    log = LoguruSubscriber(level="error", format="text", file=str(file))
    log.say("before")
    assert log.settle()
    file.rename(tmp_path / "moved")
    log.say("after")
    log.close()
    assert [json.loads(line)["message"] for line in file.read_text().splitlines()] == ["after"]


def test_a_folder_that_cannot_be_made_is_a_warning(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "log").write_text("not a folder")
    log = LoguruSubscriber(level="info", format="text", file=str(tmp_path / "log" / "outboard.jsonl"))
    log.say("still here")
    log.close()
    said = capfd.readouterr().err
    assert "there is no log file" in said
    assert "still here" in said


def test_braces_in_a_path_are_only_braces(tmp_path: Path) -> None:
    file = tmp_path / "{time}" / "outboard.jsonl"
    log = LoguruSubscriber(level="error", format="text", file=str(file))
    log.say("a {word} in braces")
    log.close()
    assert json.loads(file.read_text())["message"] == "a {word} in braces"


def test_what_is_printed_to_stderr_goes_the_same_way(capfd: pytest.CaptureFixture[str]) -> None:
    log = LoguruSubscriber(level="info", format="text", file=None)
    print("a library says", file=sys.stderr)
    log.close()
    assert "a library says" in capfd.readouterr().err


def test_two_sockets_have_two_files_and_neither_removes_the_others() -> None:
    environ = {"HOME": "/home/ada", "XDG_RUNTIME_DIR": "/run/user/7"}
    usual = log_file(environ, 7, "/run/user/7/outboard/control.sock")
    others = [log_file(environ, 7, f"/run/{name}") for name in ("a", "a.sock", "b/a.sock", "outboard.sock")]
    assert usual == "/home/ada/.local/state/outboard/log/outboard.jsonl"
    assert len({usual, *others}) == 5
    stems = [os.path.splitext(os.path.basename(file))[0] + "." for file in (usual, *others)]
    assert not [(a, b) for a in stems for b in stems if a != b and b.startswith(a)]


def test_the_usual_socket_is_the_usual_one_however_it_was_named() -> None:
    environ = {"HOME": "/home/ada", "XDG_RUNTIME_DIR": "/run/user/7"}
    usual = "/run/user/7/outboard/control.sock"
    assert log_file(environ | {"OUTBOARD_SOCKET": "/elsewhere"}, 7, usual).endswith("/outboard.jsonl")
    assert log_file(environ | {"OUTBOARD_SOCKET": usual}, 7, usual).endswith("/outboard.jsonl")
    assert not log_file(environ | {"OUTBOARD_SOCKET": "/else"}, 7, "/else").endswith("/outboard.jsonl")


def test_a_fifo_in_the_place_of_the_log_file_holds_nobody(tmp_path: Path) -> None:
    file = tmp_path / "outboard.jsonl"
    os.mkfifo(file)
    log = LoguruSubscriber(level="error", format="text", file=str(file))
    log.say("still here")
    log.close()
    with LogFiles(str(file), since=stamp(0.0), wanted=lambda line: True) as files:
        assert list(files.batches()) == [[]]
