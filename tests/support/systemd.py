"""The service manager of whoever runs the tests, if one is there: scopes with and without delegation."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

PATIENCE_S = 30.0
KIND = "--system" if os.geteuid() == 0 else "--user"
RUNTIME = {"XDG_RUNTIME_DIR": os.environ.get("XDG_RUNTIME_DIR", f"/run/user/{os.geteuid()}")}


@cache
def why_not() -> str | None:
    """Why nothing here can be tried for real; None if it can."""
    if not Path("/sys/fs/cgroup/cgroup.controllers").exists():
        return "no cgroup v2 at /sys/fs/cgroup"
    if not shutil.which("systemd-run"):
        return "no systemd-run here"
    tried = manager("show", "--property=Version", "--value")
    if tried.returncode:
        return f"the service manager ({KIND}) does not answer: {tried.stderr.strip()}"
    ran = subprocess.run(scope("true"), capture_output=True, text=True, timeout=PATIENCE_S)
    return f"it makes no scopes: {ran.stderr.strip()}" if ran.returncode else None


def manager(*words: str) -> subprocess.CompletedProcess[str]:
    """`systemctl`, to its end."""
    return subprocess.run(
        ["systemctl", KIND, "--no-pager", *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        env=os.environ | RUNTIME,
    )


def scope(*command: str, delegate: str = "yes") -> list[str]:
    """What becomes `command` in a new scope."""
    return ["systemd-run", KIND, "--scope", "--quiet", f"--property=Delegate={delegate}", *command]
