"""All checks, one after another, with the processes that they need."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from host.conformance import beginning, ending, messages, work
from host.conformance.bench import Bench, NoHandshake, Subject
from host.conformance.peer import Gone, Late
from host.conformance.verdicts import Check, Result, Skipped, Unmet

__all__ = ["CHECKS", "conformance"]

CHECKS: dict[str, Check] = {
    each.name: each for each in [*beginning.checks, *messages.checks, *work.checks, *ending.checks]
}
NEEDED = ("initialize", "start")
"""Whatever else is asked for: the others wait for them."""


def conformance(subject: Subject, only: Collection[str] = ()) -> Iterator[Result]:
    """Each as it is known; `only` these, by name. Leaves no process behind."""
    bench = Bench(subject)
    try:
        for name, check in CHECKS.items():
            if not only or name in only:
                yield _made(bench, check)
            elif name in NEEDED:
                _made(bench, check)
    finally:
        bench.close()


def _made(bench: Bench, check: Check) -> Result:
    bench.tidy()
    try:
        return _result(check, "PASS", check.run(bench))
    except Skipped as skipped:
        return _result(check, "SKIP", str(skipped))
    except NoHandshake:
        return _result(check, "SKIP", "it does not come to serve, so nobody can tell")
    except Late:
        seen = f"nothing within {bench.subject.timeout_s:g} s"
    except (Gone, Unmet) as failed:
        seen = str(failed)
    bench.close(after_failure=True)
    return _result(check, "FAIL", seen)


def _result(check: Check, verdict: str, seen: str) -> Result:
    return Result(
        name=check.name,
        verdict=verdict,  # type: ignore[arg-type]
        seen=seen,
        expected=check.expected,
        section=check.section,
    )
