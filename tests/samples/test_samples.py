"""The plugins that ship do what they say, in any of the languages they are written in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

import sample_plugins
from protocol.errors import ErrorCode, RpcError
from protocol.manifest import Manifest
from tests.support.raw_host import RawHost, error_of, frame

Start = Callable[..., RawHost]
SAMPLES = Path(next(iter(sample_plugins.__path__)))
NAMES = sorted(path.parent.name for path in SAMPLES.glob("*/plugin.toml"))


@pytest.mark.parametrize("name", NAMES)
def test_every_manifest_is_valid_and_named_like_its_folder(name: str) -> None:
    manifest = msgspec.toml.decode((SAMPLES / name / "plugin.toml").read_bytes(), type=Manifest)
    assert manifest.plugin.name == name
    assert manifest.plugin.description


@pytest.mark.parametrize("name", NAMES)
def test_every_sample_takes_its_own_settings_and_ends_politely(sample: Start, name: str) -> None:
    manifest = msgspec.toml.decode((SAMPLES / name / "plugin.toml").read_bytes(), type=Manifest)
    host = sample(name).begin(manifest.settings)
    assert host.call("lifecycle/ping") is not None
    assert error_of(host, "no_such_method").code == ErrorCode.METHOD_NOT_FOUND
    assert host.end() == 0


@pytest.mark.parametrize("name", NAMES)
def test_every_sample_ends_with_its_input(sample: Start, name: str) -> None:
    host = sample(name).begin()
    host.close_stdin()
    assert host.wait_exit() == 0


def test_hello_greets(sample: Start) -> None:
    host = sample("hello").begin({"greeting": "Ahoy"})
    assert host.call("greet", {"name": "Ada"}) == "Ahoy, Ada."
    assert host.call("greet", {"name": "Ada", "excited": True}) == "Ahoy, Ada!"
    assert host.call("hook/text.decorate", {"text": "hi"}) == "👋 hi"


def test_text_tools_lists_its_documents(sample: Start) -> None:
    documents = sample("text_tools").begin().call("documents")
    folder = SAMPLES / "text_tools" / "documents"
    assert {each["name"]: each["bytes"] for each in documents} == {
        path.name: path.stat().st_size for path in folder.iterdir()
    }
    assert all(each["lines"] > 10 and each["words"] > 50 for each in documents)


def test_text_tools_outlines_a_text(sample: Start) -> None:
    outline = sample("text_tools").begin().call("outline", {"text": "# A\n\none two\n\n## B\n\nthree\n"})
    assert outline["headings"] == [
        {"title": "A", "level": 1, "line": 1},
        {"title": "B", "level": 2, "line": 5},
    ]
    assert (outline["paragraphs"], outline["words"]) == (2, 5)


def test_text_tools_searches_in_any_script(sample: Start) -> None:
    host = sample("text_tools").begin()
    found = host.call("search", {"pattern": "MÖWE|灯$|^船"})
    assert {match["document"] for match in found} == {"drei_gewaesser.txt"}
    assert [match["column"] for match in found] == [5, 1]
    assert host.call("search", {"pattern": "zzzz"}) == []
    limited = sample("text_tools").begin({"max_matches": 3})
    assert len(limited.call("search", {"pattern": "e"})) == 3


def test_text_tools_explains_a_bad_pattern(sample: Start) -> None:
    error = error_of(sample("text_tools").begin(), "search", {"pattern": "("})
    assert (error.code, error.data) == (1, {"pattern": "("})
    assert "not a regular expression" in error.message


def test_text_tools_summarises(sample: Start) -> None:
    host = sample("text_tools").begin()
    summary = host.call("summary", {"name": "ships_log.txt", "sentences": 3})
    assert len(summary["sentences"]) == 3
    assert "boat" in summary["keywords"]
    error = error_of(host, "summary", {"name": "nowhere.txt"})
    assert error.code == 2
    assert "ships_log.txt" in error.data["documents"]


# -- wordcount: the protocol by hand, in JavaScript ---------------------------------------------------


def test_wordcount_counts(sample: Start) -> None:
    host = sample("wordcount").begin()
    assert host.call("count", {"text": ""}) == {"lines": 0, "words": 0, "bytes": 0}
    assert host.call("count", {"text": "it's a naïve\nquestion 海\n"}) == {
        "lines": 2,
        "words": 5,
        "bytes": 27,
    }
    top = host.call("top", {"text": "Die der die das der die", "n": 2})
    assert top == [{"word": "die", "count": 3}, {"word": "der", "count": 2}]


def test_wordcount_names_every_problem_with_its_params(sample: Start) -> None:
    error = error_of(sample("wordcount").begin(), "top", {"n": "two", "txt": "x"})
    assert error.code == ErrorCode.INVALID_PARAMS
    assert {problem["path"] for problem in error.data} == {"$.text", "$.n", "$.txt"}


def test_wordcount_tells_its_schema(sample: Start) -> None:
    methods = sample("wordcount").initialize()["provides"]["methods"]
    assert {method["name"]: method["params"]["required"] for method in methods} == {
        "count": ["text"],
        "top": ["text"],
    }


def test_wordcount_refuses_another_protocol(sample: Start) -> None:
    with pytest.raises(RpcError) as caught:
        sample("wordcount").initialize(protocol=[2])
    assert caught.value.code == ErrorCode.UNSUPPORTED_PROTOCOL
    assert caught.value.data == {"supported": [1]}


def test_wordcount_keeps_to_the_order_of_the_lifecycle(sample: Start) -> None:
    host = sample("wordcount")
    host.write(frame({"id": "early", "method": "count", "params": {"text": ""}}))
    host.begin()
    host.call("shutdown")
    host.write(frame({"id": "late", "method": "count", "params": {"text": ""}}))
    host.notify("exit")
    assert host.wait_exit() == 0
    host.wait_ended()
    assert host.session.counts.unknown_replies == 2


def test_wordcount_reads_frames_however_they_are_cut_and_counts_bytes_not_characters(sample: Start) -> None:
    host = sample("wordcount").begin()
    call = host.session.request("count", {"text": "ü海😀"})
    for byte in host.session.outbox.take():
        host.write(bytes([byte]))
    assert host.result_of(call) == {"lines": 1, "words": 1, "bytes": 9}
    calls = [host.session.request("count", {"text": "海" * n}) for n in range(100)]
    host.write(host.session.outbox.take(1 << 20))
    assert [host.result_of(call)["bytes"] for call in calls] == [3 * n for n in range(100)]


def test_wordcount_answers_what_is_no_message_and_goes_on(sample: Start) -> None:
    host = sample("wordcount").begin()
    for body in (b"{", b"null", b"[]", b'{"jsonrpc":"2.0","id":1}'):
        host.write(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
    host.notify("$/cancelRequest", {"id": 99})
    assert host.call("count", {"text": "a"})["words"] == 1
    assert host.session.counts.bad_replies == 4


def test_wordcount_takes_a_megabyte(sample: Start) -> None:
    text: Any = "word " * 210_000
    assert sample("wordcount").begin().call("count", {"text": text}, timeout=10)["words"] == 210_000
