"""`python -m tests.docs.write_states`: brings docs/reference/states.md up to date with the machine."""

from __future__ import annotations

import inspect
from pathlib import Path

from host.supervision.life_events import LifeEvent
from host.supervision.states import State
from tests.support.lives import explored

FILE = Path(__file__).parents[2] / "docs/reference/states.md"

HEAD = """# States and what moves between them

Written by `python -m tests.docs.write_states` from the table in `host/supervision/machine.py`.
What the states mean for an operator is in [States and restarts](../restarts.md#states).

What is not in the table changes nothing, and neither does an event of an earlier generation.
Where a row names several states, the record, the terms and what the plugin requires decide.

"""


def text() -> str:
    """The file as it should be."""
    rows = explored()
    return HEAD + _events(rows) + _table(rows) + _picture(rows)


def _events(rows: dict[tuple[State, type], set[State]]) -> str:
    kinds = sorted({kind for _, kind in rows}, key=lambda kind: list(_all_events()).index(kind))
    lines = [f"| `{kind.__name__}` | {(inspect.getdoc(kind) or '').splitlines()[0]} |" for kind in kinds]
    return "\n".join(["## Events", "", "| event | what has happened |", "|---|---|", *lines, "", ""])


def _table(rows: dict[tuple[State, type], set[State]]) -> str:
    events = list(_all_events())
    lines = [
        f"| `{state}` | `{kind.__name__}` | {_targets(state, rows[state, kind])} |"
        for state in State
        for kind in events
        if (state, kind) in rows
    ]
    return "\n".join(["## Table", "", "| in | event | then |", "|---|---|---|", *lines, "", ""])


def _targets(state: State, targets: set[State]) -> str:
    names = [f"`{target}`" for target in State if target in targets and target is not state]
    if state in targets:
        names.append("unchanged")
    return ", ".join(names)


def _picture(rows: dict[tuple[State, type], set[State]]) -> str:
    edges: dict[tuple[State, State], list[str]] = {}
    for state in State:
        for kind in _all_events():
            for target in State:
                if target in rows.get((state, kind), ()) and target is not state:
                    edges.setdefault((state, target), []).append(kind.__name__)
    lines = [f"    {begin} --> {end}: {', '.join(kinds)}" for (begin, end), kinds in edges.items()]
    return "\n".join(
        ["## Picture", "", "```mermaid", "stateDiagram-v2", "    [*] --> stopped", *lines, "```", ""]
    )


def _all_events() -> tuple[type, ...]:
    return LifeEvent.__args__  # type: ignore[attr-defined,no-any-return]


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
