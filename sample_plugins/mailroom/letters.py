"""What the mailroom and its plugins talk about: all that plugins know of the application."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import msgspec

__all__ = ["Document", "Letter", "Parcel", "identity"]


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """A file that has come in, and that nobody has opened yet."""

    id: str
    name: str
    """Its path in the inbox."""
    suffix: str
    """Of the name, in lower case: `.eml`."""
    path: str
    """Where its bytes are. They never change, whatever becomes of the file in the inbox."""


class Document(msgspec.Struct, kw_only=True):
    """An opened letter, on its way through those who extract: each leaves the text readier than it was."""

    id: str
    name: str
    path: str
    media: str
    """What the text is, or the bytes as long as there is no text: `text/html`."""
    title: str = ""
    text: str = ""
    headers: dict[str, str] = {}


class Parcel(msgspec.Struct, frozen=True, kw_only=True):
    """What is delivered: the same to everybody, however often it has to be tried."""

    document: Document
    notes: dict[str, Any]
    """What those who enrich have found."""
    missing: dict[str, str] = {}
    """Who could not say anything, and why."""


def identity(name: str, data: bytes) -> str:
    """The same name with the same content is the same document, whenever it comes. 20 hex digits."""
    return sha256(name.encode() + b"\0" + data).hexdigest()[:20]
