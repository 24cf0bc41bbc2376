"""Which texts are a W3C trace context, by https://www.w3.org/TR/trace-context/."""

from __future__ import annotations

import pytest

from host.observability.traceparent import trace_id_of, valid_parent, valid_state

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"
GOOD = f"00-{TRACE}-{SPAN}-01"


def test_a_traceparent_is_passed_on_as_it_is() -> None:
    assert valid_parent(GOOD) == GOOD
    assert trace_id_of(GOOD) == TRACE


@pytest.mark.parametrize("later", [f"cc-{TRACE}-{SPAN}-01", f"cc-{TRACE}-{SPAN}-01-what-comes-later"])
def test_one_of_a_later_version_is_read_as_far_as_it_is_known(later: str) -> None:
    assert valid_parent(later) == GOOD


@pytest.mark.parametrize(
    "bad",
    [
        *("", "00", TRACE, f"{GOOD} ", f" {GOOD}", f"{GOOD}\n", GOOD.upper(), f"{GOOD}-more", GOOD[:-1]),
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{SPAN}-01",
        f"cc-{TRACE}-{SPAN}-01.more",
        f"00-{TRACE}-{SPAN}-0x",
        f"00-{TRACE}-{SPAN}-\u0661\u0661",
        *(None, 7, b"00", ["00"]),
    ],
)
def test_anything_else_counts_as_absent(bad: object) -> None:
    assert valid_parent(bad) is None


def test_a_tracestate_is_printable_and_not_endless() -> None:
    assert valid_state("congo=t61rcWkgMzE,rojo=1") == "congo=t61rcWkgMzE,rojo=1"
    for bad in ("", "a\nb", "x" * 513, "\u00e4", None, 7):
        assert valid_state(bad) is None
