"""`outboard doctor`: on a machine that is well, and on some that are not."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.support.daemon import SAMPLES, Daemon, environment, on_terminal, outboard
from tests.support.plugins import write_plugin, write_raw_plugin

OFTEN = {
    "python",
    "packages",
    "import names",
    "socket folder",
    "log folder",
    "open files",
    "daemon",
    "plugins",
}


def doctor(*words: Any, env: dict[str, str], **options: Any) -> tuple[int, dict[str, Any]]:
    """The exit code, and the checks by name; of several with one name the last."""
    done = outboard("doctor", "--json", *words, env=env, **options)
    assert done.err == ""
    assert done.json["ok"] == (done.code == 0)
    return done.code, {check["name"]: check for check in done.json["checks"]}


def test_a_sound_machine_fails_nothing(daemon: Daemon) -> None:
    code, checks = doctor(env=daemon.env)
    assert code == 0
    assert set(checks) >= OFTEN
    assert checks["daemon"]["verdict"] == "ok"
    assert "3 found: hello, tester, text_tools" in checks["plugins"]["seen"]
    for check in checks.values():
        assert set(check) == {"name", "verdict", "seen", "do"}
        assert (check["do"] is None) == (check["verdict"] == "ok")


def test_no_daemon_is_a_warning(home: Path) -> None:
    code, checks = doctor(env=environment(home))
    assert code == 0
    assert checks["daemon"]["verdict"] == "warn"
    assert "outboard run" in checks["daemon"]["do"]


@pytest.mark.parametrize("intruder", ["host.py", "protocol/__init__.py", "plugin_sdk/__init__.py"])
def test_a_second_owner_of_our_names_fails(home: Path, intruder: str) -> None:
    file = home / "elsewhere" / intruder
    file.parent.mkdir(parents=True)
    file.touch()
    # behind ours on the path: it is dormant now, and wakes with the next change of the environment
    (home / "site").mkdir()
    root = str(SAMPLES.parent)
    env = environment(home, PYTHONPATH=f"{root}:{home / 'elsewhere'}")
    code, checks = doctor(env=env)
    assert code == 1
    assert str(file) in checks["import names"]["seen"]


def test_a_second_distribution_of_our_names_fails(home: Path) -> None:
    info = home / "site" / "other-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    (info / "top_level.txt").write_text("protocol\n")
    code, checks = doctor(env=environment(home, PYTHONPATH=f"{SAMPLES.parent}:{home / 'site'}"))
    assert code == 1
    assert "other brings a `protocol` too" in checks["import names"]["seen"]


def test_a_program_that_a_plugin_needs_and_is_not_there_fails(home: Path) -> None:
    folder = home / "p" / "odd"
    folder.mkdir(parents=True)
    (folder / "plugin.toml").write_text(
        '[plugin]\nname = "odd"\nversion = "1"\n[run]\ncommand = ["no-such-program"]\n'
    )
    code, checks = doctor("--plugins", home / "p", env=environment(home))
    assert code == 1
    assert checks["program"]["seen"] == "no no-such-program, for odd"


def test_a_manifest_with_a_mistake_fails(home: Path) -> None:
    write_plugin(home / "p", "sound")
    (home / "p" / "sound" / "plugin.toml").write_text('[plugin]\nnam = "x"\n')
    code, checks = doctor("--plugins", home / "p", env=environment(home))
    assert code == 1
    assert "nam" in checks["manifest"]["seen"]


def test_a_configuration_is_looked_at_if_it_is_named(home: Path) -> None:
    shutil.copytree(SAMPLES / "hello", home / "mine" / "hello")
    config = home / "outboard.toml"
    config.write_text('[host]\nplugins = ["mine"]\n')
    code, checks = doctor("--config", config, env=environment(home))
    assert (code, checks["plugins"]["seen"]) == (0, "1 found: hello")
    config.write_text("[host]\nplugin = 1\n")
    code, checks = doctor("--config", config, env=environment(home))
    assert (code, checks["configuration"]["verdict"]) == (1, "fail")


def test_folders_that_cannot_be_had_are_said(home: Path) -> None:
    (home / "file").touch()
    env = environment(home, XDG_STATE_HOME=str(home / "file"))
    code, checks = doctor("--socket", home / "file" / "s", env=env)
    assert checks["log folder"]["verdict"] == "warn"
    assert (code, checks["socket folder"]["verdict"]) == (1, "fail")


def test_a_folder_that_others_can_write_is_a_warning(home: Path) -> None:
    (home / "open").mkdir()
    (home / "open").chmod(0o777)
    code, checks = doctor("--socket", home / "open" / "s", env=environment(home))
    assert (code, checks["socket folder"]["verdict"]) == (0, "warn")


def test_a_schema_of_settings_that_cannot_be_held_is_a_warning_and_in_the_log(home: Path) -> None:
    schema = {"properties": {"text": {"pattern": "("}}}
    odd = write_raw_plugin(home, "odd", f"handshake(provides={{'config_schema': {schema!r}}})\nserve()\n")
    with Daemon(home, odd) as daemon:
        code, checks = doctor(env=daemon.env)
        assert (code, checks["settings"]["verdict"]) == (0, "warn")
        assert checks["settings"]["seen"].startswith("odd: the schema of its settings is not held: ")
        assert "the schema of its settings is not held" in daemon.said


def test_few_open_files_are_a_warning(home: Path) -> None:
    import resource

    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    lower = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))  # noqa: E731
    code, checks = doctor(env=environment(home), preexec_fn=lower)
    assert (code, checks["open files"]["verdict"]) == (0, "warn")


def test_a_terminal_gets_lines_that_fit_and_a_last_one_to_type(home: Path) -> None:
    seen = on_terminal("doctor", env=environment(home, NO_COLOR="1")).out.splitlines()
    assert [line for line in seen if len(line) > 80 and " " in line.strip()] == []
    assert seen[-1] == "next: outboard run --plugins FOLDER"
