"""A new plugin runs as it is written, whatever it is begun with."""

from __future__ import annotations

import shutil
import subprocess
import sys
import unittest
from pathlib import Path

import pytest

from host.authoring.scaffold import TEMPLATES, scaffold, write
from host.discovery.names import name_fault
from host.discovery.validate import Candidate, load_manifest
from host.errors import PluginExists

KINDS = [(kind, False) for kind in TEMPLATES] + [
    (kind, True) for kind, template in TEMPLATES.items() if template.may_be_one_file
]


def ran(folder: Path, monkeypatch: pytest.MonkeyPatch) -> unittest.TestResult:
    """As `outboard test` runs them, in here."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    suite = unittest.TestLoader().discover(str(folder), pattern="test_*.py")
    result = unittest.TestResult()
    suite.run(result)
    return result


@pytest.mark.parametrize(("kind", "one_file"), KINDS)
def test_its_manifest_is_right_and_its_own_tests_pass(
    kind: str, one_file: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == "node" and shutil.which("node") is None:
        pytest.skip("there is no node")
    name = f"new-{kind}{'-alone' if one_file else ''}"  # a test's module is imported once
    made = scaffold(name, kind, one_file=one_file)
    write(made, tmp_path)
    loaded = load_manifest(tmp_path / made.path)
    assert isinstance(loaded, Candidate)
    assert (loaded.name, loaded.single_file) == (name, one_file)
    result = ran(tmp_path if one_file else tmp_path / made.path, monkeypatch)
    assert result.testsRun > 0
    assert (result.errors, result.failures) == ([], [])


def test_what_is_written_is_as_tidy_as_an_author_would_have_it(tmp_path: Path) -> None:
    for kind, one_file in KINDS:
        write(scaffold(f"a-{kind}{'-alone' if one_file else ''}", kind, one_file=one_file), tmp_path)
    ruff = [sys.executable, "-m", "ruff"]
    for words in (["format", "--check", "--line-length", "110"], ["check", "--select", "E4,E7,E9,F,I,W"]):
        done = subprocess.run([*ruff, *words, "--isolated", str(tmp_path)], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_a_second_plugin_of_the_name_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    write(scaffold("twice", "method"), tmp_path)
    (tmp_path / "twice" / "main.py").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(PluginExists):
        write(scaffold("twice", "stream"), tmp_path)
    with pytest.raises(PluginExists):  # its test is in the way of another one's
        (tmp_path / "test_twice.py").touch()
        write(scaffold("twice", "method", one_file=True), tmp_path)
    (tmp_path / "test_twice.py").unlink()
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "twice" / "main.py").read_text() == "mine"


@pytest.mark.parametrize(
    ("name", "better"),
    [
        ("Greeter", "greeter"),
        ("my plugin!", "my-plugin"),
        ("9lives", "lives"),
        ("", None),
        ("…", None),
        ("a" * 65, None),
        ("../x", "x"),
    ],
)
def test_a_name_that_cannot_be_one_is_told_what_could(name: str, better: str | None) -> None:
    fault = name_fault(name)
    assert fault is not None
    assert fault[1] == better
    assert fault[0].isprintable()


def test_a_name_that_can_be_one_has_no_fault() -> None:
    assert name_fault("a-1_b") is None
