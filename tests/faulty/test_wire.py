"""Plugins that do not keep to the protocol on their pipes."""

from __future__ import annotations

from pathlib import Path

import pytest

from host import PluginCrashed
from tests.support.plugins import ECHO, QUICK, Stage, staged, write_plugin, write_raw_plugin

pytestmark = pytest.mark.anyio


async def fails_with(stage: Stage, words: str) -> None:
    """A call to the victim ends typed, the reason has `words` in it, and the victim is back."""
    with pytest.raises(PluginCrashed) as caught:
        await stage.host.call("victim", "echo", timeout=5)
    assert words in str(caught.value)
    down = await stage.events.state("victim", "backoff")
    assert words in down.reason
    await stage.events.state("victim", "running")


@pytest.mark.parametrize(
    ("vice", "words"),
    [
        (r'write(b"Content-Length: 4294967295\r\n\r\n")', "frame_too_large"),
        (r'write(b"Content-Length: -1\r\n\r\n{}")', "bad_length"),
        (r'write(b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}")', "dup_length"),
        (r'write(b"Content-Length: 2\n\n{}")', "bare_lf"),
        (r'write(b"x" * 70_000)', "stdout_polluted"),
        (r'os.close(1)', "closed its output"),
        (r'write(b"Content-Length: 100\r\n\r\n{"); os.close(1)', "truncated"),
        (r'write(b"Content-Length: 100\r\n\r\n{"); os._exit(0)', "exit code 0"),
    ],
)  # fmt: skip
async def test_a_stream_that_cannot_go_on_ends_the_plugin_with_its_reason(
    tmp_path: Path, vice: str, words: str
) -> None:
    code = f"handshake()\nreceive()\n{vice}\ntime.sleep(60)\n"
    restart = QUICK | {"policy": "always"}
    async with staged(tmp_path, write_raw_plugin(tmp_path, "victim", code, restart=restart)) as stage:
        if "closed" in words:  # for the call itself, the end of the file is all there is
            with pytest.raises(PluginCrashed):
                await stage.host.call("victim", "echo")
            assert words in (await stage.events.state("victim", "backoff")).reason
        else:
            await fails_with(stage, words)


async def test_text_between_frames_is_logged_and_loses_nothing(tmp_path: Path) -> None:
    code = r"""
        handshake()
        while True:
            message = receive()
            write(b"hello \x1b[31mworld\n")
            if "id" in message:
                send(id=message["id"], result=message["params"])
            write(b"no newline")
            if message["method"] == "exit":
                os._exit(0)
    """
    async with staged(tmp_path, write_raw_plugin(tmp_path, "victim", code)) as stage:
        for number in range(20):
            assert await stage.host.call("victim", "echo", n=number) == {"n": number}
        logged = await stage.events.log("victim", "hello")
        assert logged.source == "stdout"
        assert "\x1b" not in logged.message
        assert stage.host.status("victim").plugins[0].stdout_noise_bytes > 300


async def test_malformed_and_unknown_messages_are_survived(tmp_path: Path) -> None:
    code = r"""
        handshake()
        write(b"Content-Length: 9\r\n\r\n{not json")
        write(b"Content-Length: 2\r\n\r\n[]")
        send(id=99999, result="for nobody")
        send(method="no/such/notification", params={})
        send(method="log/record", params={"level": 7})
        send(id="mine", method="no/such/request", params={})
        answers = [receive(), receive(), receive()]
        send(method="log/record", params={"level": "info", "message": json.dumps(answers)})
        serve()
    """
    async with staged(tmp_path, write_raw_plugin(tmp_path, "victim", code)) as stage:
        heard = await stage.events.log("victim", "jsonrpc")
        for error_code in ("-32700", "-32600", "-32601"):
            assert error_code in heard.message
        assert await stage.host.call("victim", "echo", n=1) == {"n": 1}


async def test_a_flood_of_stderr_is_dropped_and_the_host_stays_responsive(tmp_path: Path) -> None:
    code = (
        ECHO
        + """
@plugin.method
def flood() -> None:
    for _ in range(200):
        os.write(2, b"x" * 99 + b"\\n" + b"y" * 99_900)
"""
    )
    async with staged(tmp_path, write_plugin(tmp_path, "victim", code)) as stage:
        await stage.host.call("victim", "flood", timeout=10)
        assert await stage.host.call("victim", "echo", value=1) == 1
        status = stage.host.status("victim").plugins[0]
        assert len(status.stderr_tail) <= 100
        await stage.host.stop("victim")
        await stage.events.log("victim", "bytes of stderr were dropped")
