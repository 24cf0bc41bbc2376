"""Shell completion, in a real bash; and that a shell is never kept waiting or shown an error."""

from __future__ import annotations

import os
import pty
import select
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.daemon import OUTBOARD, Daemon, environment, outboard
from tests.support.plugins import write_plugin

CHOOSY = """
from typing import Literal

@plugin.method
def paint(colour: Literal["red", "green"], loud: bool = False, times: int = 1) -> None:
    "Paints it."

@plugin.hook("choosy.point")
def point() -> None: ...

@plugin.method
def peel() -> None: ...
"""


@pytest.fixture(scope="module")
def choosy(tmp_path_factory: pytest.TempPathFactory) -> object:
    home = tmp_path_factory.mktemp("choosy")
    with Daemon(
        home, write_plugin(home / "p", "choosy", CHOOSY), write_plugin(home / "p", "chess")
    ) as daemon:
        yield daemon


def command(tmp_path: Path) -> Path:
    """A program that is called as people call ours."""
    program = tmp_path / "bin" / "outboard"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f'#!/bin/sh\nexec {" ".join(OUTBOARD)} "$@"\n')
    program.chmod(0o755)
    return program


def bash(line: str, env: dict[str, str], tmp_path: Path) -> list[str]:
    """What bash offers at the end of `line`, by the script that we print and bash's own word splitting."""
    # An interactive bash splits the line as readline does, and runs what `complete` has registered.
    script = f"""
        eval "$(outboard completion bash)"
        COMP_LINE={line!r}
        COMP_POINT=${{#COMP_LINE}}
        split() {{ local IFS; read -ra COMP_WORDS <<< "${{1//=/ = }}"; }}
        split "$COMP_LINE"
        case "$COMP_LINE" in *" ") COMP_WORDS+=("") ;; esac
        COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
        compopt() {{ echo "compopt $1 $2" >&2; }}
        _outboard_completion outboard
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    path = {"PATH": f"{command(tmp_path).parent}:{env['PATH']}"}
    ran = subprocess.run(
        ["bash", "--norc", "-c", script], env=env | path, capture_output=True, text=True, timeout=30
    )
    assert ran.returncode == 0, ran.stderr
    assert set(ran.stderr.splitlines()) <= {"compopt -o nospace", "compopt -o default", "compopt -o dirnames"}
    assert ("compopt -o nospace" in ran.stderr) == any(word.endswith("=") for word in ran.stdout.split())
    return ran.stdout.split()


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("outboard stat", ["status"]),
        ("outboard status ch", ["choosy", "chess"]),
        ("outboard why choo", ["choosy"]),
        ("outboard logs choo", ["choosy"]),
        ("outboard call choosy p", ["paint", "peel"]),
        ("outboard call choosy paint ", ["colour=", "loud=", "times="]),
        ("outboard call choosy paint lo", ["loud="]),
        ("outboard call choosy paint colour=", ["red", "green"]),
        ("outboard call choosy paint colour=g", ["green"]),
        ("outboard call choosy paint loud=t", ["true"]),
        ("outboard call choosy paint colour=red l", ["loud="]),
        ("outboard call choosy paint colour=red c", []),
        ("outboard call choosy paint times=", []),
        ("outboard logs --level w", ["warning"]),
        ("outboard explain ob40", [f"OB4{n:02}" for n in range(1, 10)]),
        ("outboard completion f", ["fish"]),
        ("outboard contract d", ["diff"]),
        ("outboard contract show choo", ["choosy", "choosy.point"]),
        ("outboard hook choosy.", ["choosy.point"]),
        ("outboard status --wa", ["--watch"]),
        ("outboard call nobody ", []),
    ],
)
def test_bash_is_offered_what_there_is(choosy: Daemon, tmp_path: Path, line: str, offered: list[str]) -> None:
    assert sorted(bash(line, choosy.env, tmp_path)) == sorted(offered)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_a_script(home: Path, shell: str) -> None:
    done = outboard("completion", shell, env=environment(home))
    assert (done.code, done.err) == (0, "")
    assert f"{shell}_complete" in done.out
    assert outboard("completion", shell, "--json", env=environment(home)).json["script"] == done.out
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=done.out, text=True, check=True, timeout=10)


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_are_told_what_a_name_is(choosy: Daemon, shell: str) -> None:
    words = "outboard call choosy pa"
    asked = {"COMP_WORDS": words, "COMP_CWORD": "3" if shell == "zsh" else "pa"}
    done = outboard(env=choosy.env | asked | {"_OUTBOARD_COMPLETE": f"{shell}_complete"})
    assert done.code == 0
    assert "paint" in done.out
    assert "Paints it." in done.out


@pytest.mark.skipif(not shutil.which("fish"), reason="there is no fish here")
@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("outboard status ch", ["choosy", "chess"]),
        ("outboard call choosy paint ", ["colour=", "loud=", "times="]),
        ("outboard call choosy paint colour=g", ["colour=green"]),
        ("outboard call nobody ", []),
    ],
)
def test_fish_is_offered_what_there_is(choosy: Daemon, tmp_path: Path, line: str, offered: list[str]) -> None:
    script = f"outboard completion fish | source; complete -C '{line}'"
    ran = subprocess.run(
        ["fish", "--no-config", "-c", script],
        env=choosy.env | {"PATH": f"{command(tmp_path).parent}:{choosy.env['PATH']}"},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert ran.stderr == ""
    assert sorted(each.partition("\t")[0] for each in ran.stdout.splitlines()) == sorted(offered)


ZSH = """\
autoload -U compinit && compinit -u -D; eval "$(outboard completion zsh)"
show() { print -r -- "<$BUFFER>" }; zle -N show; bindkey '^Xs' show; PS1=
zle-line-init() { print "liste""ning" }; zle -N zle-line-init
"""


@pytest.mark.skipif(not shutil.which("zsh"), reason="there is no zsh here")
@pytest.mark.parametrize(
    ("line", "becomes"),
    [
        ("outboard status cho", "outboard status choosy "),
        ("outboard call choosy paint lo", "outboard call choosy paint loud="),
        ("outboard call choosy paint colour=g", "outboard call choosy paint colour=green "),
    ],
)
def test_zsh_completes_a_line(choosy: Daemon, tmp_path: Path, line: str, becomes: str) -> None:
    path = f"{command(tmp_path).parent}:{choosy.env['PATH']}"
    ours, theirs = pty.openpty()
    shell = subprocess.Popen(
        ["zsh", "-f", "-i"],
        env=choosy.env | {"PATH": path, "TERM": "dumb"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    try:
        os.write(ours, ZSH.encode())
        _until(ours, "listening")
        os.write(ours, f"{line}\t\x18s".encode())
        assert f"<{becomes}>" in _until(ours, ">")
    finally:
        os.close(ours)
        shell.kill()
        shell.wait()


def _until(terminal: int, text: str) -> str:
    """What is written there, up to that text."""
    seen, ends_at = "", time.monotonic() + 30
    while text not in seen:
        assert select.select([terminal], [], [], max(0.0, ends_at - time.monotonic()))[0], seen
        seen += os.read(terminal, 65536).decode(errors="replace")
    return seen


@pytest.mark.parametrize("daemon_is", ["absent", "deaf", "another"])
def test_without_a_daemon_nothing_is_offered_and_nothing_is_said(home: Path, daemon_is: str) -> None:
    env = environment(home)
    path = Path(env["OUTBOARD_SOCKET"])
    path.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as listener:
        if daemon_is != "absent":
            listener.bind(os.path.relpath(path))
            listener.listen()
        if daemon_is == "another":
            child = "import socket, sys; c, _ = socket.socket(fileno=0).accept(); c.sendall(b'no' * 99999)"
            other = subprocess.Popen(
                [sys.executable, "-c", child], stdin=listener.fileno(), stderr=subprocess.DEVNULL
            )
        asked = {"COMP_WORDS": "outboard status ", "COMP_CWORD": "2", "_OUTBOARD_COMPLETE": "bash_complete"}
        started = time.monotonic()
        done = outboard(env=env | asked)
        assert (done.code, done.out.strip(), done.err) == (0, "", "")
        assert time.monotonic() - started < 10  # half a second, and a machine that is busy
        if daemon_is == "another":
            other.kill()
            other.wait()
