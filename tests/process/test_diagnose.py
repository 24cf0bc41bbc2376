"""Why a plugin ended, in one line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host.process.diagnose import diagnose
from host.process.exits import Exit

TRACEBACK = ["Traceback (most recent call last):", '  File "main.py", line 1, in <module>', "    import yaml"]


@pytest.mark.parametrize(
    ("exit", "tail", "before", "line"),
    [
        (
            Exit(1, None),
            [*TRACEBACK, "ModuleNotFoundError: No module named 'yaml.reader'"],
            "answered initialize",
            "exit code 1 before it answered initialize: module `yaml` is missing",
        ),
        (Exit(1, None), [*TRACEBACK, "KeyError: 'region'", "bye"], "", "exit code 1: KeyError: 'region'"),
        (Exit(1, None), ["my.own.TimeoutError: too slow"], "", "exit code 1: my.own.TimeoutError: too slow"),
        (Exit(127, None), [], "", "exit code 127: the program was not found"),
        (Exit(126, None), [], "", "exit code 126: the file is not a program that can be run"),
        (
            Exit(2, None),
            ["usage: tool [-h]", "tool: error: unrecognized arguments"],
            "answered initialize",
            "exit code 2 before it answered initialize: it printed its usage: "
            "the command in [run] needs other arguments",
        ),
        (Exit(3, None), ["first", "last words"], "", "exit code 3: last words"),
        (Exit(3, None), [], "", "exit code 3: it called exit and wrote nothing to stderr"),
        (Exit(0, None), ["all done"], "", "exit code 0"),
        (
            Exit(None, "SIGSEGV"),
            ["Fatal Python error: Segmentation fault"],
            "",
            "SIGSEGV (it touched memory that is not its own)",
        ),
        (None, [], "answered initialize", "the connection ended before it answered initialize"),
    ],
)
def test_the_cause_is_found_in_the_exit_and_the_last_lines(
    exit: Exit | None, tail: list[str], before: str, line: str
) -> None:
    assert diagnose(exit, tail, before=before).text == line


@given(tail=st.lists(st.text()), code=st.integers(0, 255))
def test_whatever_a_plugin_printed_there_is_a_cause(tail: list[str], code: int) -> None:
    assert diagnose(Exit(code, None), tail, before="").text.startswith(f"exit code {code}")


@pytest.mark.parametrize(
    ("exit", "tail", "kind", "fix"),
    [
        (Exit(1, None), ["ModuleNotFoundError: No module named 'yaml'"], "missing-module", '["yaml"]'),
        (Exit(1, None), ["KeyError: 'region'"], "exception", ""),
        (Exit(1, None), ["MemoryError"], "limit", "limits.memory"),
        (Exit(1, None), ["OSError: [Errno 24] Too many open files: 'x'"], "limit", "limits.open_files"),
        (Exit(None, "SIGXFSZ"), [], "limit", "limits.file_size"),
        (Exit(None, "SIGKILL"), ["ValueError: an old line"], "signal", ""),
        (Exit(3, None), ["bye"], "exit-code", ""),
        (Exit(0, None), [], "clean-exit", ""),
        (Exit(127, None), [], "missing-program", "install"),
        (Exit(126, None), [], "missing-program", "chmod"),
    ],
)
def test_the_kind_is_for_programs_and_the_fix_says_what_to_do(
    exit: Exit, tail: list[str], kind: str, fix: str
) -> None:
    found = diagnose(exit, tail, before="")
    assert found.kind == kind
    assert fix in (found.fix or "")


def test_a_kill_while_the_kernel_killed_for_memory_is_told_from_any_other() -> None:
    found = diagnose(Exit(None, "SIGKILL"), [], before="", oom_killed=True)
    assert found.kind == "out-of-memory"
    assert "kernel" in found.text


def test_a_plugin_with_its_own_interpreter_is_not_told_to_list_dependencies() -> None:
    tail = ["ModuleNotFoundError: No module named 'yaml'"]
    assert "dependencies" not in (diagnose(Exit(1, None), tail, before="", runs_sdk=False).fix or "")
