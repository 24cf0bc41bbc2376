"""The kernel's limits of a process: what it starts with, and what a living one can be given."""

from __future__ import annotations

import resource
import subprocess
import sys

import msgspec
import pytest

from host.config.effective import PluginPolicy
from host.process import rlimits

POLICY = PluginPolicy(memory_bytes=2**30, open_files=500, file_size_bytes=None)
linux = pytest.mark.skipif(sys.platform != "linux", reason="prlimit is Linux's")


def test_a_child_gets_those_that_there_are_and_never_a_core() -> None:
    assert rlimits.for_child(POLICY) == "DATA=1073741824,NOFILE=500,CORE=0"


@linux
def test_a_living_process_gets_what_differs_and_nothing_else() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        before = {name: resource.prlimit(process.pid, getattr(resource, f"RLIMIT_{name}")) for name in ALL}
        after = msgspec.structs.replace(POLICY, open_files=100)
        assert rlimits.change(process.pid, POLICY, after) == []
        now = {name: resource.prlimit(process.pid, getattr(resource, f"RLIMIT_{name}")) for name in ALL}
        assert now == before | {"NOFILE": (100, 100)}
        process.kill()


ALL = ("DATA", "NOFILE", "FSIZE", "CORE")


@linux
def test_one_that_has_ended_is_nobodys_problem() -> None:
    assert rlimits.change(2**22 + 1, POLICY, msgspec.structs.replace(POLICY, open_files=100)) == []


@linux
def test_what_the_kernel_refuses_is_said() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        refused = rlimits.change(process.pid, POLICY, msgspec.structs.replace(POLICY, open_files=2**62))
        process.kill()
    assert len(refused) == 1
    assert refused[0].startswith("RLIMIT_NOFILE holds from its next start on: ")


@linux
def test_lowering_holds_at_once_and_raising_where_it_is_allowed() -> None:
    assert rlimits.holds_at_once(200, 100)
    assert rlimits.holds_at_once(None, 100)
    assert rlimits.holds_at_once(100, 200) == rlimits.holds_at_once(100, None)
