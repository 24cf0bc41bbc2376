"""Folders looked through for plugins, in order.

Never imports or runs a plugin's code, and never raises: what cannot be looked at is a problem, and what
vanished meanwhile is not there. Looks one level deep, so a symlink to a parent cannot trap it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from host.config.lines import KeyPath, line_of
from host.config.problems import FileProblem, dotted
from host.config.read import read_text
from host.discovery.script import declares_plugin
from host.discovery.validate import MANIFEST, Candidate, load_manifest
from protocol.script import OUTBOARD, script_blocks

__all__ = ["Found", "places_in", "scan"]

_NEVER_PLUGINS = ("__pycache__", "node_modules")


class Found(msgspec.Struct, frozen=True):
    candidates: tuple[Candidate, ...]
    """One a name, in the order they were found."""
    problems: tuple[FileProblem, ...]


def scan(folders: Sequence[Path]) -> Found:
    """The plugins in `folders`, each with a name of its own; of two with one name the first wins.

    A folder may itself be a plugin, and so may a file. A `.py` without a [tool.outboard] block is no plugin
    and no problem, nor is one that cannot be read or is larger than 1 MiB.
    """
    winners: dict[str, tuple[Candidate, Path]] = {}
    problems: list[FileProblem] = []
    seen: set[str] = set()  # a folder given twice, or reached by a symlink too, holds its plugins once
    for folder in folders:
        for path in places_in(folder, problems):
            if path.suffix == ".py" and not _is_one_file_plugin(path):
                continue
            real = os.path.realpath(path)
            if real in seen:
                continue
            seen.add(real)
            loaded = load_manifest(path)
            if isinstance(loaded, list):
                if os.path.lexists(path):  # else it went away since it was listed
                    problems += loaded
            elif loaded.name in winners:
                problems.append(_duplicate(loaded, path, winners[loaded.name][1]))
            else:
                winners[loaded.name] = (loaded, path)
    return Found(tuple(candidate for candidate, _ in winners.values()), tuple(problems))


def places_in(folder: Path, problems: list[FileProblem]) -> Iterator[Path]:
    """The paths of what may be a plugin, told by name alone: manifests, and every `.py`.

    One of those is a folder that holds itself, so that it may be given instead of one.
    """
    if (folder.name == MANIFEST or folder.suffix == ".py") and folder.is_file():
        yield folder
        return
    try:
        names = sorted(os.listdir(folder))
    except (OSError, ValueError) as error:
        problems.append(_unreadable(folder, error))
        return
    if MANIFEST in names:
        yield folder / MANIFEST
    for name in names:
        if name.startswith(".") or name in _NEVER_PLUGINS:
            continue
        child = folder / name
        try:
            name.encode()
            if not name.endswith(".py") or child.is_dir():
                if not _holds_manifest(child):
                    continue
                child = child / MANIFEST
        except UnicodeEncodeError:
            shown = os.fsencode(child).decode(errors="backslashreplace")
            problems.append(FileProblem(shown, None, "", "its name is not UTF-8", "rename it"))
        except OSError as error:
            problems.append(_unreadable(child, error))
        else:
            yield child


def _is_one_file_plugin(path: Path) -> bool:
    source = read_text(path)
    return isinstance(source, str) and declares_plugin(source)


def _holds_manifest(folder: Path) -> bool:
    """Raises OSError if that cannot be told, as of a symlink that leads nowhere, or to itself."""
    try:
        os.lstat(folder / MANIFEST)
    except NotADirectoryError:
        return False
    except FileNotFoundError:
        if os.path.islink(folder) and not os.path.exists(folder):
            raise
        return False
    return True


def _unreadable(path: Path, error: OSError | ValueError) -> FileProblem:
    return FileProblem(str(path), None, "", f"cannot be read: {getattr(error, 'strerror', None) or error}")


def _line_of_name(path: Path, key: KeyPath) -> int | None:
    source = read_text(path)
    if not isinstance(source, str):
        return None
    texts = script_blocks(source) if path.suffix == ".py" else [source]
    return line_of(texts[0], key) if texts else None


def _duplicate(candidate: Candidate, path: Path, winner: Path) -> FileProblem:
    key = (*OUTBOARD, "name") if candidate.single_file else ("plugin", "name")
    return FileProblem(
        str(path),
        _line_of_name(path, key),
        dotted(key),
        f"{candidate.name!r} is the name of {winner} too, which was found first and is used",
        "rename one of them",
        candidate.name,
    )
