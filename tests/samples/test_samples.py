"""The plugins that ship do what they say, in any of the languages they are written in."""

from __future__ import annotations

import re
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


# -- the protocol by hand, in other languages ----------------------------------------------------------

BY_HAND = {"wordcount": "count", "rot13": "encode"}
"""A method of each, which takes a text and nothing else."""


@pytest.fixture(params=BY_HAND)
def by_hand(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


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


@pytest.mark.parametrize(
    ("text", "encoded"),
    [
        ("", ""),
        ("Hello, World!", "Uryyb, Jbeyq!"),
        ("naïve 海 😀 \x00\n\u2028", "anïir 海 😀 \x00\n\u2028"),
        ("ünïcödé", "üaïpöqé"),
        ("42", "42"),
    ],
)
def test_rot13_rotates_letters_and_nothing_else(sample: Start, text: str, encoded: str) -> None:
    host = sample("rot13").begin()
    assert host.call("encode", {"text": text}) == encoded
    assert host.call("encode", {"text": encoded}) == text


@pytest.mark.parametrize("value", [42, 1.5, None, True, ["a"], {"a": "b"}])
def test_rot13_takes_nothing_but_a_string_for_a_text(sample: Start, value: Any) -> None:
    error = error_of(sample("rot13").begin(), "encode", {"text": value})
    assert error.code == ErrorCode.INVALID_PARAMS
    assert [problem["path"] for problem in error.data] == ["$.text"]


def test_every_problem_with_the_params_is_named(sample: Start, by_hand: str) -> None:
    host = sample(by_hand).begin()
    error = error_of(host, BY_HAND[by_hand], {"txt": "x", "textt": 1})
    assert error.code == ErrorCode.INVALID_PARAMS
    assert sorted(problem["path"] for problem in error.data) == ["$.text", "$.textt", "$.txt"]


def test_wordcount_names_problems_of_a_second_parameter_too(sample: Start) -> None:
    error = error_of(sample("wordcount").begin(), "top", {"n": "two", "txt": "x"})
    assert {problem["path"] for problem in error.data} == {"$.text", "$.n", "$.txt"}


def test_the_schemas_are_told(sample: Start, by_hand: str) -> None:
    methods = sample(by_hand).initialize()["provides"]["methods"]
    assert BY_HAND[by_hand] in {method["name"] for method in methods}
    for method in methods:
        assert method["params"]["required"] == ["text"]
        assert method["params"]["additionalProperties"] is False
        assert method["doc"]
        assert method["result"]["type"]


def test_another_protocol_is_refused(sample: Start, by_hand: str) -> None:
    with pytest.raises(RpcError) as caught:
        sample(by_hand).initialize(protocol=[2])
    assert caught.value.code == ErrorCode.UNSUPPORTED_PROTOCOL
    assert caught.value.data == {"supported": [1]}


def test_the_order_of_the_lifecycle_is_kept(sample: Start, by_hand: str) -> None:
    host = sample(by_hand)
    call = {"method": BY_HAND[by_hand], "params": {"text": ""}}
    host.write(frame({"id": "early"} | call))
    host.begin()
    host.call("shutdown")
    assert host.call("lifecycle/ping")["in_flight"] == 0
    host.write(frame({"id": "late"} | call))
    host.notify("exit")
    assert host.wait_exit() == 0
    host.wait_ended()
    assert host.session.counts.unknown_replies == 2


def test_frames_are_read_however_they_are_cut_and_bytes_are_counted_not_characters(
    sample: Start, by_hand: str
) -> None:
    host = sample(by_hand).begin()
    method = BY_HAND[by_hand]
    whole = host.call(method, {"text": "ü海😀"})
    call = host.session.request(method, {"text": "ü海😀"})
    for byte in host.session.outbox.take():
        host.write(bytes([byte]))
    assert host.result_of(call) == whole
    calls = [host.session.request(method, {"text": "海" * n}) for n in range(100)]
    host.write(host.session.outbox.take(1 << 20))
    results = [host.result_of(call) for call in calls]
    if by_hand == "wordcount":
        results = ["海" * (result["bytes"] // 3) for result in results]
    assert results == ["海" * n for n in range(100)]


def test_what_is_no_message_is_answered_and_life_goes_on(sample: Start, by_hand: str) -> None:
    host = sample(by_hand).begin()
    for body in (b"{", b"null", b"[]", b'{"jsonrpc":"2.0","id":1}'):
        host.write(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
    host.notify("$/cancelRequest", {"id": 99})
    host.notify("no_such_notification")
    assert host.call(BY_HAND[by_hand], {"text": "a"})
    assert host.session.counts.bad_replies == 4


@pytest.mark.parametrize("params", [[], ["a"], [{"text": "a"}]], ids=str)
def test_params_that_are_no_object_are_refused(sample: Start, by_hand: str, params: list[Any]) -> None:
    error = error_of(sample(by_hand).begin(), BY_HAND[by_hand], params)
    assert error.code == ErrorCode.INVALID_PARAMS


def test_a_megabyte_is_taken_and_pings_are_answered_after_it(sample: Start, by_hand: str) -> None:
    host = sample(by_hand).begin()
    text: Any = "word " * 210_000
    call = host.send(BY_HAND[by_hand], {"text": text})
    ping = host.send("lifecycle/ping")
    result = host.result_of(call, timeout=20)
    assert (result["words"] if by_hand == "wordcount" else result.count("jbeq")) == 210_000
    assert host.result_of(ping)["in_flight"] == 0


def test_rot13_answers_what_is_not_quite_a_request(sample: Start) -> None:
    host = sample("rot13").begin()
    bodies = (
        b'{"jsonrpc":"2.0","id":null,"method":"encode"}',
        b'{"jsonrpc":"2.0","id":[1],"method":"encode"}',
        b'{"jsonrpc":"2.0","id":true,"method":"encode"}',
        b'{"jsonrpc":"2.0","id":1,"method":7}',
        b'{"jsonrpc":"2.0","id":1,"method":"encode","params":{"text":"\xff"}}',
        b'{"jsonrpc":"2.0","id":1,"method":"encode","params":{"text":"\\ud800"}}',
        b"[" * 10_000,
    )
    for body in bodies:
        host.write(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
    host.write(frame({"id": 7, "result": "a reply to nothing is not answered"}))
    assert host.call("encode", {"text": "a"}) == "n"
    assert host.session.counts.bad_replies == len(bodies)
    assert host.session.counts.unknown_replies == 0
    assert host.stderr() == ""


def test_rot13_needs_nothing_that_does_not_come_with_perl() -> None:
    used = re.findall(r"^use ([\w:]+)", (SAMPLES / "rot13" / "rot13.pl").read_text(), re.M)
    assert used == ["strict", "warnings", "B", "JSON::PP"]
