"""Whatever author code raises or returns, the caller is answered, and the plugin lives on."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from protocol.errors import ErrorCode, RpcError
from tests.support.raw_host import RawHost, error_of

Launch = Callable[..., RawHost]

SYNC = ""
ASYNC = """
@plugin.method
async def in_a_loop() -> None:
    pass
"""

VICES = """
class Mute(Exception):
    def __str__(self): raise RuntimeError("no text")

class Evil(Exception):
    def __getattribute__(self, name): raise SystemExit(name)

class Hollow:
    pass

@plugin.method
def ok() -> str:
    return "ok"

@plugin.method
def leave(): raise SystemExit(3)

@plugin.method
def interrupt(): raise KeyboardInterrupt

@plugin.method
def mute(): raise Mute()

@plugin.method
def evil(): raise Evil()

@plugin.method
def generator_exit(): raise GeneratorExit

@plugin.method
def group(): raise ExceptionGroup("many", [ValueError("a"), TypeError("b")])

@plugin.method
def surrogate_text(): raise ValueError("\\ud800")

@plugin.method
def long_text(): raise ValueError("x" * 1_000_000)

@plugin.method
def deep():
    return deep()

@plugin.method
def surrogate(): return "\\ud800"

@plugin.method
def cycle():
    a = []
    a.append(a)
    return a

@plugin.method
def hollow(): return Hollow()

@plugin.method
def bad_float(): return {1.5: object()}

@plugin.method
def precise(): raise PluginError(7, "no ink", {"colour": ["blau", None]})

@plugin.method
def precise_but_unsendable(): raise PluginError(7, "no ink", object())

@plugin.method
def not_ready(): raise NotReady("the camera warms up", 1.25)

@plugin.method
def never_ready(): raise NotReady("broken", float("inf"))

@plugin.method
def oddly_ready(): raise NotReady("broken", "soon")

@plugin.method
def kaputt(): raise ValueError("kaputt")
"""
SYNC_VICES = VICES
ASYNC_VICES = VICES.replace("\ndef ", "\nasync def ").replace("return deep()", "return await deep()")
BOTH = pytest.mark.parametrize("source", [SYNC_VICES, ASYNC_VICES], ids=["sync", "async"])


@BOTH
def test_whatever_a_handler_raises_the_caller_is_answered(serve: Launch, source: str) -> None:
    host = serve(source)
    for method in ("leave", "interrupt", "mute", "evil", "generator_exit", "group", "deep"):
        error = error_of(host, method)
        assert error.code == ErrorCode.PLUGIN_ERROR, method
        assert error.data["error_id"], method
        assert host.call("ok") == "ok"
    assert error_of(host, "leave").data["type"] == "SystemExit"
    assert error_of(host, "interrupt").message == "KeyboardInterrupt"
    assert error_of(host, "mute").data["message"] == "(the exception's own text raises)"
    assert host.end() == 0


@BOTH
def test_whatever_a_handler_returns_the_caller_is_answered(serve: Launch, source: str) -> None:
    host = serve(source)
    for method in ("surrogate", "cycle", "hollow", "bad_float"):
        assert error_of(host, method).code == ErrorCode.RESULT_NOT_SERIALIZABLE, method
        assert host.call("ok") == "ok"
    assert host.end() == 0


@BOTH
def test_a_plugin_error_arrives_as_it_is(serve: Launch, source: str) -> None:
    host = serve(source)
    error = error_of(host, "precise")
    assert (error.code, error.message, error.data) == (7, "no ink", {"colour": ["blau", None]})
    assert error_of(host, "precise_but_unsendable").code == 7


@BOTH
def test_not_ready_says_when_to_come_back(serve: Launch, source: str) -> None:
    host = serve(source)
    error = error_of(host, "not_ready")
    assert (error.code, error.message) == (ErrorCode.NOT_READY, "the camera warms up")
    assert error.data == {"retry_after_ms": 1250}


@BOTH
def test_a_retry_time_that_is_no_time_still_gives_an_answer(serve: Launch, source: str) -> None:
    host = serve(source)
    for method in ("never_ready", "oddly_ready"):
        assert error_of(host, method).code == ErrorCode.PLUGIN_ERROR
    assert host.call("ok") == "ok"


def test_the_text_of_an_error_is_capped(serve: Launch) -> None:
    assert len(error_of(serve(VICES), "long_text").message) < 10_000


def test_the_traceback_is_logged_under_the_id_that_the_caller_gets(serve: Launch) -> None:
    host = serve(VICES)
    error = error_of(host, "kaputt")
    record = host.next_notification("log/record")
    assert record["level"] == "error"
    assert error.data["error_id"] in record["message"]
    assert "ValueError: kaputt" in record["message"]
    assert "main.py" in record["message"]
    assert "plugin_sdk" not in record["message"]


def test_start_code_that_raises_is_an_error_reply(launch: Launch) -> None:
    host = launch("""
        @plugin.on_start
        def start(): raise OSError("no such camera")

        @plugin.method
        def ok(): pass
    """)
    host.initialize()
    host.notify("initialized")
    error = error_of(host, "lifecycle/start")
    assert error.code == ErrorCode.PLUGIN_ERROR
    assert error.message == "OSError: no such camera"


@pytest.mark.parametrize("more", [SYNC, ASYNC], ids=["serial", "loop"])
@pytest.mark.parametrize("options", ["", "threads=2"])
def test_start_code_may_choose_the_exit_code(launch: Launch, more: str, options: str) -> None:
    source = """
@plugin.on_start
def start(): raise SystemExit(78)

@plugin.method
def ok(): pass
"""
    host = launch(source + more, options=options)
    host.initialize()
    host.notify("initialized")
    assert error_of(host, "lifecycle/start").code == ErrorCode.PLUGIN_ERROR
    assert host.wait_exit() == 78


def test_an_import_error_is_the_answer_to_initialize_with_its_traceback(launch: Launch) -> None:
    host = launch("import no_such_module_anywhere\n")
    with pytest.raises(RpcError) as caught:
        host.initialize()
    assert caught.value.code == ErrorCode.PLUGIN_ERROR
    assert caught.value.message.startswith("ModuleNotFoundError: ")
    assert "main.py" in caught.value.data["traceback"]
    assert host.wait_exit() == 1


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("def broken(:\n", "SyntaxError"),
        ("", "provides nothing"),
        ("another = Plugin()\n", "has 2 Plugin"),
        ("del plugin\n", "has no Plugin"),
        ("class C: pass\n@plugin.method\ndef paint(c: C): pass\n", "paint"),
        ("class S(msgspec.Struct):\n    x: Exception\nplugin.settings(S)\n", "settings S: "),
    ],
)
def test_a_plugin_that_is_put_together_wrongly_says_so_at_initialize(
    launch: Launch, source: str, reason: str
) -> None:
    host = launch(source)
    with pytest.raises(RpcError, match=reason):
        host.initialize()
    assert host.wait_exit() == 1


@pytest.mark.parametrize("code", [0, 75, 78])
def test_a_module_that_exits_when_it_is_imported_says_so_and_exits_with_its_code(
    launch: Launch, code: int
) -> None:
    host = launch(f"raise SystemExit({code})\n")
    with pytest.raises(RpcError) as caught:
        host.initialize()
    assert caught.value.data["type"] == "SystemExit"
    assert host.wait_exit() == code


def test_another_protocol_version_is_refused_with_ours(launch: Launch) -> None:
    host = launch(VICES)
    with pytest.raises(RpcError) as caught:
        host.initialize(protocol=[2, 3])
    assert caught.value.code == ErrorCode.UNSUPPORTED_PROTOCOL
    assert caught.value.data == {"supported": [1]}
    assert host.wait_exit() == 1


def test_initialize_params_that_make_no_sense_are_refused(launch: Launch) -> None:
    host = launch(VICES)
    with pytest.raises(RpcError) as caught:
        host.initialize(plugin={"nome": "x"})
    assert caught.value.code == ErrorCode.INVALID_PARAMS
    assert host.wait_exit() == 1
