"""The plugins of the mailroom, asked by a host: what they accept, what they make of it, and twice is once."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from host import BlockingHost, HookFailed
from sample_plugins.mailroom.letters import Document, Letter, Parcel, identity
from sample_plugins.mailroom.mailroom import PLUGINS, POINTS
from sample_plugins.mailroom.plugins.ledger import Ledger

DOCUMENTS = PLUGINS.with_name("documents")


async def lookup(name: str) -> str | None:
    """The mailroom's service; here it has one document."""
    return "0123" if name == "rules/tides.md" else None


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def host(data: Path) -> Iterator[BlockingHost]:
    services = {"mailroom.lookup": lookup}
    with BlockingHost(
        plugins=[PLUGINS], data_dir=data, cache_dir=data, extension_points=POINTS, services=services
    ) as host:
        yield host


def letter(folder: Path, name: str, data: bytes) -> Letter:
    path = folder / identity(name, data)
    path.write_bytes(data)
    return Letter(id=path.name, name=name, suffix=Path(name).suffix.lower(), path=str(path))


def extracted(host: BlockingHost, letter: Letter) -> tuple[Document, list[str]]:
    """With the plugins that were asked, in order."""
    media = host.hook("document.accept", letter=letter).value
    document = Document(id=letter.id, name=letter.name, path=letter.path, media=media)
    outcome = host.hook("document.extract", document=document)
    return outcome.value, [result.plugin for result in outcome.results]


def shipped(host: BlockingHost, folder: Path, name: str) -> tuple[Document, list[str]]:
    return extracted(host, letter(folder, name, (DOCUMENTS / name).read_bytes()))


@pytest.mark.parametrize(
    ("name", "content", "media"),
    [
        ("a.md", b"# A", "text/markdown"),
        ("README", b"read me", "text/plain"),
        ("b.TXT", "ü".encode("cp1252"), "text/plain"),
        ("picture.txt", b"\x89PNG\0\0", None),
        ("c.eml", b"Subject: c\n\nc", "message/rfc822"),
        ("d.eml", b"no headers at all", None),
        ("e.htm", b"", "text/html"),
        ("f.csv", b"", "text/csv"),
        ("g.json", b"", "application/json"),
        ("h.png", b"\x89PNG", None),
    ],
)
def test_who_knows_a_kind_accepts_it(
    host: BlockingHost, tmp_path: Path, name: str, content: bytes, media: str | None
) -> None:
    assert host.hook("document.accept", letter=letter(tmp_path, name, content)).value == media


def test_nobody_is_asked_about_what_is_not_theirs(host: BlockingHost, tmp_path: Path) -> None:
    outcome = host.hook("document.accept", letter=letter(tmp_path, "a.md", b"a"))
    assert [result.plugin for result in outcome.results] == ["plain"]
    assert shipped(host, tmp_path, "lighthouse.txt")[1] == ["plain", "tidy"]


def test_a_mail_is_read_by_its_plain_body_in_its_own_encoding(host: BlockingHost, tmp_path: Path) -> None:
    mail, asked = shipped(host, tmp_path, "mail/menu.eml")
    assert asked == ["mail", "tidy"]
    assert mail.title == "Mittagstisch für die Woche"
    assert mail.headers["from"] == "Café am Deich <kueche@deich.example>"
    assert "Am Montag gibt es Grünkohl" in mail.text
    assert "<b>" not in mail.text


def test_a_web_page_inside_a_mail_is_unwrapped_and_then_stripped(host: BlockingHost, tmp_path: Path) -> None:
    mail, asked = shipped(host, tmp_path, "mail/newsletter.eml")
    assert asked == ["mail", "web", "tidy"]
    assert mail.title == "Why the two tides of a day are not alike"
    assert mail.text.startswith("Two tides, one day\n\nThe moon is seldom")
    assert "<https://tides.example/harbours>" in mail.text
    assert not any(hidden in mail.text for hidden in ("track(", "margin", "<p"))


def test_an_attachment_stays_in_the_envelope(host: BlockingHost, tmp_path: Path) -> None:
    mail, _ = shipped(host, tmp_path, "mail/invoice.eml")
    assert "Please find the invoice" in mail.text
    assert "684.00" not in mail.text


def test_a_page_says_its_title_and_keeps_the_cells_of_a_table_apart(
    host: BlockingHost, tmp_path: Path
) -> None:
    page, asked = shipped(host, tmp_path, "notice.html")
    assert (asked, page.title) == (["web", "tidy"], "Notice to mariners: the north channel")
    assert "N4 moved 40 m to the east" in page.text


def test_data_is_said_in_lines(host: BlockingHost, tmp_path: Path) -> None:
    assert "4.vessel: Zwei Schwestern" in shipped(host, tmp_path, "berths.csv")[0].text
    said = shipped(host, tmp_path, "weather.json")[0].text.splitlines()
    assert said[2:4] == ["wind.from: SW", "wind.beaufort: 5"]
    assert said[-1] == "warnings 2: swell at the north channel"


def test_what_cannot_be_read_fails_the_document_and_says_why(host: BlockingHost, tmp_path: Path) -> None:
    with pytest.raises(HookFailed, match="JSONDecodeError") as failed:
        extracted(host, letter(tmp_path, "broken.json", b'{"a": '))
    assert failed.value.plugin == "tables"


@pytest.mark.parametrize(
    ("name", "text", "title"),
    [
        ("a.md", "intro\n\n##  The   tide \nrest", "The tide"),
        ("a.txt", "\n\nFirst line\r\nsecond", "First line"),
        ("a.md", "no heading", "a.md"),
        ("a.txt", "", "a.txt"),
    ],
)
def test_every_document_gets_a_title(
    host: BlockingHost, tmp_path: Path, name: str, text: str, title: str
) -> None:
    assert extracted(host, letter(tmp_path, name, text.encode()))[0].title == title


def test_one_kind_of_blank_is_left(host: BlockingHost, tmp_path: Path) -> None:
    document, _ = extracted(host, letter(tmp_path, "a.txt", "e\u0301t\xe9  \r\n\r\n\n\n b\t\n".encode()))
    assert document.text == "\xe9t\xe9\n\n b"


def enriched(host: BlockingHost, text: str, name: str = "a.md") -> dict[str, Any]:
    document = Document(id="1", name=name, path="", media="text/plain", text=text)
    outcome = host.hook("document.enrich", document=document)
    assert outcome.errors == []
    return {key: value for note in outcome.value for key, value in note.items()}


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("the light is not on the mole", "en"),
        ("das Licht ist nicht auf der Mole", "de"),
        ("el faro no se ve desde la isla", "es"),
        ("la halle est sur le quai, pas dans le port", "fr"),
        ("il mare non è per la luce", "it"),
        ("1 2 3", None),
    ],
)
def test_the_language_is_guessed_if_there_is_enough_to_go_by(
    host: BlockingHost, text: str, language: str | None
) -> None:
    assert enriched(host, text).get("language") == language


def test_words_are_counted_and_those_that_stand_out_are_named(host: BlockingHost) -> None:
    found = enriched(host, "Harbour! The harbour, a mole, and another harbour of 1900.")
    assert (found["words"], found["keywords"][0]) == (9, "harbour")


def test_links_and_dates_are_found_and_the_mailroom_knows_other_documents(host: BlockingHost) -> None:
    text = "See [tides](tides.md#low), [none](none.md), https://a.example/x, on 2026-03-02, not 2026-13-01."
    found = enriched(host, text, "rules/watch.md")
    assert found["links"] == ["https://a.example/x"]
    assert found["dates"] == ["2026-03-02"]
    assert found["sees"] == {"rules/tides.md": "0123"}


def parcel(folder: Path, name: str = "letters/a.txt", data: bytes = b"seven lamps") -> Parcel:
    got = letter(folder, name, data)
    document = Document(
        id=got.id, name=name, path=got.path, media="text/plain", title='a "title"', text=data.decode()
    )
    return Parcel(document=document, notes={"words": 2, "language": "en"})


def test_what_is_delivered_twice_is_there_once(host: BlockingHost, data: Path, tmp_path: Path) -> None:
    sent = parcel(tmp_path)
    for _ in range(3):
        outcome = host.hook("document.deliver", parcel=sent, receipts={})
        assert [(each.plugin, each.error) for each in outcome.results] == [
            ("archive", None),
            ("index", None),
            ("ledger", None),
        ]
    id = sent.document.id
    assert [file.read_bytes() for file in (data / "archive").glob(f"{id}*")] == [b"seven lamps"]
    db = sqlite3.connect(data / "index" / "index.db")
    assert db.execute("SELECT count(*) FROM pages WHERE id = ?", [id]).fetchone() == (1,)
    db.close()
    assert (data / "ledger" / "ledger.csv").read_text().count(f'{id},letters/a.txt,en,2,"a ""title"""\n') == 1


def test_who_has_signed_for_a_document_is_not_asked_again(host: BlockingHost, tmp_path: Path) -> None:
    receipts = {"archive": "x", "ledger": "y"}
    outcome = host.hook("document.deliver", parcel=parcel(tmp_path, data=b"once"), receipts=receipts)
    assert [result.plugin for result in outcome.results] == ["index"]


def test_the_index_finds_what_was_delivered(host: BlockingHost, tmp_path: Path) -> None:
    host.hook(
        "document.deliver", parcel=parcel(tmp_path, "b.txt", b"an albatross over the mole"), receipts={}
    )
    (hit,) = host.call("index", "search", words='albatross "mole')
    assert (hit["name"], hit["excerpt"]) == ("b.txt", "an [albatross] over the [mole]")
    assert host.call("index", "search", words=" ") == []


def test_half_a_line_is_cut_off_before_the_ledger_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "ledger.csv"
    path.write_bytes(b"a,first\nb,hal")
    ledger = Ledger(path)
    ledger.add(["a", "again"])
    ledger.add(["b", "whole"])
    ledger.close()
    assert path.read_bytes() == b"a,first\nb,whole\n"


def test_two_who_write_the_same_ledger_see_each_other(tmp_path: Path) -> None:
    one, other = Ledger(tmp_path / "ledger.csv"), Ledger(tmp_path / "ledger.csv")
    for id in "abc":
        one.add([id, "one"])
        other.add([id, "other"])
    one.close()
    other.close()
    assert (tmp_path / "ledger.csv").read_text() == "a,one\nb,one\nc,one\n"


def test_drafts_of_a_killed_archive_are_swept_when_it_starts(data: Path, tmp_path: Path) -> None:
    draft = tmp_path / "archive" / ".123.draft"
    draft.parent.mkdir()
    draft.write_text("half")
    with BlockingHost(plugins=[PLUGINS / "archive.py"], data_dir=tmp_path, cache_dir=tmp_path) as host:
        assert host.status("archive").plugins[0].state == "running"
        assert not draft.exists()
