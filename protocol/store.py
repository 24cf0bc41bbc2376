"""What a plugin keeps with the host: params and results of `store/get`, `set`, `delete` and `list`.

A value is any JSON. Every change of a store gives it a new revision, a number that only rises; an entry
has that of the change that wrote it. `store/set` is a transaction: all of it happens, or nothing.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Raw, UnsetType

MAX_KEY = 512
"""Characters of a key."""
MAX_VALUE_BYTES = 1024 * 1024
"""Of one value, as JSON."""
MAX_KEYS = 100_000
"""In one store."""
MAX_CHANGES = 1000
"""In one transaction."""
MAX_LIST = 1000

Key = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_KEY)]
Revision = Annotated[int, msgspec.Meta(ge=0)]


def key_fault(key: Any) -> str | None:
    """Why it cannot be a key, in words; None if it can."""
    if not isinstance(key, str):
        return f"a key is a text of 1 to {MAX_KEY} characters, and not of the type `{type(key).__name__}`"
    if not 0 < len(key) <= MAX_KEY:
        return f"a key has 1 to {MAX_KEY} characters, and this one has {len(key):,}"
    try:
        key.encode()
    except UnicodeEncodeError:
        return f"a key is text that UTF-8 can carry, and {key[:40]!r} is none"
    return None


class StoreGetParams(msgspec.Struct, kw_only=True):
    key: Key


class StoreEntry(msgspec.Struct, kw_only=True, omit_defaults=True):
    value: Raw | UnsetType = UNSET
    """Not there for a key that is not."""
    revision: int
    """0 for a key that is not there."""


class StoreSetParams(msgspec.Struct, kw_only=True, omit_defaults=True):
    values: Annotated[dict[Key, Raw], msgspec.Meta(max_length=MAX_CHANGES)] = {}
    delete: Annotated[list[Key], msgspec.Meta(max_length=MAX_CHANGES)] = []
    if_revision: Annotated[dict[Key, Revision], msgspec.Meta(max_length=MAX_CHANGES)] = {}
    """Nothing happens unless each of these keys has this revision; 0: is not there."""


class StoreSetResult(msgspec.Struct, kw_only=True):
    revision: int
    """What everything that was set has now."""


class StoreDeleteParams(msgspec.Struct, kw_only=True):
    key: Key


class StoreDeleteResult(msgspec.Struct, kw_only=True):
    deleted: bool
    """Whether it was there."""


class StoreListParams(msgspec.Struct, kw_only=True, omit_defaults=True):
    prefix: Annotated[str, msgspec.Meta(max_length=MAX_KEY)] = ""
    after: Annotated[str, msgspec.Meta(max_length=MAX_KEY)] = ""
    """The last key of the page before."""
    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_LIST)] = MAX_LIST


class StoreListResult(msgspec.Struct, kw_only=True):
    keys: list[str]
    """In the order of their code points."""
    more: bool
    """Whether there are keys after the last of these."""
