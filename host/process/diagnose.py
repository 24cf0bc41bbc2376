"""Why a plugin did not start, or how it died: a kind for programs, a line for people. Pure.

The idea is go-plugin's `Diagnose`: a start that fails explains itself.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Sequence

import msgspec

from host.observability.causes import Kind
from host.process.exits import Exit

_MISSING_MODULE = re.compile(r"ModuleNotFoundError: No module named '([^']+)'")
_EXCEPTION = re.compile(r"^[A-Za-z_][\w.]*(?:Error|Exception|Interrupt|Exit|Warning)(?::.*)?$")
_USAGE = re.compile(r"^usage:", re.IGNORECASE)
_OUT_OF_FILES = re.compile(r"\[Errno 24\]|Too many open files|EMFILE")

_SCARCE = {
    errno.EMFILE: "start outboard with a higher limit of open files (ulimit -n, LimitNOFILE)",
    errno.ENFILE: "the machine has no file left to open: close some, or raise fs.file-max",
    errno.EAGAIN: "there may be no more processes: raise ulimit -u, or TasksMax of the service",
    errno.ENOMEM: "the machine has no memory left for another process",
    errno.ENOSPC: "make room on the disk of the plugins' data",
}


class Diagnosis(msgspec.Struct, frozen=True):
    """What can be told from an exit status and the last lines of stderr."""

    kind: Kind
    text: str
    fix: str | None = None


def diagnose(
    exit: Exit | None, tail: Sequence[str], *, before: str, runs_sdk: bool = True, oom_killed: bool = False
) -> Diagnosis:
    """The cause of an end nobody asked for.

    `runs_sdk` says whether the interpreter is one that we choose; `before` what it had not done yet ("" if
    it was running); `oom_killed` whether the kernel has counted one more process killed for memory while
    this one ended.
    """
    ending = "the connection ended" if exit is None else str(exit)
    if oom_killed and exit is not None and exit.signal == "SIGKILL":
        ending = "SIGKILL (the kernel killed for want of memory just then)"
    while_ = f" before it {before}" if before else ""
    found = _looked_at(exit, tail, runs_sdk=runs_sdk, oom_killed=oom_killed)
    return Diagnosis(found.kind, f"{ending}{while_}{': ' + found.text if found.text else ''}", found.fix)


def missing_module(line: str, *, runs_sdk: bool = True) -> Diagnosis | None:
    """For a line that says a Python module is not there: which one, and what to do."""
    missing = _MISSING_MODULE.search(line)
    if missing is None:
        return None
    module = missing.group(1).split(".")[0]
    fix = "install it where the plugin's own interpreter finds it"
    if runs_sdk:
        where = "[run] of plugin.toml, or the script block"
        fix = f'list the package that has it in {where}: dependencies = ["{module}"]; then outboard reload'
    return Diagnosis("missing-module", f"module `{module}` is missing", fix)


def raised(line: str) -> Diagnosis:
    """For the last line of a traceback: a limit that the kernel keeps shows as an exception, too."""
    if line.split(":")[0] == "MemoryError":
        text = f"{line.rstrip(' :')} (limits.memory, which RLIMIT_DATA keeps)"
        return Diagnosis("limit", text, "raise limits.memory, or have it use less")
    if _OUT_OF_FILES.search(line):
        return Diagnosis(
            "limit", f"{line} (limits.open_files)", "raise limits.open_files, or have it close some"
        )
    return Diagnosis("exception", line)


def not_spawned(error: OSError) -> Diagnosis:
    """Why the kernel did not give us a process: a fault of the host's surroundings, mostly."""
    name = errno.errorcode.get(error.errno or 0, "")
    said = error.strerror or str(error)
    text = f"it could not be spawned: {name}: {said}" if name else f"it could not be spawned: {said}"
    return Diagnosis("not-spawned", text, _SCARCE.get(error.errno or 0))


def _looked_at(exit: Exit | None, tail: Sequence[str], *, runs_sdk: bool, oom_killed: bool) -> Diagnosis:
    """The most telling thing there is, without the exit status itself."""
    if exit is not None and exit.signal is not None:
        return _signalled(exit.signal, oom_killed=oom_killed)
    for line in reversed(tail):
        if found := missing_module(line, runs_sdk=runs_sdk):
            return found
    for line in reversed(tail):
        if _EXCEPTION.match(line):
            return raised(line)
    if exit is None:
        return Diagnosis("exit-code", "")
    if exit.code == 127:
        return Diagnosis("missing-program", "the program was not found", "install it, or mend [run] command")
    if exit.code == 126:
        fix = "chmod +x it, or name its interpreter in [run] command"
        return Diagnosis("missing-program", "the file is not a program that can be run", fix)
    if any(_USAGE.match(line) for line in tail):
        fix = "mend [run] command in plugin.toml"
        return Diagnosis("exit-code", "it printed its usage: the command in [run] needs other arguments", fix)
    if exit.is_clean:
        return Diagnosis("clean-exit", "")
    return Diagnosis("exit-code", tail[-1] if tail else "it called exit and wrote nothing to stderr")


def _signalled(signal: str, *, oom_killed: bool) -> Diagnosis:
    if signal == "SIGKILL" and oom_killed:
        return Diagnosis("out-of-memory", "", "give the machine more memory, or the plugin a lower limit")
    if signal == "SIGXFSZ":
        return Diagnosis("limit", "", "raise limits.file_size, or have it write less")
    if signal == "SIGXCPU":
        return Diagnosis("limit", "", "raise the limit of processor time that outboard was started with")
    return Diagnosis("signal", "")
