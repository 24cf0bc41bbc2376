"""Command lines that nobody should type. Each ends at once, with its code, without a traceback."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from pathlib import Path

import pytest

from tests.support.daemon import OUTBOARD, PATIENCE_S, Daemon, outboard
from tests.support.forks import Word

BIG = "x" * 100_000  # one word cannot be much larger
GREET = ("call", "hello", "greet")
ECHO = ("call", "tester", "echo")
NASTY: list[tuple[int, list[Word]]] = [
    (2, [b"\xff\xfe\x00"[:2]]),
    (2, ["status", b"\xff"]),
    (2, ["status", "--socket", b"\xff"]),
    (2, ["status", "--socket", ""]),
    (8, ["status", "--socket", "/"]),
    (8, ["status", "--socket", "x" * 300]),
    (8, ["status", "--socket", "a-file"]),
    (4, ["status", ""]),
    (4, ["status", "hel\nlo"]),
    (4, ["status", "\x1b[31mhello"]),
    (4, ["status", "h\u00e9llo \u5de5\u5177 \U0001f44b"]),
    (4, ["status", BIG]),
    (4, ["call", "", ""]),
    (1, ["call", "hello", ""]),
    (1, ["call", "hello", "gr\neet"]),
    (1, ["call", "hello", "$/cancelRequest"]),
    (2, [*GREET, b"name=\xff"]),
    (2, [*GREET, b"\xff=Ada"]),
    (1, [*GREET, "na\nme=Ada"]),
    (0, [*GREET, "name=" + BIG]),
    (1, [*GREET, *(f"k{n}={BIG}" for n in range(10))]),
    (0, [*GREET, "name=\u5de5\u5177 \U0001f44b"]),
    (0, [*GREET, "name=a=b=c"]),
    (0, [*GREET, "name="]),
    (2, [*GREET, "name=a", "--timeout", "-1"]),
    (2, [*GREET, "name=a", "--timeout", "nan"]),
    (2, [*GREET, "name=a", "--timeout", "inf"]),
    (2, [*GREET, "name=a", "--timeout", "1e300"]),
    (0, [*GREET, "name=a", "--timeout", "0"]),
    (0, [*GREET, "name=a", "--timeout", "1e7"]),
    (2, [*GREET, "--params", "[" * 50_000]),
    (1, [*GREET, "--params", '{"name":' + "[" * 300 + "]" * 300 + "}"]),
    (2, [*GREET, "--params", '{"name": "\\ud800"}']),
    (2, [*GREET, "--params", "{'name': 'Ada'}"]),
    (0, [*ECHO, "value=" + "9" * 5000]),
    (0, [*ECHO, "value=1e999"]),
    (1, [*ECHO, "value=" + "[" * 200 + "]" * 200]),
    (2, ["logs", "--lines", "-5"]),
    (0, ["logs", "--lines", "9" * 30]),
    (0, ["logs", "--lines", "0"]),
    (4, ["logs", ""]),
    (6, ["add", ""]),
    (6, ["add", "nowhere"]),
    (6, ["add", "a-file"]),
    (6, ["add", "a-file.py"]),
    (6, ["add", "a-fifo"]),
    (6, ["add", "a-socket"]),
    (6, ["add", "a-folder"]),
    (6, ["add", "a-loop"]),
    (6, ["add", "unreadable"]),
    (6, ["add", "/dev/zero"]),
    (6, ["add", "a\nb"]),
    (7, ["run", "--socket", "a-file"]),
    (7, ["run", "--socket", "a-folder"]),
    (7, ["run", "--socket", "a-file/control.sock"]),
    (7, ["run", "--socket", "x" * 300]),
    (2, ["run", "--config", "a-folder"]),
    (6, ["run", "--config", "a-fifo"]),
    (6, ["run", "--config", "nowhere"]),
    (6, ["run", "--config", "binary"]),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nasty")
    (folder / "a-file").write_text("precious")
    (folder / "a-file.py").write_text("print('no plugin')\n")
    (folder / "binary").write_bytes(bytes(range(256)))
    (folder / "a-folder").mkdir()
    (folder / "a-loop").symlink_to("a-loop")
    (folder / "unreadable").mkdir()
    (folder / "unreadable" / "plugin.toml").symlink_to("plugin.toml")  # root could read any other
    os.mkfifo(folder / "a-fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(folder / "a-socket"))
    return folder


@pytest.mark.parametrize(
    ("code", "words"), NASTY, ids=[f"{code}-{'-'.join(map(str, words))[:60]!a}" for code, words in NASTY]
)
def test_it_ends_with_its_code_and_in_good_order(
    daemon: Daemon, folder: Path, code: int, words: list[Word]
) -> None:
    options = [] if words[0] == "run" else ["--json"]
    is_for_python = any(isinstance(word, bytes) for word in words)  # which has to make text of them
    done = outboard(*words, *options, env=daemon.env, cwd=folder, whole=is_for_python)
    assert done.code == code, done.err
    if words[0] == "run":
        assert (done.out, bool(done.err)) == ("", True)
    else:
        assert done.err == ""
        values = [json.loads(line) for line in done.out.splitlines()]
        assert all("ok" in value or words[0] in ("logs", "status") for value in values)
    assert daemon.process.poll() is None


def test_nothing_that_was_in_the_way_has_gone(daemon: Daemon, folder: Path) -> None:
    daemon.cli("run", "--socket", folder / "a-file")
    assert (folder / "a-file").read_text() == "precious"
    assert not list(folder.glob("*.lock"))


@pytest.mark.parametrize("text", ["a\x1b[31mb", "a\x9b31mb", "a\x07b"])
def test_what_a_plugin_says_cannot_control_a_terminal(daemon: Daemon, text: str) -> None:
    daemon.cli("call", "tester", "say", f"message={text}")
    daemon.cli("call", "tester", text)
    for done in (daemon.cli("logs", "tester"), daemon.cli("call", "tester", text)):
        assert text not in done.out + done.err
        assert f"a\\x{ord(text[1]):02x}" in done.out + done.err
    assert text not in daemon.said


@pytest.mark.parametrize(
    ("redirection", "code"), [(">&-", 0), ("2>&-", 0), (">/dev/full", 1), ("| head -c 1 >/dev/null", None)]
)
def test_an_output_that_cannot_be_written_is_no_traceback(
    daemon: Daemon, redirection: str, code: int | None
) -> None:
    command = f'"$@" call hello greet name={BIG[:70_000]} {redirection}'
    ran = subprocess.run(
        ["sh", "-c", command, "sh", *OUTBOARD], env=daemon.env, capture_output=True, timeout=PATIENCE_S
    )
    assert b"Traceback" not in ran.stderr
    assert b"Exception ignored" not in ran.stderr
    assert code is None or ran.returncode == code


def test_an_encoding_that_lacks_the_characters_is_no_traceback(daemon: Daemon) -> None:
    done = daemon.cli("status", PYTHONIOENCODING="ascii")
    assert done.code == 0
    assert "hello" in done.out


def test_a_daemon_that_cannot_keep_a_log_or_a_data_folder_runs_all_the_same(tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.touch()
    nowhere = {f"XDG_{name}_HOME": str(in_the_way / name.lower()) for name in ("STATE", "DATA")}
    with Daemon(tmp_path, env=nowhere) as daemon:
        assert daemon.cli("status").code == 0
        assert "there is no log file" in daemon.said
        assert daemon.stop() == 0
