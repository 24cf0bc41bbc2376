"""The systemd unit: every path means itself, and systemd has nothing against it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from host.control.unit import Unit, quoted, unit_text
from tests.support.daemon import environment, on_terminal, outboard

NASTY = r"""a b%h$HOME'"\n{}ü"""


@pytest.mark.parametrize(
    ("word", "written"),
    [
        ("/usr/bin/outboard", "/usr/bin/outboard"),
        ("--plugins", "--plugins"),
        ("a b", '"a b"'),
        ("50%", '"50%%"'),
        ("$HOME", '"$$HOME"'),
        ('"', r'"\""'),
        ("'", '"\'"'),
        (r"a\n", r'"a\\n"'),
        ("a\nb", r'"a\x0ab"'),
        ("", '""'),
        (";", '";"'),
        ("ü", '"ü"'),
    ],
)
def test_a_word_means_itself(word: str, written: str) -> None:
    assert quoted(word, dollar="$$") == written


def verified(text: str, folder: Path, *scope: str) -> str:
    """What systemd says of a unit; nothing if it is content."""
    if not shutil.which("systemd-analyze"):
        pytest.skip("there is no systemd-analyze here")
    file = folder / "outboard.service"
    file.write_text(text)
    ran = subprocess.run(
        ["systemd-analyze", *scope, "verify", file],
        env=environment(folder) | {"XDG_RUNTIME_DIR": str(folder)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
    )
    return ran.stderr.strip() + ("" if ran.returncode == 0 else f"\nexit code {ran.returncode}")


@pytest.mark.parametrize("scope", ["--user", "--system"])
def test_systemd_verifies_the_unit(tmp_path: Path, scope: str) -> None:
    plugins = tmp_path / NASTY
    plugins.mkdir()
    done = outboard("systemd", scope, "--plugins", plugins, env=environment(tmp_path))
    assert (done.code, done.err) == (0, "")
    assert verified(done.out, tmp_path, scope) == ""


@pytest.mark.parametrize("folder", ["a b%h$HOME{}ü", NASTY])
def test_systemd_finds_a_program_whose_path_is_nasty(tmp_path: Path, folder: str) -> None:
    program = tmp_path / folder / "outboard"
    program.parent.mkdir()
    shutil.copy("/bin/true", program)
    unit = Unit(
        command=[str(program), "run", NASTY],
        reload=[str(program), "reload"],
        environment={"PATH": NASTY},
        account="root",
    )
    assert verified(unit_text(unit), tmp_path, "--system") == ""
    if folder != NASTY:
        program.unlink()
        assert "not executable" in verified(unit_text(unit), tmp_path, "--system")


def keys(text: str) -> dict[str, str]:
    """Of a key that is there twice, the last value: as systemd reads it."""
    return dict(re.findall(r"^(\w+)=(.*)$", text, re.M))


def test_paths_are_absolute_and_so_is_the_program(tmp_path: Path) -> None:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "o.toml").touch()
    words = ["--plugins", "plugins", "--config", "o.toml", "--socket", "s", "--log-format", "json"]
    done = outboard("systemd", "--user", *words, env=environment(tmp_path), cwd=tmp_path)
    program, *arguments = keys(done.out)["ExecStart"].split()
    assert Path(program).is_absolute()
    assert arguments == [
        *("run", "--plugins", str(tmp_path / "plugins"), "--config", str(tmp_path / "o.toml")),
        *("--socket", str(tmp_path / "s"), "--log-format", "json"),
    ]


def test_a_unit_of_a_users_own_keeps_things_where_commands_look_for_them(tmp_path: Path) -> None:
    env = environment(tmp_path)
    done = outboard("systemd", "--user", env=env)
    assert keys(done.out)["ExecStart"].endswith(f"--socket {env['OUTBOARD_SOCKET']}")
    assert f"Environment=XDG_STATE_HOME={env['XDG_STATE_HOME']}" in done.out
    assert not {"StateDirectory", "LogsDirectory", "User"} & keys(done.out).keys()


def test_a_unit_for_the_machine_has_folders_and_an_account(tmp_path: Path) -> None:
    done = outboard("systemd", "--system", "--run-as", "ada", env=environment(tmp_path))
    found = keys(done.out)
    assert found["User"] == "ada"
    assert found["Type"] == "notify"
    assert found["ExecReload"].endswith("outboard reload")
    assert {found[f"{kind}Directory"] for kind in ("Runtime", "State", "Logs", "Cache")} == {"outboard"}
    assert found["KillMode"] == "mixed"
    assert "--socket" not in found["ExecStart"]


def test_a_configuration_that_is_not_there_is_told_of_now_and_not_at_boot(tmp_path: Path) -> None:
    done = outboard("systemd", "--config", "nowhere.toml", env=environment(tmp_path))
    assert (done.code, done.out) == (2, "")


@pytest.mark.skipif(sys.platform != "linux", reason="systemd is Linux's own")
def test_the_last_line_on_a_terminal_says_what_to_type_next(tmp_path: Path) -> None:
    last = on_terminal("systemd", "--user", env=environment(tmp_path)).out.splitlines()[-1]
    assert "next: systemctl --user enable --now outboard" in last
