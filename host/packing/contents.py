"""Which files of a plugin go into its pack.

What begins with a dot stays out, and what Python or an editor leaves behind, and virtual environments; a
`.outboardignore` beside the manifest, written like a `.gitignore`, has the last word. What cannot travel is a
problem, by name.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import msgspec

from host.discovery.changed import missing_file
from host.discovery.validate import Candidate
from host.packing.names import clashes, path_fault

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

__all__ = ["IGNORE_FILE", "MAX_FILES", "MAX_TOTAL", "Contents", "Entry", "contents_of"]

IGNORE_FILE = ".outboardignore"
NEVER = (".*", "__pycache__/", "*.py[co]", "*~")
MAX_FILES = 10_000
MAX_TOTAL = 256 * 1024 * 1024
MOST_RULES = 64 * 1024
"""Bytes of a `.outboardignore`."""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One file: where it will be in the pack, and where it is."""

    path: str
    source: str
    size: int
    is_executable: bool


class Contents(msgspec.Struct, kw_only=True):
    entries: list[Entry] = []
    """In the order in which they are packed."""
    left_out: list[str] = []
    """What the rules keep out; folders end in a slash."""
    problems: list[str] = []


def contents_of(candidate: Candidate) -> Contents:
    """Looks at every file once, and reads none but the rules."""
    found = Contents()
    if candidate.single_file:
        name = os.path.basename(candidate.file)
        _take(found, os.path.realpath(candidate.file), name)
    else:
        top = os.path.realpath(candidate.folder)
        rules = _rules(candidate, found)
        if rules is not None:
            _walk(found, top, "", rules)
    found.entries.sort(key=lambda entry: entry.path.encode(errors="surrogateescape"))
    found.problems += _of_all(candidate, found)
    return found


def _rules(candidate: Candidate, found: Contents) -> GitIgnoreSpec | None:
    from pathspec import GitIgnoreSpec

    lines = [*NEVER, f"/{candidate.name}-*.zip"]  # its own packs, or each would hold those before it
    file = os.path.join(candidate.folder, IGNORE_FILE)
    try:
        fd = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe would be waited for
        with open(fd, "rb") as opened:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise ValueError("it is no regular file")
            text = opened.read(MOST_RULES + 1)
        if len(text) > MOST_RULES:
            raise ValueError(f"it has more than {MOST_RULES} bytes")
        lines += text.decode().splitlines()
        return GitIgnoreSpec.from_lines(lines)
    except FileNotFoundError:
        return GitIgnoreSpec.from_lines(lines)
    except (OSError, ValueError) as error:  # a pattern that is none is a ValueError, as is what is not UTF-8
        found.problems.append(f"{IGNORE_FILE}: cannot be used: {getattr(error, 'strerror', None) or error}")
        return None


def _walk(found: Contents, top: str, inside: str, rules: GitIgnoreSpec) -> None:
    """`inside` is where in `top`: empty, or with a slash at its end."""
    try:
        with os.scandir(os.path.join(top, inside)) as listed:
            there = sorted(listed, key=lambda entry: entry.name)
    except OSError as error:
        found.problems.append(f"{_shown(inside)}: cannot be read: {error.strerror}")
        return
    for entry in there:
        path = inside + entry.name
        if len(found.entries) > MAX_FILES:
            return
        is_folder = entry.is_dir(follow_symlinks=False)
        if rules.match_file(path + "/" if is_folder else path):
            found.left_out.append(_shown(path + "/" * is_folder))
        elif entry.is_symlink():
            _take_link(found, top, path)
        elif not is_folder:
            _take(found, entry.path, path)
        elif os.path.lexists(os.path.join(entry.path, "pyvenv.cfg")):
            found.left_out.append(_shown(f"{path}/"))
        else:
            _walk(found, top, f"{path}/", rules)


def _take_link(found: Contents, top: str, path: str) -> None:
    """A link inside the folder is packed as the file that it leads to."""
    target = os.path.realpath(os.path.join(top, path))
    if os.path.commonpath((top, target)) != top:
        found.problems.append(f"{_shown(path)}: it is a link out of the plugin's folder")
    elif os.path.isdir(target):
        found.problems.append(f"{_shown(path)}: it is a link to a folder")
    else:
        _take(found, target, path)


def _take(found: Contents, source: str, path: str) -> None:
    fault = path_fault(path)
    try:
        about = os.stat(source)
        if not stat.S_ISREG(about.st_mode):
            fault = fault or "it is neither a file nor a folder"
    except OSError as error:
        fault = fault or f"cannot be read: {error.strerror}"
    if fault is not None:
        found.problems.append(f"{_shown(path)}: {fault}")
        return
    is_executable = bool(about.st_mode & stat.S_IXUSR)
    found.entries.append(Entry(path=path, source=source, size=about.st_size, is_executable=is_executable))


def _of_all(candidate: Candidate, found: Contents) -> list[str]:
    problems = [f"{two}: for some systems it is {one} too" for one, two in clashes(_paths(found))]
    total = sum(entry.size for entry in found.entries)
    if len(found.entries) > MAX_FILES:
        problems.append(f"more than {MAX_FILES} files")
    if total > MAX_TOTAL:
        problems.append(f"{total} bytes, and a pack holds {MAX_TOTAL}")
    if (missing := missing_file(candidate)) is not None:
        problems.append(f"{missing}: its command needs it, and it is not there")
    entry = candidate.manifest.run.python
    if (
        not candidate.single_file
        and not found.problems
        and entry is not None
        and entry.endswith(".py")
        and os.path.normpath(entry) not in _paths(found)
    ):
        problems.append(f"{entry}: it is what runs, and {IGNORE_FILE} or the usual rules keep it out")
    return problems


def _paths(found: Contents) -> list[str]:
    return [entry.path for entry in found.entries]


def _shown(path: str) -> str:
    return os.fsencode(path).decode(errors="backslashreplace") or "./"
