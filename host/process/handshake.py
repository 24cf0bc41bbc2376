"""The first three frames: `initialize`, `initialized`, `lifecycle/start`; and who is not who it should be."""

from __future__ import annotations

from typing import Any

import msgspec

import protocol
from host.discovery.validate import Candidate
from host.observability.causes import Kind
from host.process.diagnose import missing_module, raised
from host.process.link import Link
from protocol.envelope import Meta
from protocol.errors import ErrorCode, RpcError
from protocol.lifecycle import (
    FEATURES,
    PROTOCOL_VERSION,
    ConfigTold,
    HostInfo,
    InitializeParams,
    InitializeResult,
    PluginIdentity,
    StartParams,
)


class HandshakeRefused(Exception):
    """The plugin and this host do not fit each other. `retry` is False if trying again cannot help.

    `traceback` is what the plugin tells of an exception in its own code, in lines.
    """

    def __init__(
        self,
        reason: str,
        *,
        retry: bool,
        kind: Kind = "refused",
        fix: str | None = None,
        traceback: list[str] | None = None,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry = retry
        self.kind: Kind = kind
        self.fix = fix
        self.traceback = traceback or []


async def initialize(
    link: Link, candidate: Candidate, identity: PluginIdentity, told: ConfigTold, *, deadline: float
) -> InitializeResult:
    """Introduces the two to each other.

    Raises:
        HandshakeRefused: with what to do about it.
        RpcError: its code chose to exit; the exit code, a moment behind, says more.
        Expired, Lost: from the link.
    """
    params = InitializeParams(
        host=HostInfo(version=protocol.__version__),
        plugin=identity,
        config=told.config,
        config_revision=told.config_revision,
        limits=link.session.limits,
        encodings=["json", "msgpack"],
        features=list(FEATURES),
    )
    try:
        raw = await link.request("initialize", params, deadline=deadline)
        result = msgspec.json.decode(raw, type=InitializeResult)
    except RpcError as error:
        if _chose_to_exit(error):
            raise
        raise _refusal(error) from None
    except msgspec.DecodeError as error:
        raise HandshakeRefused(f"its answer to initialize is malformed: {error}", retry=False) from None
    if result.protocol != PROTOCOL_VERSION:
        raise HandshakeRefused(
            f"it answers with protocol {result.protocol}, and only {PROTOCOL_VERSION} was offered",
            retry=False,
        )
    _check_identity(candidate, result)
    link.session.peer_limits = result.limits
    if result.encoding == "msgpack":
        link.session.speak_packed()
    link.notify("initialized", {})
    return result


START = "lifecycle/start"


async def start(
    link: Link, *, deadline: float, tells_progress: bool, settings: dict[str, Any] | None = None
) -> None:
    """Runs the author's start code, with `settings` if they differ from those of `initialize`.

    Raises what `Link.request` raises. A plugin that tells of its progress is asked for it: `Link.extend`
    gives it more time meanwhile.
    """
    meta = Meta(progress=True) if tells_progress else None
    await link.request(START, StartParams(config=settings), deadline=deadline, meta=meta)


def _check_identity(candidate: Candidate, result: InitializeResult) -> None:
    stated = candidate.manifest.plugin
    for what, said, expected in (
        ("name", result.plugin.name, stated.name),
        ("version", result.plugin.version, stated.version),
    ):
        if said and said != expected:
            raise HandshakeRefused(
                f"it says its {what} is {said!r}, and {candidate.file} says {expected!r}: make them agree",
                retry=False,
            )


def _chose_to_exit(error: RpcError) -> bool:
    return isinstance(error.data, dict) and error.data.get("type") == "SystemExit"


def _refusal(error: RpcError) -> HandshakeRefused:
    data = error.data if isinstance(error.data, dict) else {}
    if error.code == ErrorCode.UNSUPPORTED_PROTOCOL:
        spoken = data.get("supported", "another one")
        return HandshakeRefused(
            f"it speaks protocol {spoken}, and this host speaks {PROTOCOL_VERSION}: "
            "update whichever is older",
            retry=False,
        )
    if error.code == ErrorCode.INVALID_PARAMS:  # its settings: nothing changes by trying again
        return HandshakeRefused(f"configuration refused: {error.message}", retry=False)
    trace = data.get("traceback")
    lines = trace.splitlines() if isinstance(trace, str) else []
    if missing := missing_module(error.message):
        return HandshakeRefused(missing.text, retry=True, kind=missing.kind, fix=missing.fix, traceback=lines)
    if data.get("type"):
        found = raised(error.message)
        return HandshakeRefused(found.text, retry=True, kind=found.kind, fix=found.fix, traceback=lines)
    return HandshakeRefused(error.message, retry=True, traceback=lines)
