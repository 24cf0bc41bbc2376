"""In what order the implementations of an extension point are asked, and why. Pure.

By `before` and `after`, which name other plugins and are obeyed; among those that are free to come
next, the highest priority first; then by name. A plugin that is not here is no constraint. Where the
wishes run in a circle, the plugins whose wishes make the circle are refused, and all others serve.
The order does not depend on the order of the input.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter
from heapq import heapify, heappop, heappush
from itertools import pairwise

import msgspec

from protocol.lifecycle import HookInfo

__all__ = ["Circle", "Order", "Place", "order"]

MAX_NAMES = 256
"""In one `before` or `after`; what stands beyond that is not looked at."""

_Edges = dict[tuple[str, str], set[str]]
"""(first, second) → the plugins that want it so: one of the two, or both."""


class Place(msgspec.Struct, frozen=True):
    plugin: str
    why: str
    """Why it stands here, in a few words: "before archive", "priority 10", "by name"."""


class Circle(msgspec.Struct, frozen=True):
    """Wishes that cannot all be granted."""

    plugins: tuple[str, ...]
    """Each wants to be, or is wanted, before the next; the last one is the first again."""
    refused: frozenset[str]

    def __str__(self) -> str:
        names = self.plugins if len(self.plugins) < 10 else (*self.plugins[:4], "…", *self.plugins[-4:])
        return " before ".join(names)


class Order(msgspec.Struct, frozen=True):
    places: tuple[Place, ...]
    circles: tuple[Circle, ...]


def order(hooks: Mapping[str, HookInfo]) -> Order:
    """`hooks`: what each plugin said of its implementation of one point."""
    left = dict(sorted(hooks.items()))
    circles = []
    while circle := _circle(left, edges := _edges(left)):
        circles.append(circle)
        for name in circle.refused:
            del left[name]
    places = tuple(Place(name, _why(name, left[name], edges)) for name in _sorted(left, edges))
    return Order(places, tuple(circles))


def _edges(hooks: Mapping[str, HookInfo]) -> _Edges:
    edges: _Edges = {}
    for name, info in hooks.items():
        for other in info.before[:MAX_NAMES]:
            if other in hooks:
                edges.setdefault((name, other), set()).add(name)
        for other in info.after[:MAX_NAMES]:
            if other in hooks:
                edges.setdefault((other, name), set()).add(name)
    return edges


def _circle(hooks: Iterable[str], edges: _Edges) -> Circle | None:
    graph: TopologicalSorter[str] = TopologicalSorter(dict.fromkeys(hooks, ()))
    for first, second in edges:
        graph.add(second, first)
    try:
        graph.prepare()
    except CycleError as error:
        *names, _ = error.args[1]
        start = names.index(min(names))
        path = (*names[start:], *names[: start + 1])
        return Circle(path, frozenset().union(*(edges[pair] for pair in pairwise(path))))
    return None


def _sorted(hooks: Mapping[str, HookInfo], edges: _Edges) -> Iterable[str]:
    waits_for = dict.fromkeys(hooks, 0)
    followers: dict[str, list[str]] = {}
    for first, second in edges:
        waits_for[second] += 1
        followers.setdefault(first, []).append(second)
    free = [(-hooks[name].priority, name) for name, count in waits_for.items() if not count]
    heapify(free)
    while free:
        _, name = heappop(free)
        yield name
        for follower in followers.get(name, ()):
            waits_for[follower] -= 1
            if not waits_for[follower]:
                heappush(free, (-hooks[follower].priority, follower))


def _why(name: str, info: HookInfo, edges: _Edges) -> str:
    reasons = []
    for (first, second), who in sorted(edges.items()):
        if name in (first, second):
            other = second if name == first else first
            reason = f"before {other}" if name == first else f"after {other}"
            reasons.append(reason if name in who else f"{reason}, which wants it so")
    if info.priority:
        reasons.append(f"priority {info.priority}")
    return "; ".join(reasons) or "by name"
