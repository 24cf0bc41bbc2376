"""A file against a struct: all problems at once, with lines; and no file whatever raises."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from host.config.model import HostConfig
from host.config.problems import FileProblem, dotted
from host.config.read import FILE_LIMIT_BYTES, parse_toml, read_toml
from protocol.manifest import Manifest

MINIMAL = '[plugin]\nname = "hello"\nversion = "1"\n[run]\npython = "main.py"\n'


def write(folder: Path, text: str | bytes, name: str = "plugin.toml") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def the_problem(path: Path, type: Any = Manifest) -> FileProblem:
    value, problems = read_toml(path, type)
    assert value is None
    [problem] = problems
    return problem


def test_a_file_without_problems_is_a_value(tmp_path: Path) -> None:
    manifest, problems = read_toml(write(tmp_path, MINIMAL), Manifest)
    assert problems == []
    assert manifest is not None
    assert manifest.plugin.name == "hello"


def test_a_misspelt_key_is_told_with_its_line_and_what_was_meant(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL + "[restart]\nintensty = 3\n")
    assert str(the_problem(path)) == f"{path}:7: restart.intensty: unknown key; did you mean `intensity`?"


def test_all_problems_come_at_once_each_with_its_line_and_what_stands_there(tmp_path: Path) -> None:
    text = (
        '[plugin]\nname = "No Name"\n\n[run]\ncommand = []\n'
        '[restart]\nperiod = "5 days"\n[start]\nrequires = [\n"ok",\n"N"]\n'
    )
    _, problems = read_toml(write(tmp_path, text), Manifest)
    assert sorted((problem.key, problem.line, repr(problem.seen)) for problem in problems) == [
        ("plugin.name", 2, "'No Name'"),
        ("plugin.version", 1, "None"),
        ("restart.period", 7, "'5 days'"),
        ("run.command", 5, "[]"),
        ("start.requires[1]", 11, "'N'"),
    ]


def test_no_time_at_all_to_build_an_environment_is_a_problem(tmp_path: Path) -> None:
    path = write(tmp_path, '[host]\nenvironment_timeout = "0s"\n', "outboard.toml")
    assert "environment_timeout" in str(the_problem(path, HostConfig))


def test_a_missing_table_has_no_line(tmp_path: Path) -> None:
    problem = the_problem(write(tmp_path, '[plugin]\nname = "a"\nversion = "1"\n'))
    assert (problem.line, problem.key) == (None, "run")


@pytest.mark.parametrize("text", ["a = 1\nb = \n", "a = 1\n[b\n", "a = 1\na = 2\n", 'a = 1\nb = "\n'])
def test_a_syntax_error_is_one_problem_with_a_line(tmp_path: Path, text: str) -> None:
    problem = the_problem(write(tmp_path, text))
    assert problem.reason.startswith("not TOML: ")
    assert problem.line == 2


def test_a_syntax_error_tells_line_and_column(tmp_path: Path) -> None:
    problem = the_problem(write(tmp_path, "a = 1\nb = \n"))
    assert problem.line == 2
    assert "column 5" in problem.reason


def test_an_end_that_came_too_soon_is_on_the_last_line(tmp_path: Path) -> None:
    assert the_problem(write(tmp_path, "a = 1\nb = [1,\n")).line == 2


def test_a_file_that_is_not_there_is_a_problem(tmp_path: Path) -> None:
    assert the_problem(tmp_path / "none.toml").reason.startswith("cannot be read: ")


def test_a_path_through_a_file_is_a_problem(tmp_path: Path) -> None:
    write(tmp_path, "", "file")
    assert the_problem(tmp_path / "file" / "plugin.toml").reason.startswith("cannot be read: ")


def test_a_file_that_may_not_be_read_is_a_problem(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL)
    path.chmod(0)
    if os.geteuid() == 0:
        pytest.skip("root reads files of every mode")
    assert the_problem(path).reason.startswith("cannot be read: ")


def test_a_folder_is_a_problem(tmp_path: Path) -> None:
    assert the_problem(tmp_path).reason == "is a folder"


def test_a_pipe_that_nobody_writes_to_is_a_problem_and_no_wait(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "plugin.toml")
    assert the_problem(tmp_path / "plugin.toml").reason == "is not a regular file"


def test_a_symlink_to_itself_is_a_problem(tmp_path: Path) -> None:
    path = tmp_path / "plugin.toml"
    path.symlink_to(path)
    assert the_problem(path).reason.startswith("cannot be read: ")


def test_a_path_with_a_nul_is_a_problem() -> None:
    assert the_problem(Path("a\0b")).reason.startswith("cannot be read: ")


def test_bytes_that_are_not_utf_8_are_a_problem_on_their_line(tmp_path: Path) -> None:
    problem = the_problem(write(tmp_path, b'a = 1\nb = "\xff"\n'))
    assert (problem.line, problem.reason) == (2, "not UTF-8: byte 0xff")


def test_a_byte_order_mark_is_none_of_our_business(tmp_path: Path) -> None:
    assert read_toml(write(tmp_path, b"\xef\xbb\xbf" + MINIMAL.encode()), Manifest)[1] == []


def test_a_mebibyte_is_read_and_one_byte_more_is_a_problem(tmp_path: Path) -> None:
    filler = b"#" * (FILE_LIMIT_BYTES - len(MINIMAL))
    assert read_toml(write(tmp_path, MINIMAL.encode() + filler), Manifest)[1] == []
    assert the_problem(write(tmp_path, MINIMAL.encode() + filler + b"#")).reason == "larger than 1 MiB"


@pytest.mark.parametrize(
    "text",
    [
        "a = " + "[" * 5000,
        "a." * 5000 + "b = 1",
        "[" + "a." * 5000 + "b]",
        "a = " + "1" * 5000,
        MINIMAL + f'[limits]\nmemory = "{"9" * 400}GiB"',
        MINIMAL + "[limits]\nprocesses = -99999999999999999999",
        MINIMAL + "[restart]\nperiod = nan",
        "plugin = 3\nrun = []",
        "\0",
    ],
)
def test_what_is_too_deep_or_too_large_is_a_problem(tmp_path: Path, text: str) -> None:
    _, problems = read_toml(write(tmp_path, text), Manifest)
    assert problems


def test_a_text_that_was_read_already_is_not_read_again(tmp_path: Path) -> None:
    manifest, problems = read_toml(tmp_path / "none.toml", Manifest, source=MINIMAL)
    assert manifest is not None
    assert problems == []


def test_control_characters_of_a_file_do_not_reach_a_terminal(tmp_path: Path) -> None:
    problem = the_problem(write(tmp_path, '[host]\n"\\u001b[2J\\nx" = 1\n'), HostConfig)
    assert str(problem).isprintable()
    assert str(FileProblem("evil\x1b\n", 1, "a", "b")).isprintable()


def test_a_secret_is_seen_and_not_said(tmp_path: Path) -> None:
    problem = the_problem(write(tmp_path, '[host]\ntoken = "hunter2"\n'), HostConfig)
    assert problem.seen == "hunter2"
    assert "hunter2" not in str(problem)


def test_odd_keys_are_written_as_toml_writes_them() -> None:
    assert dotted(("plugins", "a b", "requires", "[1]", "é")) == 'plugins."a b".requires[1]."é"'


def test_a_problem_of_the_whole_file_names_the_file_alone() -> None:
    assert str(FileProblem("f", None, "", "larger than 1 MiB")) == "f: larger than 1 MiB"


NAMES = st.from_regex(r"[a-z][a-z0-9_-]{0,63}", fullmatch=True)
COUNTS = st.integers(1, 2**31)
SPANS = st.builds("{}{}".format, st.integers(1, 999), st.sampled_from(["ms", "s", "m", "h"]))
SIZES = st.builds("{}{}".format, st.integers(1, 999), st.sampled_from(["B", "KiB", "MiB", "GiB"]))
SETTINGS = st.dictionaries(
    st.text(min_size=1, max_size=8),
    st.recursive(
        st.booleans() | st.text() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
        max_leaves=8,
    ),
    max_size=4,
)
MANIFESTS = st.fixed_dictionaries(
    {
        "plugin": st.fixed_dictionaries(
            {"name": NAMES, "version": st.text(min_size=1, max_size=64)}, optional={"description": st.text()}
        ),
        "run": st.fixed_dictionaries(
            {"command": st.lists(st.text(), min_size=1)}, optional={"dependencies": st.lists(st.text())}
        )
        | st.fixed_dictionaries({"python": st.text(min_size=1)}, optional={"requires-python": st.text()}),
    },
    optional={
        "settings": SETTINGS,
        "limits": st.fixed_dictionaries({}, optional={"memory": SIZES, "processes": COUNTS}),
        "restart": st.fixed_dictionaries(
            {},
            optional={"policy": st.sampled_from(["always", "never", "on-failure"]), "period": SPANS},
        ),
        "health": st.fixed_dictionaries({}, optional={"interval": SPANS, "misses": COUNTS}),
        "start": st.fixed_dictionaries({}, optional={"requires": st.lists(NAMES), "timeout": SPANS}),
        "permissions": st.fixed_dictionaries({}, optional={"host": st.lists(st.text())}),
    },
)


@given(MANIFESTS)
def test_a_valid_manifest_reads_back_as_it_was_written(written: dict[str, Any]) -> None:
    manifest, problems = read_toml("plugin.toml", Manifest, source=tomli_w.dumps(written))
    assert problems == []
    assert manifest is not None
    assert manifest.plugin.name == written["plugin"]["name"]
    assert manifest.settings == written.get("settings", {})
    assert manifest.run.command == written["run"].get("command")
    assert manifest.start.requires == written.get("start", {}).get("requires")
    assert manifest.limits.processes == written.get("limits", {}).get("processes")


@given(st.text(alphabet='ab=.[]{},"\n 1', max_size=60) | st.text(max_size=60))
def test_no_text_raises(source: str) -> None:
    value, problems = read_toml("any.toml", HostConfig, source=source)
    assert (value is None) == bool(problems)
    parse_toml("any.toml", source)


def test_a_wrong_plugin_name_in_the_config_is_a_problem_that_names_it() -> None:
    _, [problem] = read_toml("outboard.toml", HostConfig, source='[plugins."Bad Name"]\nenabled = false\n')
    assert "'Bad Name'" in problem.reason


def test_requirements_cannot_be_a_default() -> None:
    _, [problem] = read_toml("outboard.toml", HostConfig, source='[defaults.start]\nrequires = ["a"]\n')
    assert (problem.line, problem.key) == (1, "defaults")


def test_a_whole_config_reads(tmp_path: Path) -> None:
    text = (
        '[host]\nplugins = ["plugins"]\nlog_level = "debug"\nlog_format = "json"\nmax_starts = 4\n'
        '[defaults.limits]\nmemory = "256MiB"\n[defaults.health]\ninterval = "2s"\n'
        '[plugins.hello]\nenabled = false\n[plugins.hello.settings]\ngreeting = "Hi"\n'
    )
    config, problems = read_toml(write(tmp_path, text, "outboard.toml"), HostConfig)
    assert problems == []
    assert config is not None
    assert config.host.max_starts == 4
    assert config.plugins["hello"].settings == {"greeting": "Hi"}
    assert not config.plugins["hello"].enabled


def test_a_watch_table_means_to_watch_and_its_absence_does_not() -> None:
    for source, enabled in (("", False), ("[watch]\n", True), ("[watch]\nenabled = false\n", False)):
        config, problems = read_toml("outboard.toml", HostConfig, source=source)
        assert problems == []
        assert config is not None
        assert config.watch.enabled is enabled


@pytest.mark.parametrize("value", ['"0s"', "0", '"1ms"', "-1", '"2h"', "inf", "nan", '"soon"', "true"])
@pytest.mark.parametrize("key", ["interval", "debounce"])
def test_nobody_looks_all_the_time_or_never(key: str, value: str) -> None:
    _, [problem] = read_toml("outboard.toml", HostConfig, source=f"[watch]\n{key} = {value}\n")
    assert problem.key.startswith("watch")
    assert problem.line


def test_every_problem_of_a_watch_table_is_told() -> None:
    source = '[watch]\nadded = "restart"\nchanged = "load"\nremove = "unload"\n'
    _, problems = read_toml("outboard.toml", HostConfig, source=source)
    assert {problem.key for problem in problems} == {"watch.added", "watch.changed", "watch.remove"}
