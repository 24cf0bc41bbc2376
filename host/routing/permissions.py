"""May a plugin ask for it? What is in its manifest, and nothing that is not."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Literal

import msgspec

from host import errors
from host.supervision.supervisor import Supervisor
from host.supervision.voice import one_line
from protocol.errors import ErrorCode

Permission = Literal["plugins", "host", "events"]
_WORDS = {"plugins": "call the plugin", "host": "call the service", "events": "publish, or hear,"}


def permits(caller: Supervisor | None, key: Permission, wanted: str) -> bool:
    """Of none that is gone: it may have a last word to say, and nothing to ask for."""
    return any(fnmatchcase(wanted, pattern) for pattern in _granted(caller, key))


def refusal(plugin: str, caller: Supervisor | None, key: Permission, wanted: str) -> errors.PermissionDenied:
    """The error for `plugin`, with the line that its manifest would need."""
    line = f"{key} = {msgspec.json.encode([*_granted(caller, key), one_line(wanted)]).decode()}"
    return errors.PermissionDenied(
        f"`{plugin}` may not {_WORDS[key]} `{one_line(wanted)}`: its manifest needs `{line}` "
        "below [permissions]",
        remote_code=ErrorCode.PERMISSION_DENIED,
        remote_name=ErrorCode.PERMISSION_DENIED.name,
        data={"permission": key, "wanted": wanted, "line": line},
        hint=f"add `{line}` to [permissions] of {plugin}, and outboard reload",
        plugin=plugin,
    )


def _granted(caller: Supervisor | None, key: Permission) -> list[str]:
    return [] if caller is None else getattr(caller.candidate.manifest.permissions, key)
