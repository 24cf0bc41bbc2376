"""A promise beside what was measured, and whether it is met: the rows of `make bench-supervision`."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

WIDTH = 56


class Row(NamedTuple):
    """`measure` gets an empty folder. Of what it yields the worst counts, or `counts`: p99, half."""

    name: str
    promise: float | None
    """At most so much; None is a figure that nothing was promised about."""
    unit: str
    measure: Callable[[Path], Iterable[float]]
    counts: str = "max"


def p99(values: Sequence[float]) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * 0.99))]


def print_table(rows: Sequence[Row], words: Sequence[str]) -> bool:
    """Measures and prints each row, of those whose name has one of `words`; whether all was met."""
    print(f"{'':<{WIDTH}} {'half':>9} {'most':>9}  {'promised':>11}")
    missed = kept = 0
    for row in rows:
        if words and not any(word in row.name for word in words):
            continue
        with tempfile.TemporaryDirectory() as name:
            found = list(row.measure(Path(name)))
        most = p99(found) if row.counts == "p99" else max(found)
        verdict = ""
        if row.promise is not None:
            is_met = (statistics.median(found) if row.counts == "half" else most) <= row.promise
            kept += is_met
            missed += not is_met
            verdict = "met" if is_met else "MISSED"
        promised = "-" if row.promise is None else f"{row.promise:g} {row.unit}"
        half = _figure(statistics.median(found)) if len(found) > 1 else ""
        print(f"{row.name:<{WIDTH}} {half:>9} {_figure(most):>9}  {promised:>11}  {verdict}", flush=True)
    print(
        f"\n{kept} of {kept + missed} promises met; half: the median, most: the worst or, if it says so, p99"
    )
    return not missed


def _figure(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"
