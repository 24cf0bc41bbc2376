"""Whether a Python version is one that a `requires-python` admits (PEP 440, final releases compared).

Pure, and small because `packaging` is not a dependency. A pre-release in a specifier counts as just
before its release, a post-release as just after.
"""

from __future__ import annotations

import re

__all__ = ["admits"]

_CLAUSE = re.compile(
    r"\s*(?P<operator>~=|===|==|!=|<=|>=|<|>)\s*v?"
    r"(?P<release>\d{1,9}(?:\.\d{1,9})*)"
    r"(?:(?P<any>\.\*)|(?P<suffix>[-_.]?(?:alpha|beta|preview|pre|post|rev|dev|rc|a|b|c|r)[-_.]?\d*[.\w]*))?\s*",
    re.IGNORECASE,
)


def admits(specifier: str, version: tuple[int, ...]) -> bool:
    """Whether `version`, like `sys.version_info[:3]`, fits all clauses of `specifier`.

    Raises ValueError that names a clause which cannot be read.
    """
    clauses = [clause for clause in specifier.split(",") if clause.strip()]
    verdicts = [
        _clause_admits(clause, version) for clause in clauses
    ]  # all are read, so that all can be wrong
    return all(verdicts)


def _clause_admits(clause: str, version: tuple[int, ...]) -> bool:
    match = _CLAUSE.fullmatch(clause)
    if match is None:
        raise ValueError(f"{clause.strip()!r} is not a version clause like '>=3.11'")
    operator = match["operator"]
    release = tuple(int(number) for number in match["release"].split("."))
    if (match["any"] and operator not in ("==", "!=")) or (operator == "~=" and len(release) < 2):
        raise ValueError(f"{clause.strip()!r} is not a version clause: `{operator}` does not go with it")
    if match["any"]:
        return (_padded(version, len(release))[: len(release)] == release) == (operator == "==")
    length = max(len(release), len(version))
    bound = (*_padded(release, length), _phase(match["suffix"]))
    actual = (*_padded(version, length), 0)
    if operator == "~=":
        return actual >= bound and actual[: len(release) - 1] == release[:-1]
    return {
        "==": actual == bound,
        "===": actual == bound,
        "!=": actual != bound,
        "<=": actual <= bound,
        ">=": actual >= bound,
        "<": actual < bound,
        ">": actual > bound,
    }[operator]


def _padded(release: tuple[int, ...], length: int) -> tuple[int, ...]:
    return (*release, *(0 for _ in range(length - len(release))))


def _phase(suffix: str | None) -> int:
    if suffix is None:
        return 0
    return 1 if re.match(r"[-_.]?(?:post|rev|r(?!c))", suffix, re.IGNORECASE) else -1
