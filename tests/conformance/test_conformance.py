"""Plugins that keep to the protocol pass, and a fault fails the one check that is about it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from host.conformance.run import CHECKS, conformance
from host.conformance.subject import of_command, of_plugin
from host.conformance.verdicts import Result
from host.discovery.validate import Candidate, load_manifest
from tests.support.daemon import SAMPLES, environment, outboard

FAULTY = Path(__file__).with_name("faulty.py")
PAGE = Path(__file__).parents[2] / "docs" / "reference" / "protocol.md"


def results_of(folder: Path, *faults: str) -> dict[str, Result]:
    subject = of_command(
        [sys.executable, "-I", "-S", str(FAULTY), *faults],
        str(folder),
        str(folder),
        slow=("work", {"seconds": 0.02}),
        call=("items", {}),
        timeout_s=0.5,
    )
    return {result.name: result for result in conformance(subject)}


def failed(results: dict[str, Result]) -> set[str]:
    return {result.name for result in results.values() if result.verdict == "FAIL"}


def test_a_plugin_by_hand_that_keeps_to_the_protocol_fails_no_check(tmp_path: Path) -> None:
    results = results_of(tmp_path)
    assert list(results) == list(CHECKS)
    assert failed(results) == set()
    # What it has not announced, and what takes too short to be asked about meanwhile.
    skipped = {name for name, each in results.items() if each.verdict == "SKIP"}
    assert skipped == {"settings", "call", "ping-while-busy", "msgpack"}


FAULTS = {
    "early": "before-initialize",
    "version": "versions",
    "supported": "versions",
    "eof-early": "end-of-stdin-early",
    "protocol": "initialize",
    "feature": "initialize",
    "start": "start",
    "speaks": "quiet-before-start",
    "again": "initialize-twice",
    "unknown": "unknown-method",
    "notifications": "unknown-notification",
    "numbers": "ids",
    "ids": "bad-ids",
    "params": "bad-params",
    "json": "not-json",
    "no-message": "not-a-message",
    "batch": "batch",
    "replies": "stray-replies",
    "small": "large-frame",
    "only-one-header": "chunks",
    "ping": "ping",
    "twice": "one-reply",
    "progress": "progress",
    "no-credit": "stream",
    "greedy": "stream",
    "seq": "stream",
    "serves-on": "shutdown",
    "exit": "exit",
    "eof": "end-of-stdin",
    "header": "stdout",
    "hello": "stdout",
}
"""What is wrong with a plugin, and the check that is about it."""
TOGETHER = [
    ["early", "again", "numbers", "json", "small", "no-credit", "exit", "hello"],
    ["version", "notifications", "ids", "no-message", "only-one-header", "serves-on"],
    ["supported", "params", "batch", "greedy", "eof", "header"],
    ["eof-early", "unknown", "replies", "progress", "seq"],
    ["twice", "ping", "speaks"],
    ["feature"],
    ["protocol"],
    ["start"],
]
"""Faults that do not meet: as many as one plugin can have at a time, because each costs some processes."""


def test_every_fault_is_in_some_plugin() -> None:
    assert sorted(fault for faults in TOGETHER for fault in faults) == sorted(FAULTS)


@pytest.mark.parametrize("faults", TOGETHER, ids="+".join)
def test_a_fault_fails_the_check_that_is_about_it_and_no_other(tmp_path: Path, faults: list[str]) -> None:
    results = results_of(tmp_path, *faults)
    assert failed(results) == {FAULTS[fault] for fault in faults}


def test_a_plugin_that_says_nothing_is_told_so_once(tmp_path: Path) -> None:
    subject = of_command(["sleep", "60"], str(tmp_path), str(tmp_path), timeout_s=0.1)
    results = {result.name: result for result in conformance(subject, ["before-initialize", "ids", "stdout"])}
    assert results["before-initialize"].seen == "nothing within 0.1 s"


def test_a_plugin_that_ends_at_once_is_told_with_its_last_words(tmp_path: Path) -> None:
    command = [sys.executable, "-I", "-S", "-c", "import nowhere"]
    results = list(
        conformance(of_command(command, str(tmp_path), str(tmp_path), timeout_s=1.0), ["ids", "versions"])
    )
    assert [each.verdict for each in results] == ["FAIL", "SKIP"]
    assert "ModuleNotFoundError: No module named 'nowhere'" in results[0].seen


@pytest.mark.parametrize("name", ["hello", "wordcount", "rot13"])
def test_every_sample_passes(tmp_path: Path, name: str) -> None:
    candidate = load_manifest(SAMPLES / name)
    assert isinstance(candidate, Candidate)
    results = {result.name: result for result in conformance(of_plugin(candidate, str(tmp_path)))}
    assert failed(results) == set()


def test_every_check_names_a_heading_of_the_page() -> None:
    headings = {
        line.lstrip("#").strip().lower().replace("/", "").replace(",", "").replace(" ", "-")
        for line in PAGE.read_text().splitlines()
        if line.startswith("#")
    }
    assert {check.section.partition("#")[2] for check in CHECKS.values()} <= headings


def test_the_command_prints_a_line_each_and_its_exit_code_says_whether_any_failed(tmp_path: Path) -> None:
    env = environment(tmp_path)
    done = outboard("conformance", "--only", "versions", SAMPLES / "rot13", env=env)
    assert (done.code, done.out.splitlines()[0]) == (
        0,
        "PASS  versions              error -32008, supported [1]",
    )
    words = (sys.executable, "-I", "-S", FAULTY, "version")
    done = outboard("conformance", "--json", "--only", "versions,initialize", "--", *words, env=env)
    assert done.code == 1
    assert done.json["counts"] == {"PASS": 1, "FAIL": 1, "SKIP": 0}
    assert json.loads(done.out)["checks"][0]["section"] == "docs/reference/protocol.md#initialize"
    done = outboard("conformance", "--only", "verisons", SAMPLES / "rot13", env=env)
    assert done.code == 2
    assert "Did you mean `versions`?" in done.err
    assert outboard("conformance", "--json", "--", "no-such-program", env=env).error["code"] == "OB401"
