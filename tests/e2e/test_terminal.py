"""What a person sees on a terminal, and what a pipe must not get."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from host.cli.app import COMMANDS as COMMAND_NAMES
from host.config import places
from tests.support.daemon import SAMPLES, Daemon, on_terminal, outboard
from tests.support.plugins import write_plugin

ESCAPE = re.compile(r"\x1b\[[0-9;]*m")
BY_HAND = {"wordcount": "node", "rot13": "perl"}
SHOWN = ["hello", "text_tools", *(name for name, program in BY_HAND.items() if shutil.which(program))]
COMMANDS = [
    ["status"],
    ["logs"],
    ["events"],
    ["explain"],
    ["call", "text_tools", "documents"],
    ["call", "hello", "nothing"],
    *(["status", name] for name in SHOWN),
]


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    home = tmp_path_factory.mktemp("samples")
    for name in SHOWN:  # behind a short path, as an operator's own are
        (home / "p").mkdir(exist_ok=True)
        (home / "p" / name).symlink_to(SAMPLES / name)
    with Daemon(home, *(home / "p" / name for name in SHOWN)) as daemon:
        yield daemon


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_terminal_gets_colours_and_lines_that_fit(samples: Daemon, words: list[str]) -> None:
    done = on_terminal(*words, env=samples.env)
    plain = ESCAPE.sub("", done.out)
    assert done.out != plain
    assert "\x1b" not in plain
    paths = [str(samples.home), samples.socket]
    too_wide = [line for line in plain.splitlines() if len(line) > 80 and not any(p in line for p in paths)]
    assert not too_wide


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_no_color_is_heeded(samples: Daemon, words: list[str]) -> None:
    assert "\x1b" not in on_terminal(*words, env=samples.env | {"NO_COLOR": "1"}).out


@pytest.mark.parametrize("words", [*COMMANDS, ["--help"], ["stauts"]], ids=" ".join)
def test_a_pipe_gets_no_escape_codes_and_no_advice(samples: Daemon, words: list[str]) -> None:
    done = samples.cli(*words, TERM="xterm-256color", COLORTERM="truecolor", FORCE_COLOR="", CI="true")
    assert "\x1b" not in done.out + done.err
    assert "next:" not in done.out + done.err


def test_the_log_of_a_daemon_has_no_escape_codes_in_a_pipe_even_on_a_build_server(home: Path) -> None:
    with Daemon(home, SAMPLES / "hello", env={"CI": "true", "GITHUB_ACTIONS": "true"}) as daemon:
        assert "hello running" in daemon.said
        assert "\x1b" not in daemon.said


def test_a_terminal_obeys_nothing_that_a_manifest_or_a_state_file_says(home: Path) -> None:
    told = "before\x1b]0;title\x07after"
    plugin = write_plugin(home, "victim", plugin={"name": "victim", "version": "1", "description": told})
    held = {"reason": told, "since": time.time(), "next_probe_at": time.time() + 600}
    with Daemon(home, plugin) as daemon:
        state_file = places.state_file(daemon.env, os.getuid(), daemon.socket)
    Path(state_file).write_bytes(msgspec.json.encode({"plugins": {"victim": {"quarantine": held}}}))
    with Daemon(home, plugin) as daemon:
        for words in (["status"], ["status", "victim"], ["why", "victim"], ["events"]):
            shown = on_terminal(*words, env=daemon.env | {"NO_COLOR": "1"}).out
            assert "\x1b" not in shown, words
            assert "\x07" not in shown, words
            assert words == ["events"] or "before\\x1b]0;title\\x07after" in shown, words


def test_the_last_line_on_a_terminal_says_what_to_type_next(samples: Daemon) -> None:
    last = ESCAPE.sub("", on_terminal("status", env=samples.env).out).splitlines()[-1]
    assert last == "next: outboard status hello"
    last = ESCAPE.sub("", on_terminal("status", "hello", env=samples.env).out).splitlines()[-1]
    assert last == "next: outboard call hello greet KEY=VALUE"
    for words in (["logs"], ["events"], ["explain"], ["doctor"], ["call", "hello", "greet", "name=you"]):
        last = ESCAPE.sub("", on_terminal(*words, env=samples.env).out).splitlines()[-1]
        assert last.startswith("next: outboard "), words
    last = ESCAPE.sub("", on_terminal("completion", "bash", env=samples.env).out).splitlines()[-1]
    assert last == 'next: eval "$(outboard completion bash)"'


@pytest.mark.parametrize("columns", [40, 60, 80])
def test_no_line_of_the_overview_is_wider_than_the_terminal(home: Path, columns: int) -> None:
    name = "a-plugin-with-a-name-as-long-as-anybody-would-ever-want-it-to-be"
    words = "echo the quick brown fox jumps over the lazy dog and says more than fits in a line >&2; exit 78"
    (home / name).mkdir()
    (home / name / "plugin.toml").write_text(
        f'[plugin]\nname = "{name}"\nversion = "1"\n[run]\ncommand = ["sh", "-c", "{words}"]\n'
    )
    (home / "bad").mkdir()
    (home / "bad" / "plugin.toml").write_text("nonsense\n")
    with Daemon(home, SAMPLES / "hello", home / name, home / "bad") as daemon:
        shown = on_terminal("status", env=daemon.env, columns=columns).out
        *seen, next_line = ESCAPE.sub("", shown).splitlines()
        assert max(map(len, seen)) <= columns
        assert any(line.endswith("…") for line in seen)
        (problem,) = daemon.status()["host"]["problems"]
        whole = "".join("".join(seen).split())  # on as many lines as it takes
        assert "".join(problem.split()) in whole
        assert "1 prob" in seen[0] or columns == 40
        assert next_line == "next: outboard why " + name
        plain = daemon.cli("status").out
        assert f"{name}: " in plain
        assert "…" not in plain


@pytest.mark.parametrize("command", ["", *COMMAND_NAMES])
def test_help_fits_the_terminal_too(samples: Daemon, command: str) -> None:
    words = [command, "--help"] if command else ["--help"]
    done = outboard(*words, env=samples.env)
    assert (done.code, done.err) == (0, "")
    assert max(map(len, done.out.splitlines())) <= 80
    assert on_terminal(*words, env=samples.env).code == 0


def test_an_error_is_cut_between_words_on_a_terminal_and_not_in_a_pipe(daemon: Daemon) -> None:
    words = ["call", "tester", "text", *(f"key{number}=1" for number in range(9))]
    shown = on_terminal(*words, env=daemon.env | {"NO_COLOR": "1"}).out.splitlines()
    assert shown[0].startswith("error[OB406]: ")
    assert len(shown) > 3
    assert all(len(line) <= 80 for line in shown)
    assert not any(line.startswith("error") for line in shown[1:])
    assert daemon.cli(*words).err.count("\n") == 2
