"""`requires-python` against versions, as PEP 440 has it for final releases."""

from __future__ import annotations

import pytest

from host.discovery.python_versions import admits


@pytest.mark.parametrize(
    ("specifier", "version", "expected"),
    [
        ("", "3.11.7", True),
        (">=3.11", "3.11.0", True),
        (">=3.11", "3.10.9", False),
        (" >= 3.11 , < 4 ", "3.14.1", True),
        (">=3.11,<3.13", "3.13.0", False),
        ("<4,", "3.13.0", True),
        (">3.11", "3.11.1", True),
        (">3.11", "3.11.0", False),
        ("<=3.11", "3.11.0", True),
        ("<=3.11", "3.11.1", False),
        ("==3.11", "3.11.1", False),
        ("==3.11.*", "3.11.1", True),
        ("==3.*", "3.11.1", True),
        ("!=3.11.*", "3.11.1", False),
        ("!=3.11.2", "3.11.1", True),
        ("===3.11.1", "3.11.1", True),
        ("~=3.11", "3.14.0", True),
        ("~=3.11", "3.10.0", False),
        ("~=3.11", "4.0.0", False),
        ("~=3.11.2", "3.11.9", True),
        ("~=3.11.2", "3.12.0", False),
        (">=3.12.0rc1", "3.12.0", True),
        ("<3.13.0a1", "3.13.0", False),
        ("<3.13.0a1", "3.12.9", True),
        (">3.12.0.dev0", "3.12.0", True),
        (">3.12.0.post1", "3.12.0", False),
        (">=3.9", "3.11.0", True),
        ("==3.11.*", "3.1.1", False),
        ("==3.11.0.0", "3.11.0", True),
    ],
)
def test_a_version_fits_or_it_does_not(specifier: str, version: str, expected: bool) -> None:
    assert admits(specifier, tuple(int(number) for number in version.split("."))) is expected


@pytest.mark.parametrize(
    "specifier",
    ["3.11", "=>3.11", ">=three", "~=3", ">=3.*", ">=3.11 <4", "<3,nonsense", ">=", "^3.11", ">=3.11;x"],
)
def test_a_clause_that_cannot_be_read_raises(specifier: str) -> None:
    with pytest.raises(ValueError, match="version clause"):
        admits(specifier, (3, 11, 7))
