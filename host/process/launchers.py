"""From a manifest to what is executed: command, folder, environment. Pure, but for
looking whether folder and program are there.

The environment is made from an allow-list. Secrets travel in `initialize` and never in it.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

import plugin_sdk
from host.config.effective import PluginPolicy
from host.discovery.validate import Candidate
from host.observability.causes import Kind
from host.process.rlimits import for_child

INHERITED = ("PATH", "LANG", "LANGUAGE", "TZ", "TMPDIR", "SYSTEMROOT")
_BOOT = str(Path(plugin_sdk.__file__).with_name("boot.py"))


class LaunchSpec(msgspec.Struct, frozen=True):
    argv: list[str]
    folder: str
    environment: dict[str, str]
    fork_as: str | None = None
    """The name of what it is, if that is our own Python with our own SDK: then it may be forked, too."""


class CannotLaunch(Exception):
    """It cannot be started as things are, which is nobody's crash: a program is missing, say."""

    def __init__(self, reason: str, *, kind: Kind = "missing-program", fix: str | None = None) -> None:
        super().__init__(reason)
        self.kind: Kind = kind
        self.fix = fix


def launch_spec(
    candidate: Candidate,
    policy: PluginPolicy,
    *,
    instance: str,
    data_dir: str,
    inherited: Mapping[str, str],
    own_environment: str | None = None,
) -> LaunchSpec:
    """How to start `candidate`. Raises `CannotLaunch`.

    `own_environment` is the folder of the virtual environment that has its dependencies, if it has any.
    """
    run = candidate.manifest.run
    if not os.path.isdir(candidate.folder):
        fix = "put it back, or remove the plugin"
        raise CannotLaunch(f"its folder {candidate.folder} is not there", fix=fix)
    environment = inherited_by_plugins(inherited)
    environment.update(
        HOME=data_dir,
        OUTBOARD_INSTANCE=instance,
        OUTBOARD_HOST_PID=str(os.getpid()),
        OUTBOARD_RLIMITS=for_child(policy),
        PYTHONUTF8="1",
    )
    python = sys.executable
    if own_environment is not None:
        programs = os.path.join(own_environment, "bin")
        python = os.path.join(programs, "python")
        environment["PATH"] = os.pathsep.join(filter(None, (programs, environment.get("PATH"))))
    if run.python is not None:
        # -P: no folder of the author's on the path before our own modules are loaded.
        argv = [python, "-P", "-m", "plugin_sdk", "run", run.python]
        name = candidate.manifest.plugin.name if own_environment is None else None
        return LaunchSpec(argv, candidate.folder, environment, fork_as=name)
    assert run.command is not None
    program = _find(run.command[0], candidate.folder, environment.get("PATH"))
    # A plugin in another language is hardened by a wrapper that then becomes it.
    argv = [sys.executable, "-I", "-S", _BOOT, "--", program, *run.command[1:]]
    return LaunchSpec(argv, candidate.folder, environment)


def inherited_by_plugins(environ: Mapping[str, str]) -> dict[str, str]:
    """What of the host's own environment a plugin gets."""
    environment = {name: environ[name] for name in INHERITED if name in environ}
    return environment | {name: value for name, value in environ.items() if name.startswith("LC_")}


def _find(program: str, folder: str, path: str | None) -> str:
    local = os.path.join(folder, program)
    if "/" in program:
        if os.access(local, os.X_OK):
            return os.path.abspath(local)
        if os.path.exists(local):
            raise CannotLaunch(f"{program} is not an executable file in {folder}", fix=f"chmod +x {local}")
        raise CannotLaunch(f"{program} is not there (looked in {folder})", fix="mend [run] command")
    found = shutil.which(program, path=path)
    if found is None:
        raise CannotLaunch(
            f"`{program}` is not installed, or not on the PATH",
            fix=f"install {program}, or give its whole path in [run] command",
        )
    return found
