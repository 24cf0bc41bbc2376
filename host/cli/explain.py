"""`outboard explain`: the page of an error code, on the terminal. Needs no daemon."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

import click

import host
from host.cli.choices import words
from host.cli.output import UsageProblem, json_option, print_json, print_next, table, terminal_width
from protocol.contract import nearest

WIDEST = 100
"""Columns of a page on a terminal: longer lines are hard to read."""

MOST = 12
"""Codes, in a hint."""


class Page(NamedTuple):
    code: str
    name: str
    """The class in Python; empty if the code has none."""
    title: str
    text: str
    """Markdown."""


def pages() -> dict[str, Page]:
    """By code. They are in the wheel; a checkout has them in its documentation."""
    inside = Path(host.__file__).parent
    folder = inside / "errors_pages"
    if not folder.is_dir():
        folder = inside.parent / "docs" / "errors"
    found = {}
    for file in sorted(folder.glob("OB*.md")):
        text = file.read_text(encoding="utf-8")
        _, *named, title = text.split("\n", 1)[0].removeprefix("# ").split(": ", 2)
        found[file.stem] = Page(file.stem, named[0] if named else "", title, text)
    return found


def find(asked: str, known: Mapping[str, Page]) -> Page:
    """By code, in any case, with or without OB; or by the name of the class. Raises UsageProblem."""
    word = asked.strip().strip("[]").lower()
    word = f"ob{word}" if word.isdecimal() else word
    for page in known.values():
        if word and word in (page.code.lower(), page.name.lower()):
            return page
    if re.fullmatch(r"ob\d+", word):
        begun = [code for code in known if code.lower().startswith(word)]
        if begun:
            more = f" and {len(begun) - MOST} more" if len(begun) > MOST else ""
            hint = f"these begin so: {', '.join(begun[:MOST])}{more}; outboard explain lists all"
        else:
            number = int(f"{word[2:5]:0<3}")
            alike = sorted(
                known, key=lambda code: (-_in_common(code.lower(), word), abs(int(code[2:]) - number))
            )
            hint = f"the nearest: {', '.join(alike[:3])}; outboard explain lists all"
    else:
        near = nearest(asked, [*known, *(page.name for page in known.values() if page.name)])
        hint = f"did you mean `{near}`?" if near else "outboard explain lists all"
    raise UsageProblem(f"there is no error `{asked[:80]}`", hint=hint)


def _in_common(one: str, other: str) -> int:
    """How many characters they begin with alike: OB40 was to become OB401, and not OB041."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


@click.command()
@click.argument(
    "code",
    required=False,
    shell_complete=lambda ctx, param, begin: words(list(pages()))(ctx, param, begin.upper()),
)
@json_option
def explain(code: str | None, as_json: bool) -> None:
    """What the error CODE means, what it looks like, and what to do; without CODE, all of them.

    CODE is OB401, 401, or the name of the class: PluginUnavailable.
    """
    known = pages()
    if code is None:
        _print_all(known, as_json=as_json)
        return
    page = find(code, known)
    if as_json:
        print_json({"ok": True} | page._asdict())
    elif sys.stdout.isatty():
        _print_page(page.text)
        print_next("outboard explain")
    else:
        click.echo(plain(page.text), nl=False)


def _print_all(known: Mapping[str, Page], *, as_json: bool) -> None:
    if as_json:
        keys = ("code", "name", "title")
        print_json(
            {"ok": True, "codes": [{key: getattr(page, key) for key in keys} for page in known.values()]}
        )
        return
    rows = [[page.code, page.name or "-", page.title] for page in known.values()]
    click.echo(table(rows, [["cyan", None, None]] * len(rows), width=terminal_width(), shrinks=2))
    print_next(f"outboard explain {rows[-1][0]}")


def _print_page(text: str) -> None:
    from rich.console import Console
    from rich.markdown import Markdown

    width = min(terminal_width() or WIDEST, WIDEST)
    Console(width=width).print(Markdown(_without_links(text), code_theme="ansi_dark"))


def plain(text: str) -> str:
    """Markdown as text: code is indented, links are their words."""
    lines = []
    inside = False
    for line in _without_links(text).splitlines():
        if line.startswith("```"):
            inside = not inside
        else:
            lines.append(f"    {line}".rstrip() if inside else line.lstrip("#").strip())
    return "\n".join(lines).strip() + "\n"


def _without_links(text: str) -> str:
    """A terminal cannot follow them; the last line of a page is nothing else."""
    text = re.sub(r"^\[All errors\]\(.*\)\s*$", "", text, flags=re.MULTILINE)
    return re.sub(r"\[([^\]]+)\]\([^)\s]+\)", r"\1", text)
