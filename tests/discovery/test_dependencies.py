"""What may stand in `dependencies`: one requirement an entry, and no words to the installer."""

from __future__ import annotations

from pathlib import Path

import pytest

from host.discovery.dependencies import normalised, requirement_fault
from host.discovery.validate import load_manifest


@pytest.mark.parametrize(
    "text",
    [
        "markdown-it-py",
        "markdown-it-py==2.2.0",
        "a>=1,<2",
        "a [x,y] ~= 1.0",
        "a (>=1)",
        "a; python_version < '3.12'",
        "a @ https://host/a-1-py3-none-any.whl",
        "a@ file:///tmp/a.whl",
    ],
)
def test_a_requirement_is_one(text: str) -> None:
    assert requirement_fault(text) is None


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            " ",
            "-r other.txt",
            "--index-url=https://elsewhere",
            "-e .",
            "./wheel.whl",
            "/a/b",
            "a b",
            "a-",
        ),
        *(
            "a\n--index-url=https://elsewhere",
            "a==1\n",
            "a==1\0",
            "a==1 \\",
            "https://host/a.whl",
            "a==1\u2028b",
        ),
    ],
)
def test_what_would_be_an_option_a_path_or_a_second_line_is_refused(text: str) -> None:
    assert requirement_fault(text) is not None


def test_the_problem_is_in_the_manifest_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "main.py").touch()
    (tmp_path / "plugin.toml").write_text(
        '[plugin]\nname = "a"\nversion = "1"\n\n[run]\npython = "main.py"\ndependencies = ["x", "-r y"]\n'
    )
    problems = load_manifest(tmp_path)
    assert isinstance(problems, list)
    (problem,) = problems
    assert (problem.line, problem.key) == (7, "run.dependencies[1]")


def test_spelling_does_not_make_a_difference() -> None:
    assert normalised(["B.b_b>=1", "a  @  file:///A"]) == ["a@ file:///A", "b-b-b>=1"]
