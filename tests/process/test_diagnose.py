"""Why a plugin ended, in one line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host.process.diagnose import why_it_ended
from host.process.exits import Exit

TRACEBACK = ["Traceback (most recent call last):", '  File "main.py", line 1, in <module>', "    import yaml"]


@pytest.mark.parametrize(
    ("exit", "tail", "before", "line"),
    [
        (
            Exit(1, None),
            [*TRACEBACK, "ModuleNotFoundError: No module named 'yaml.reader'"],
            "answered initialize",
            "exit code 1 before it answered initialize: module `yaml` is missing: "
            "install it where the plugin's interpreter finds it",
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
    assert why_it_ended(exit, tail, before=before) == line


@given(tail=st.lists(st.text()), code=st.integers(0, 255))
def test_whatever_a_plugin_printed_there_is_a_cause(tail: list[str], code: int) -> None:
    assert why_it_ended(Exit(code, None), tail, before="").startswith(f"exit code {code}")
