"""Folders looked through for plugins: what is found, what is a problem, and what is neither."""

from __future__ import annotations

import os
import shutil
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from host.discovery.scan import Found, scan

SCRIPT = '# /// script\n# [tool.outboard]\n# name = "{name}"\n# version = "1"\n# ///\nraise SystemExit(1)\n'


def add_plugin(folder: Path, name: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "plugin.toml").write_text(
        f'[plugin]\nname = "{name or folder.name}"\nversion = "1"\n[run]\npython = "main.py"\n'
    )
    (folder / "main.py").write_text("raise SystemExit('plugin code was run')\n")
    return folder


def names(found: Found) -> list[str]:
    return [candidate.name for candidate in found.candidates]


def test_folders_and_one_file_plugins_are_found_in_sorted_order(tmp_path: Path) -> None:
    add_plugin(tmp_path / "zeta")
    add_plugin(tmp_path / "alpha")
    (tmp_path / "middle.py").write_text(SCRIPT.format(name="middle"))
    found = scan([tmp_path])
    assert found.problems == ()
    assert names(found) == ["alpha", "middle", "zeta"]


def test_the_order_of_folders_comes_first(tmp_path: Path) -> None:
    add_plugin(tmp_path / "two" / "a")
    add_plugin(tmp_path / "one" / "b")
    assert names(scan([tmp_path / "two", tmp_path / "one"])) == ["a", "b"]


def test_a_folder_may_itself_be_a_plugin(tmp_path: Path) -> None:
    assert names(scan([add_plugin(tmp_path / "self")])) == ["self"]


def test_a_file_may_be_given_instead_of_a_folder(tmp_path: Path) -> None:
    single = tmp_path / "single.py"
    single.write_text(SCRIPT.format(name="single"))
    found = scan([single, add_plugin(tmp_path / "whole") / "plugin.toml"])
    assert (names(found), found.problems) == (["single", "whole"], ())
    assert [scan([each]).problems != () for each in (tmp_path / "none.py", tmp_path / "plugin.toml")] == [
        True
    ] * 2


def test_an_empty_list_and_an_empty_folder_hold_nothing(tmp_path: Path) -> None:
    assert scan([]) == scan([tmp_path]) == Found((), ())


def test_what_is_no_plugin_is_no_problem(tmp_path: Path) -> None:
    (tmp_path / "library.py").write_text("x = 1\n")
    (tmp_path / "tool.py").write_text("# /// script\n# dependencies = []\n# ///\n")
    (tmp_path / "broken.py").write_bytes(b"\xff\xfe")
    (tmp_path / "large.py").write_bytes(b"#" * 1_100_000)
    (tmp_path / "README.md").write_text("")
    (tmp_path / "notes").mkdir()
    os.mkfifo(tmp_path / "pipe")
    os.mkfifo(tmp_path / "pipe.py")
    assert scan([tmp_path]) == Found((), ())


@pytest.mark.parametrize("skipped", [".hidden", "__pycache__", "node_modules"])
def test_some_folders_are_never_looked_into(tmp_path: Path, skipped: str) -> None:
    add_plugin(tmp_path / skipped, "inside")
    (tmp_path / ".hidden.py").write_text(SCRIPT.format(name="hidden"))
    assert scan([tmp_path]) == Found((), ())


def test_plugins_are_found_one_level_deep_only(tmp_path: Path) -> None:
    add_plugin(tmp_path / "deep" / "deeper")
    assert scan([tmp_path]) == Found((), ())


def test_no_plugin_code_is_imported(tmp_path: Path) -> None:
    add_plugin(tmp_path / "hello")
    (tmp_path / "greet.py").write_text(SCRIPT.format(name="greet"))
    before = set(sys.modules)
    assert names(scan([tmp_path])) == ["greet", "hello"]
    assert {"main", "greet", "hello"}.isdisjoint(set(sys.modules) - before)


def test_a_broken_plugin_is_a_problem_and_does_not_hide_its_neighbours(tmp_path: Path) -> None:
    add_plugin(tmp_path / "a")
    (add_plugin(tmp_path / "b") / "plugin.toml").write_text("[plugin\n")
    (tmp_path / "c.py").write_text(SCRIPT.format(name="Bad Name"))
    add_plugin(tmp_path / "d")
    found = scan([tmp_path])
    assert names(found) == ["a", "d"]
    assert [problem.file for problem in found.problems] == [
        str(tmp_path / "b" / "plugin.toml"),
        str(tmp_path / "c.py"),
    ]


def test_a_one_file_plugin_with_a_syntax_error_in_its_block_is_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / "c.py").write_text(SCRIPT.format(name='c"'))
    assert len(scan([tmp_path]).problems) == 1


def test_of_two_plugins_with_one_name_the_first_wins_and_the_problem_names_both(tmp_path: Path) -> None:
    add_plugin(tmp_path / "a", "same")
    add_plugin(tmp_path / "b", "same")
    found = scan([tmp_path])
    [candidate], [problem] = found.candidates, found.problems
    assert candidate.folder == str(tmp_path / "a")
    assert str(tmp_path / "a" / "plugin.toml") in str(problem)
    assert problem.file == str(tmp_path / "b" / "plugin.toml")
    assert (problem.key, problem.line) == ("plugin.name", 2)


def test_a_duplicate_one_file_plugin_is_told_by_its_line(tmp_path: Path) -> None:
    add_plugin(tmp_path / "a", "same")
    (tmp_path / "b.py").write_text(SCRIPT.format(name="same"))
    [problem] = scan([tmp_path]).problems
    assert (problem.key, problem.line) == ("tool.outboard.name", 3)


def test_a_plugin_with_problems_takes_no_name(tmp_path: Path) -> None:
    (add_plugin(tmp_path / "a", "same") / "main.py").unlink()
    add_plugin(tmp_path / "b", "same")
    found = scan([tmp_path])
    assert found.candidates[0].folder == str(tmp_path / "b")
    assert len(found.problems) == 1


def test_one_plugin_reached_twice_is_no_duplicate(tmp_path: Path) -> None:
    add_plugin(tmp_path / "hello")
    (tmp_path / "link").symlink_to("hello")
    found = scan([tmp_path, tmp_path, tmp_path / "hello"])
    assert (names(found), found.problems) == (["hello"], ())


@pytest.mark.parametrize("name", ["gone", "file", "file/below", "a\0b"])
def test_a_folder_that_cannot_be_listed_is_a_problem(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("")
    found = scan([tmp_path / name])
    assert found.candidates == ()
    assert found.problems[0].reason.startswith("cannot be read: ")


def test_folders_that_may_not_be_read_are_problems(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root reads folders of every mode")
    locked = add_plugin(tmp_path / "locked")
    add_plugin(tmp_path / "open")
    locked.chmod(0)
    try:
        found = scan([tmp_path, locked])
    finally:
        locked.chmod(0o700)
    assert names(found) == ["open"]
    assert [problem.file for problem in found.problems] == [str(locked), str(locked)]


@pytest.mark.parametrize("target", ["link", "nowhere"])
def test_a_symlink_to_itself_or_to_nowhere_is_a_problem(tmp_path: Path, target: str) -> None:
    (tmp_path / "link").symlink_to(target)
    add_plugin(tmp_path / "other")
    found = scan([tmp_path])
    assert names(found) == ["other"]
    assert [problem.file for problem in found.problems] == [str(tmp_path / "link")]


def test_a_manifest_that_is_a_symlink_to_nowhere_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "plugin.toml").symlink_to("nowhere")
    assert len(scan([tmp_path]).problems) == 1


def test_a_symlink_to_the_folder_above_does_not_trap_the_scan(tmp_path: Path) -> None:
    add_plugin(tmp_path)
    (tmp_path / "plugin.toml").write_text((tmp_path / "plugin.toml").read_text().replace("main.py", "main"))
    (tmp_path / "up").symlink_to(".")
    found = scan([tmp_path])
    assert len(found.candidates) + len(found.problems) == 1


def test_a_name_that_is_not_utf_8_is_a_problem(tmp_path: Path) -> None:
    try:
        os.mkdir(os.fsencode(tmp_path) + b"/bad\xff")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    [problem] = scan([tmp_path]).problems
    assert problem.file.endswith("bad\\xff")


class VanishingFolders(list[Path]):
    """Removes each folder at the moment it is handed out."""

    def __iter__(self) -> Iterator[Path]:
        for folder in super().__iter__():
            shutil.rmtree(folder)
            yield folder


def test_a_folder_that_is_removed_while_scanning_is_a_problem(tmp_path: Path) -> None:
    add_plugin(tmp_path / "one" / "a")
    found = scan(VanishingFolders([tmp_path / "one"]))
    assert (found.candidates, len(found.problems)) == ((), 1)


def test_plugins_that_come_and_go_while_scanning_never_raise(tmp_path: Path) -> None:
    add_plugin(tmp_path / "steady")
    stop = threading.Event()

    def come_and_go() -> None:
        while not stop.is_set():
            add_plugin(tmp_path / "fleeting")
            shutil.rmtree(tmp_path / "fleeting")

    thread = threading.Thread(target=come_and_go)
    thread.start()
    try:
        for _ in range(300):
            assert "steady" in names(scan([tmp_path]))
    finally:
        stop.set()
        thread.join(10)
