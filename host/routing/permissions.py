"""May a plugin ask for it? What is in its manifest, and nothing that is not."""

from __future__ import annotations

from host import errors
from host.supervision.supervisor import Supervisor
from host.supervision.voice import one_line
from protocol.errors import ErrorCode
from protocol.manifest import Permission, PermissionsTable

__all__ = ["Permission", "permits", "refusal"]

_WORDS = {"plugins": "call the plugin", "host": "call the service", "events": "publish, or hear,"}


def permits(caller: Supervisor | None, key: Permission, wanted: str) -> bool:
    """Of none that is gone: it may have a last word to say, and nothing to ask for."""
    return _granted(caller).permits(key, wanted)


def refusal(plugin: str, caller: Supervisor | None, key: Permission, wanted: str) -> errors.PermissionDenied:
    """The error for `plugin`, with the line that its manifest would need."""
    line = _granted(caller).line_for(key, one_line(wanted))
    return errors.PermissionDenied(
        f"`{plugin}` may not {_WORDS[key]} `{one_line(wanted)}`: its manifest needs `{line}` "
        "below [permissions]",
        remote_code=ErrorCode.PERMISSION_DENIED,
        remote_name=ErrorCode.PERMISSION_DENIED.name,
        data={"permission": key, "wanted": wanted, "line": line},
        hint=f"add `{line}` to [permissions] of {plugin}, and outboard reload",
        plugin=plugin,
    )


def _granted(caller: Supervisor | None) -> PermissionsTable:
    return PermissionsTable() if caller is None else caller.candidate.manifest.permissions
