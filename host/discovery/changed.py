"""Whether a plugin's code is newer than its process.

Told from the files' change times, which a copy that keeps the old modification time cannot turn back,
and which need nothing to be remembered from the start. Only files that are code count: a plugin may
keep a database in its folder.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator

from host.discovery.validate import Candidate

CODE = (
    *(".py", ".js", ".mjs", ".cjs", ".ts", ".pl", ".pm", ".rb", ".lua", ".php", ".sh"),
    *(".so", ".jar", ".wasm"),
)
MAX_FILES = 2000
"""More than that of a plugin's files are not looked at."""
MAX_ENTRIES = 20_000
"""Nor is a folder walked further: a plugin may keep a million pictures there."""
_NEVER_CODE = ("__pycache__", "node_modules", "site-packages")


def changed_since(candidate: Candidate, unix_time: float) -> str | None:
    """The first file of the plugin's code that changed after `unix_time`; None if none did. Never raises."""
    for path in code_files(candidate):
        try:
            if os.stat(path).st_ctime > unix_time:
                return os.path.relpath(path, candidate.folder)
        except OSError:
            continue  # it went away since it was listed
    return None


def code_files(candidate: Candidate) -> Iterator[str]:
    """Absolute paths of its code, at most `MAX_FILES`."""
    if candidate.single_file:
        yield candidate.file
        return
    yield from code_in(candidate.folder, named_files(candidate))


def code_in(top: str, named: Collection[str]) -> Iterator[str]:
    """Paths of the code in a folder: by their suffix, or because they are `named`. At most `MAX_FILES`."""
    code = entries = 0
    for folder, folders, files in os.walk(top):
        folders[:] = sorted(name for name in folders if name not in _NEVER_CODE and not name.startswith("."))
        entries += len(folders) + len(files)
        for name in sorted(files):
            path = os.path.join(folder, name)
            if name.endswith(CODE) or path in named:
                code += 1
                if code > MAX_FILES:
                    return
                yield path
        if entries > MAX_ENTRIES:
            return


def named_files(candidate: Candidate) -> frozenset[str]:
    """Where the words of its command would be files of its own; some of them are."""
    command = candidate.manifest.run.command or []
    return frozenset(os.path.normpath(os.path.join(candidate.folder, word)) for word in command if word)


def missing_file(candidate: Candidate) -> str | None:
    """A word of its command that must be a file of its own, and is not there; None if there is no such."""
    for index, word in enumerate(candidate.manifest.run.command or []):
        means_a_file = "/" in word if index == 0 else word.endswith(CODE) and not word.startswith("-")
        if means_a_file and not os.path.exists(os.path.join(candidate.folder, word)):
            return word
    return None
