"""Secrets, fetched for the plugin that they are for: out of a file, or from a command.

A file has to be this user's own, and nobody else's to read. A command gets no input, little time, and may
say little. What is fetched goes to the plugin alone: never into an argument, the environment, a message
or a log.
"""

from __future__ import annotations

import os
import select
import signal
import stat
import subprocess
import time
from collections.abc import Mapping, Sequence
from typing import Any

import anyio.to_thread

from protocol.secrets import is_reference, secret_paths, value_at, with_value_at

__all__ = ["SecretProblem", "resolved"]

LIMIT_BYTES = 64 * 1024
COMMAND_S = 10.0


class SecretProblem(Exception):
    """A secret that cannot be had. Neither field has any of it."""

    def __init__(self, path: Sequence[str], reason: str) -> None:
        super().__init__(f"settings.{'.'.join(path)}: {reason}")
        self.path = tuple(path)
        self.reason = reason


async def resolved(settings: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with every secret in its place. Takes `COMMAND_S` for each command at the most.

    Raises:
        SecretProblem: the first one.
    """
    found = dict(settings)
    for path in sorted(secret_paths(schema)):
        value = value_at(settings, path)
        if value is None:
            continue
        if not is_reference(value):
            say = 'write { file = "/path" } or { command = ["program", "argument"] }'
            raise SecretProblem(path, f"is a secret, and must not stand here itself: {say}")
        try:
            secret = await anyio.to_thread.run_sync(_fetch, value)
        except _Unfetched as problem:
            raise SecretProblem(path, str(problem)) from None
        found = with_value_at(found, path, secret)
    return found


class _Unfetched(Exception):
    pass


def _fetch(reference: Mapping[str, Any]) -> str:
    data = _from_file(reference["file"]) if "file" in reference else _from_command(reference["command"])
    if len(data) > LIMIT_BYTES:
        raise _Unfetched(f"it is larger than {LIMIT_BYTES // 1024} KiB")
    try:
        text = data.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise _Unfetched("it is not UTF-8") from None
    if not text:
        raise _Unfetched("it is empty")
    return text


def _from_file(path: str) -> bytes:
    full = os.path.expanduser(path)
    if not os.path.isabs(full):
        raise _Unfetched(f"{path!r} is a relative path; write a whole one, or one that begins with ~/")
    try:
        fd = os.open(full, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(fd, "rb") as file:
            about = os.fstat(fd)
            if not stat.S_ISREG(about.st_mode):
                raise _Unfetched(f"{path} is not a regular file")
            if about.st_uid != os.geteuid():
                raise _Unfetched(f"{path} belongs to another user; chown it")
            if about.st_mode & 0o077:
                raise _Unfetched(f"others may read {path} (mode {about.st_mode & 0o777:04o}); chmod 600 it")
            return file.read(LIMIT_BYTES + 1)
    except (OSError, ValueError) as error:
        raise _Unfetched(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _from_command(words: Sequence[str]) -> bytes:
    program = words[0]
    try:
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # which might hold what nobody is to read
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise _Unfetched(f"`{program}` cannot be run: {reason}") from None
    with process:
        try:
            return _said(process, program)
        finally:
            try:
                os.killpg(process.pid, signal.SIGKILL)  # it, and whatever it has begun
            except (ProcessLookupError, PermissionError):
                pass


def _said(process: subprocess.Popen[bytes], program: str) -> bytes:
    assert process.stdout is not None
    data = b""
    ends_at = time.monotonic() + COMMAND_S
    fd = process.stdout.fileno()
    readable = select.poll()  # `select` knows no descriptor above 1023, and a host may have more
    readable.register(fd, select.POLLIN)
    while len(data) <= LIMIT_BYTES:
        if not readable.poll(max(0.0, ends_at - time.monotonic()) * 1000):
            raise _Unfetched(f"`{program}` took longer than {COMMAND_S:g} s")
        more = os.read(fd, LIMIT_BYTES + 1)
        if not more:
            break
        data += more
    if len(data) > LIMIT_BYTES:
        return data
    try:
        code = process.wait(max(0.0, ends_at - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise _Unfetched(f"`{program}` took longer than {COMMAND_S:g} s") from None
    if code != 0:
        raise _Unfetched(f"`{program}` ended with exit code {code}; run it by hand to see why")
    return data
