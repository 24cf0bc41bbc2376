"""The folder of installed plugins, and how it changes.

A new version lies beside the old one, complete and on the disk, before one rename of a link makes it the
plugin. Whoever looks, after a kill at any moment too, finds one version or the other. A process of the old
version keeps its files until `clean`.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Literal

import msgspec

from host.discovery.origin import VERSIONS, Origin, origin_of
from host.discovery.validate import Candidate, load_manifest
from host.errors import DaemonRefused, ManifestError, PluginExists
from host.packing.read import unpack
from host.packing.versions import is_older

__all__ = ["Change", "InstalledPlugins", "Placed"]

LOCK_S = 30.0
PACE_S = 0.05
Change = Literal["new", "upgrade", "downgrade", "replaced", "unchanged"]
"""Against what was installed before; `replaced`: the same version with other files."""


class Placed(msgspec.Struct, frozen=True, kw_only=True):
    """What has become of an installation."""

    name: str
    version: str
    path: str
    """The link: the plugin's folder, or its one file."""
    change: Change
    before: str | None
    """The version that was there."""


class Staged(msgspec.Struct, frozen=True, kw_only=True):
    """A version that lies complete in the folder, and is nobody's yet."""

    candidate: Candidate
    target: str
    """What the link will say."""
    origin: Origin


class InstalledPlugins:
    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._versions = os.path.join(folder, VERSIONS)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Of whoever changes anything. Raises OSError; DaemonRefused if somebody else takes too long."""
        os.makedirs(self._versions, mode=0o700, exist_ok=True)
        fd = os.open(os.path.join(self._versions, ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        ends_at = time.monotonic() + LOCK_S
        try:
            while True:
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > ends_at:
                        text = f"somebody else has been installing into {self._folder} for {LOCK_S:g} s"
                        raise DaemonRefused(text, hint="wait for it, or end it") from None
                    time.sleep(PACE_S)
            yield
        finally:
            os.close(fd)

    def paths_of(self, name: str) -> list[str]:
        """The links of the plugin of that name: one, or none."""
        both = (os.path.join(self._folder, name), os.path.join(self._folder, f"{name}.py"))
        return [path for path in both if os.path.islink(path) and origin_of(path) is not None]

    def stage(self, pack: BinaryIO, *, source: str, sha256: str) -> Staged:
        """Unpacks beside what is there. In `turn`.

        Raises:
            PackError, ManifestError: with every problem. OSError.
        """
        fresh = os.path.join(self._versions, f".new-{os.urandom(6).hex()}")
        os.mkdir(fresh, 0o755)
        try:
            unpack(pack, fresh)
            candidate = self._candidate(fresh)
            version = os.path.join(self._versions, f"{candidate.name}-{os.urandom(6).hex()}")
            origin = Origin(source=source, sha256=sha256, installed_at=round(time.time(), 3))
            _write(f"{version}.json", msgspec.json.format(msgspec.json.encode(origin), indent=2))
            _sync_folders(fresh)
            os.rename(fresh, version)
            _sync(self._versions)  # before a link says that it is there
        except BaseException:
            shutil.rmtree(fresh, ignore_errors=True)
            raise
        target = f"{VERSIONS}/{os.path.basename(version)}"
        if candidate.single_file:
            target += f"/{os.path.basename(candidate.file)}"
        return Staged(candidate=candidate, target=target, origin=origin)

    def place(self, staged: Staged) -> Placed:
        """Makes it the plugin of its name. In `turn`.

        Raises:
            PluginExists: something is there that was not installed. OSError.
        """
        name, version = staged.candidate.name, staged.candidate.manifest.plugin.version
        path = os.path.join(self._folder, f"{name}.py" if staged.candidate.single_file else name)
        if os.path.lexists(path) and origin_of(path) is None:  # a link of somebody's own, too
            raise PluginExists(
                f"{path} is there, and was not installed", hint="move it away, or give one another name"
            )
        there = self.paths_of(name)
        before = _version_of(there[0]) if there else None
        change = _change(staged, there, before)
        if change != "unchanged":
            link = os.path.join(self._versions, f".link-{os.urandom(6).hex()}")
            os.symlink(staged.target, link)
            os.replace(link, path)
        for other in there:
            if other != path:  # it was one file and is a folder now, or the other way round
                os.unlink(other)
        _sync(self._folder)
        self.discard(staged)
        return Placed(name=name, version=version, path=path, change=change, before=before)

    def discard(self, staged: Staged) -> None:
        """Removes the files of what has not become a plugin, and nothing else. In `turn`."""
        if any(os.readlink(path) == staged.target for path in self.paths_of(staged.candidate.name)):
            return
        version = os.path.join(self._versions, staged.target.split("/")[1])
        shutil.rmtree(version, ignore_errors=True)
        Path(f"{version}.json").unlink(missing_ok=True)

    def remove(self, name: str) -> None:
        """In `turn`. Raises OSError."""
        for path in self.paths_of(name):
            os.unlink(path)
        self.clean(name)

    def clean(self, name: str) -> None:
        """Removes versions of the plugin that it is not any more, and whatever was begun and not ended.

        Nothing of other plugins: nobody has said that the processes of their versions have ended. In `turn`.
        """
        used = {os.readlink(path).split("/")[1] for path in self.paths_of(name)}
        for entry in os.listdir(self._versions):
            path = os.path.join(self._versions, entry)
            version = entry.removesuffix(".json")
            is_ours = version.rpartition("-")[0] == name and version not in used
            if entry == ".lock" or not (is_ours or entry.startswith(".")):
                continue
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path, ignore_errors=True)
            else:
                os.unlink(path)

    def _candidate(self, fresh: str) -> Candidate:
        """The plugin that was unpacked. Raises ManifestError, whose problems name files of the pack."""
        single = [name for name in os.listdir(fresh) if name.endswith(".py")]
        is_folder = os.path.lexists(os.path.join(fresh, "plugin.toml"))
        loaded = load_manifest(Path(fresh) if is_folder else Path(fresh, single[0]))
        if isinstance(loaded, list):
            lines = [str(problem).replace(f"{fresh}/", "") for problem in loaded]
            raise ManifestError(lines, hint="fix the manifest and pack it again")
        return loaded


def _change(staged: Staged, there: list[str], before: str | None) -> Change:
    now = staged.candidate.manifest.plugin.version
    if not there or before is None:
        return "new"
    was = origin_of(there[0])
    if was is not None and was.sha256 == staged.origin.sha256:
        return "unchanged"
    if before == now:
        return "replaced"
    return "downgrade" if is_older(now, before) else "upgrade"


def _version_of(path: str) -> str | None:
    loaded = load_manifest(Path(path))
    return "?" if isinstance(loaded, list) else loaded.manifest.plugin.version


def _write(file: str, data: bytes) -> None:
    fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    with os.fdopen(fd, "wb") as opened:
        opened.write(data)
        opened.flush()
        os.fsync(fd)


def _sync_folders(top: str) -> None:
    """The names of files that are on the disk already."""
    for folder, _, _ in os.walk(top):
        _sync(folder)


def _sync(folder: str) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
