"""A command answers before anybody has looked away: it loads nothing that it does not need."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {"anyio", "asyncio", "jsonschema_rs", "loguru", "psutil", "rich", "tomli_w", "uvloop", "host.host"}


@pytest.mark.parametrize("command", ["status", "call", "logs", "lifecycle", "run", "systemd"])
def test_a_command_loads_no_event_loop_and_no_log(command: str) -> None:
    code = f"import sys, host.cli.app, host.cli.{command}; print(*({HEAVY!r} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert ran.stdout.split() == []
