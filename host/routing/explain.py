"""A lineup in words: the order at an extension point and its reasons, for `outboard hooks explain`."""

from __future__ import annotations

from typing import Any

import msgspec

from host.routing.lineup import Lineup

__all__ = ["Explanation", "explanation"]


class Stands(msgspec.Struct, frozen=True, kw_only=True):
    """An implementation, in its place."""

    plugin: str
    state: str
    why: str
    on_error: str
    when: Any
    refused: bool
    """Not asked, and counted as failed: `why` says in which circle its wishes run."""


class Absent(msgspec.Struct, frozen=True, kw_only=True):
    """A plugin that is not asked."""

    plugin: str
    why: str


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    point: str
    declared: bool
    mode: str
    on_error: str
    timeout_s: float
    version: str
    default: Any
    origins: dict[str, str]
    """Where each of the values comes from."""
    implementations: list[Stands]
    left_out: list[Absent]
    problems: list[str]


def explanation(lineup: Lineup) -> Explanation:
    declared = lineup.point.declared
    absent = [Absent(plugin=left.plugin, why=left.why) for left in lineup.left_out]
    absent += [
        Absent(plugin=supervisor.name, why="lazy, and has never run: the next dispatch starts it, and asks")
        for supervisor in lineup.unasked
    ]
    absent += [
        Absent(plugin=left.plugin, why=f"has never run, so nobody knows its hooks ({left.why})")
        for left in lineup.unknown
    ]
    return Explanation(
        point=lineup.point.name,
        declared=lineup.point.is_declared,
        mode=declared.mode,
        on_error=declared.on_error,
        timeout_s=declared.timeout_s,
        version=declared.version,
        default=declared.default,
        origins={key: lineup.point.origins[key] for key in ("mode", "on_error", "timeout_s", "default")},
        implementations=[
            Stands(
                plugin=each.plugin,
                state=each.supervisor.life.state,
                why=each.why,
                on_error=each.on_error,
                when=each.info.when,
                refused=each.refused is not None,
            )
            for each in lineup.implementations
        ],
        left_out=absent,
        problems=[f"{plugin}: {problem}" for plugin, problem in lineup.problems],
    )
