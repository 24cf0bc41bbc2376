"""What may be packed or installed, as a pack: a pack as it is, anything else made into one."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

from host.discovery.validate import Candidate, load_manifest
from host.errors import ChecksumMismatch, ManifestError, PackError
from host.packing.contents import Contents, contents_of
from host.packing.read import MAX_PACK
from host.packing.write import write_pack

__all__ = ["as_pack", "check_digest", "what_to_pack"]


def what_to_pack(path: Path) -> tuple[Candidate, Contents]:
    """The plugin at `path`, and its files. Raises ManifestError, and PackError, with every problem."""
    candidate = load_manifest(path)
    if isinstance(candidate, list):
        raise ManifestError(candidate)
    contents = contents_of(candidate)
    if contents.problems:
        raise PackError(contents.problems, plugin=candidate.name)
    return candidate, contents


@contextmanager
def as_pack(source: Path, folder: str) -> Iterator[BufferedReader]:
    """A pack, opened once: what is looked at is what is unpacked. One that is made is in `folder` meanwhile.

    Raises:
        ManifestError, PackError, OSError.
    """
    if source.is_file() and source.suffix != ".py" and source.name != "plugin.toml":
        try:
            opened = open(source, "rb")  # noqa: SIM115
        except OSError as error:
            raise PackError([f"{source.name}: cannot be read: {error.strerror}"]) from None
        with opened:
            yield opened
        return
    if not source.exists():
        raise PackError([f"{source}: there is no such file or folder"])
    _, contents = what_to_pack(source)
    made = os.path.join(folder, f".pack-{os.urandom(6).hex()}")
    try:
        write_pack(contents.entries, made)
        with open(made, "rb") as opened:
            yield opened
    finally:
        try:
            os.unlink(made)
        except FileNotFoundError:
            pass


def check_digest(pack: BufferedReader, wanted: str | None) -> str:
    """The digest of a pack. Raises ChecksumMismatch, and PackError for what cannot be read."""
    name = os.path.basename(pack.name)
    if (size := os.fstat(pack.fileno()).st_size) > MAX_PACK:
        raise PackError([f"{name}: {size} bytes, and a pack has {MAX_PACK} at most"])
    try:
        pack.seek(0)
        digest = hashlib.file_digest(pack, "sha256").hexdigest()
    except OSError as error:
        raise PackError([f"{name}: cannot be read: {error.strerror}"]) from None
    if wanted is not None and wanted.lower().removeprefix("sha256:") != digest:
        raise ChecksumMismatch(
            f"its sha256 is {digest}, and {wanted} was wanted",
            hint="get it again, from whoever told you the number",
            data={"wanted": wanted, "seen": digest},
        )
    return digest
