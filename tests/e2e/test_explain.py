"""`outboard explain`, which needs no daemon, and no checkout either."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from host import errors
from host.cli.explain import pages, plain
from tests.support.daemon import environment, on_terminal, outboard

CLASSES = {
    kind.__name__: kind.code
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, errors.OutboardError) and kind is not errors.OutboardError
}


def test_every_code_that_is_raised_has_a_page_that_names_its_class() -> None:
    known = pages()
    assert {name: known[code].name for name, code in CLASSES.items()} == {name: name for name in CLASSES}


@pytest.mark.parametrize(
    "asked", ["OB401", "ob401", "401", "PluginUnavailable", "pluginunavailable", "[OB401]"]
)
def test_a_code_is_found_however_it_is_written(home: Path, asked: str) -> None:
    done = outboard("explain", asked, env=environment(home))
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("OB401: PluginUnavailable: ")
    told = outboard("explain", asked, "--json", env=environment(home)).json
    assert (told["code"], told["name"]) == ("OB401", "PluginUnavailable")
    assert set(told) == {"ok", "code", "name", "title", "text"}


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ("OB403x", "OB403"),
        ("PluginUnavailible", "PluginUnavailable"),
        ("419", "OB41"),
        ("OB40", ", ".join(f"OB40{number}" for number in range(1, 10))),
        ("4", "OB412 and "),
    ],
)
def test_an_unknown_code_is_told_what_is_near(home: Path, asked: str, meant: str) -> None:
    done = outboard("explain", asked, "--json", env=environment(home))
    assert done.code == 2
    assert meant in done.error["hint"]


@pytest.mark.parametrize("asked", ["", "ob", "9" * 400, "\x1b[31m", "../../etc/passwd", "x" * 100_000])
def test_nonsense_is_a_usage_error(home: Path, asked: str) -> None:
    done = outboard("explain", asked, env=environment(home))
    assert done.code == 2
    assert "\x1b" not in done.err


def test_without_a_code_all_are_listed(home: Path) -> None:
    done = outboard("explain", env=environment(home))
    assert re.findall(r"^OB\d+", done.out, re.MULTILINE) == sorted(pages())
    told = outboard("explain", "--json", env=environment(home)).json
    assert [each["code"] for each in told["codes"]] == sorted(pages())


@pytest.mark.parametrize("code", sorted(pages()))
def test_a_pipe_gets_plain_text_and_a_terminal_no_line_that_is_too_long(home: Path, code: str) -> None:
    text = plain(pages()[code].text)
    assert "```" not in text
    assert not re.search(r"\]\(", text)
    if code in ("OB101", "OB403", "OB501"):
        done = on_terminal("explain", code, env=environment(home))
        seen = re.sub(r"\x1b\[[0-9;]*m", "", done.out)
        assert done.code == 0
        assert max(len(line.rstrip()) for line in seen.splitlines()) <= 80
        assert done.out != seen
        assert "\x1b[3" not in on_terminal("explain", code, env=environment(home, NO_COLOR="1")).out


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_the_pages_are_in_the_wheel(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    build = "from hatchling.build import build_wheel; import sys; print(build_wheel(sys.argv[1]))"
    ran = subprocess.run(
        [sys.executable, "-c", build, tmp_path],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    wheel = tmp_path / ran.stdout.splitlines()[-1]
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "v"], check=True, timeout=60)
    (packages,) = (tmp_path / "v" / "lib").glob("python*/site-packages")
    subprocess.run(
        [sys.executable, "-m", "zipfile", "-e", wheel, packages], check=True, timeout=60, capture_output=True
    )
    # What it needs comes from here, but by name: the checkout itself must not be found.
    import click
    import msgspec

    for needed in (click, msgspec):
        folder = Path(str(needed.__file__)).parent
        (packages / folder.name).symlink_to(folder)
    code = "import host, sys; print(host.__file__); from host.cli.app import run; run(sys.argv[1:])"
    done = subprocess.run(
        [tmp_path / "v" / "bin" / "python", "-I", "-c", code, "explain", "OB401"],
        cwd=tmp_path,
        env=environment(tmp_path) | {"PYTHONWARNINGS": "", "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    where, page = done.stdout.split("\n", 1)
    assert Path(where).is_relative_to(packages)
    assert page.startswith("OB401: PluginUnavailable: ")
    assert len(list((packages / "host" / "errors_pages").glob("OB*.md"))) == len(pages())
