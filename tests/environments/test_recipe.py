"""From dependencies to commands: what decides an environment's name, and what an installer is told."""

from __future__ import annotations

import tomllib
from pathlib import Path

import msgspec
import pytest

from host.environments.outcome import retry_after_s, telling_line
from host.environments.recipe import MSGSPEC, Recipe, Toolchain, build_environment, folder_of, recipe

TOOLS = Toolchain(
    python="/usr/bin/python3",
    python_tag="3.11.7 cpython-311 linux-x86_64",
    outboard="0.1.0",
    ours={"plugin_sdk": "/o/plugin_sdk", "protocol": "/o/protocol"},
    spare={"msgspec": "/o/msgspec"},
)


def made(*dependencies: str, uv: str | None = None, has_pip: bool = True) -> Recipe:
    return recipe("/cache", dependencies, TOOLS, uv=uv, has_pip=has_pip)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (["a==1", "b"], ["b", "a==1"]),
        (["a", "a"], ["a"]),
        (["Markdown_It.Py==2"], ["markdown-it-py==2"]),
        (["a ; python_version > '3'"], ["a  ;  python_version > '3'"]),
    ],
)
def test_lists_that_ask_for_the_same_share_an_environment(one: list[str], other: list[str]) -> None:
    assert folder_of("/cache", one, TOOLS) == folder_of("/cache", other, TOOLS)


@pytest.mark.parametrize("other", [["a==2"], ["a==1", "b"], ["a[x]==1"], ["A @ file:///A"], []])
def test_lists_that_ask_for_something_else_do_not(other: list[str]) -> None:
    assert folder_of("/cache", ["a==1"], TOOLS) != folder_of("/cache", other, TOOLS)


@pytest.mark.parametrize(
    "change",
    [
        {"python": "/usr/bin/python3.12"},
        {"python_tag": "3.11.8 cpython-311 linux-x86_64"},
        {"outboard": "0.2.0"},
        {"ours": {"plugin_sdk": "/elsewhere/plugin_sdk", "protocol": "/o/protocol"}},
        {"spare": {"msgspec": "/elsewhere/msgspec"}},
    ],
)
def test_another_python_or_outboard_has_environments_of_its_own(change: dict[str, object]) -> None:
    other = msgspec.structs.replace(TOOLS, **change)
    assert folder_of("/cache", ["a"], TOOLS) != folder_of("/cache", ["a"], other)


def test_what_an_author_wrote_is_in_a_file_and_in_no_command_line() -> None:
    for found in (made("a @ https://me:secret@host/a.whl"), made("a @ https://x:y@h/a.whl", uv="/bin/uv")):
        assert not any("a @" in word for word in [*found.make, *found.install])
        assert found.dependencies == [dependency for dependency in found.dependencies if "a @" in dependency]


def test_credentials_in_a_url_are_not_shown() -> None:
    assert made("a @ https://me:secret@host/a.whl").summary == "pip install a @ https://***@host/a.whl"
    assert made("a==1", uv="/bin/uv").summary == "uv pip install a==1"


def test_without_uv_and_pip_an_environment_gets_a_pip_of_its_own() -> None:
    assert "--without-pip" in made("a").make
    found = made("a", has_pip=False)
    assert "--without-pip" not in found.make
    assert found.install[0].startswith(found.folder)


def test_an_authors_msgspec_is_held_to_our_own_range() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert project["dependencies"] == [MSGSPEC]
    assert made("msgspec==0.21").constraints == [MSGSPEC]


def test_an_installer_gets_the_way_to_an_index_and_no_secrets() -> None:
    ours = {
        "PIP_INDEX_URL": "https://index",
        "UV_INDEX": "https://index",
        "https_proxy": "http://proxy",
        "SSL_CERT_FILE": "/certs",
        "HOME": "/home/ada",
    }
    others = {"AWS_SECRET_ACCESS_KEY": "x", "PYTHONPATH": "/x", "PIP_TARGET": "/x", "UV_PYTHON": "3.9"}
    found = build_environment(ours | others)
    assert found.items() >= ours.items()
    assert not others.keys() & found.keys()


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (["ERROR: no version of x", "ERROR: No matching distribution found for x"], "ERROR: No matching"),
        (["error: subprocess failed", "note: this is not pip's fault"], "error: subprocess failed"),
        (["error: No solution found", "  cause: Because x was not found"], "cause: Because x"),
        (["  \N{MULTIPLICATION SIGN} No solution found", "  \u2570\u2500\u25b6 Because x"], "Because x"),
        (["Traceback (most recent call last):", "ImportError: msgspec"], "ImportError: msgspec"),
        (["something", "", "  "], "something"),
        ([], ""),
    ],
)
def test_the_line_that_tells_why_is_found(lines: list[str], told: str) -> None:
    assert telling_line(lines).startswith(told)
    assert bool(telling_line(lines)) == bool(told)


def test_a_build_that_fails_is_tried_again_after_30_s_and_in_the_end_every_30_min() -> None:
    assert [retry_after_s(failures) for failures in (1, 2, 3, 4)] == [30, 60, 120, 240]
    assert retry_after_s(7) == retry_after_s(10**6) == 1800
