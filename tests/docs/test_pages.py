"""The documentation, executed: one test a page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.engine import PAGES, ROOT, WORDS, Page, blocks_of, matches

NOT_RUN = {
    "README.md": 2,  # the set-up, and `make`
    "docs/quickstart.md": 1,  # the set-up
    "docs/embedding.md": 1,  # installing
    "docs/reliability.md": 1,  # half an hour
    "docs/mailroom.md": 1,  # a minute, and the tests of the checkout
    "docs/other-languages.md": 1,  # a plugin of the reader's
    "docs/reference/metrics.md": 1,  # a port that another daemon may have; tests/e2e/test_monitoring.py asks
}
"""How many blocks of a page are shown and cannot run where the tests run."""
WHOLE = {"README.md", "docs/quickstart.md"}
"""Whose `outboard` is the real one: it starts as a reader's does, and not as a fork."""


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


@pytest.mark.parametrize("page", [page for page in PAGES if blocks_of(page)], ids=name_of)
def test_every_block_of_a_page_does_what_the_page_says(
    page: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    programs = None if name_of(page) in WHOLE else tmp_path_factory.mktemp("bin")
    state = Page(tmp_path_factory.mktemp("page"), programs)  # short names: a socket's path has little room
    try:
        for block in blocks_of(page):
            if block.runs:
                try:
                    state.run(block)
                except Exception as error:
                    pytest.fail(f"{block.place}: {error}", pytrace=False)
    finally:
        state.shell.close()


def test_every_block_says_what_it_is() -> None:
    unknown = [block.place for page in PAGES for block in blocks_of(page) if block.words[0] not in WORDS]
    assert not unknown


def test_only_listed_blocks_are_not_run() -> None:
    counted = {name_of(page): sum("norun" in block.words for block in blocks_of(page)) for page in PAGES}
    assert {name: count for name, count in counted.items() if count} == NOT_RUN


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md"], ids=name_of)
def test_every_link_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", re.sub(r"`[^`\n]*`", "", text_of(page)))
    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []


def test_every_page_is_reached_from_the_readme() -> None:
    reached: set[Path] = set()
    waiting = [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached or page.suffix != ".md":
            continue
        reached.add(page)
        waiting += [
            (page.parent / link).resolve()
            for link in re.findall(r"\]\(([^)#\s]+\.md)(?:#[^)]*)?\)", text_of(page))
        ]
    assert set(PAGES) <= reached


@pytest.mark.parametrize(
    ("shown", "printed"),
    [("a ... c", "a b c"), ("...\nend", "1\n2\nend\n"), ("a\n...\nb", "a\nb"), ("x  ", "x")],
)
def test_dots_stand_for_anything(shown: str, printed: str) -> None:
    assert matches(shown, printed)


@pytest.mark.parametrize(("shown", "printed"), [("a", "a b"), ("a ... c", "a\nb c"), ("...\nend", "ends")])
def test_what_is_shown_without_dots_is_meant(shown: str, printed: str) -> None:
    assert not matches(shown, printed)
