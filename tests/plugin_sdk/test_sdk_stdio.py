"""The protocol's streams belong to the protocol; what author code prints or logs goes to the host's log."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from protocol.events import Strayed
from tests.support.raw_host import RawHost

Launch = Callable[..., RawHost]

NOISY = """
print("at import")

@plugin.method
def say(how: str) -> int:
    if how == "print":
        print("without newline", end="", flush=True)
    elif how == "write":
        os.write(1, b"by descriptor")
    elif how == "puts":
        libc = ctypes.CDLL(None)
        libc.puts(b"by C")
        libc.fflush(None)
    elif how == "child":
        subprocess.run(["echo", "by a child"], check=True)
    elif how == "header":
        os.write(1, b"Content-Length: 5\\r\\n\\r\\nhello")
    elif how == "replaced":
        sys.stdout = os.fdopen(1, "w", closefd=False)
        print("by a new stdout", flush=True)
    elif how == "closed":
        os.close(1)
    return 1
"""
TEXTS = {
    "print": "without newline",
    "write": "by descriptor",
    "puts": "by C",
    "child": "by a child",
    "header": "Content-Length: 5",
    "replaced": "by a new stdout",
}


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_whatever_author_code_prints_is_on_stderr_and_not_in_the_protocol(serve: Launch, kind: str) -> None:
    host = serve(NOISY.replace("def say", f"{kind} say"))
    for how, text in TEXTS.items():
        assert host.call("say", {"how": how}) == 1
        assert text in host.stderr(), how
    assert "at import" in host.stderr()
    assert not any(isinstance(event, Strayed) for event in host.heard)
    assert host.session.counts.noise_bytes == 0
    assert host.end() == 0


def test_closing_stdout_does_not_close_the_protocol(serve: Launch) -> None:
    host = serve(NOISY)
    assert host.call("say", {"how": "closed"}) == 1
    assert host.call("lifecycle/ping")["in_flight"] == 0


def test_stdin_is_empty_for_author_code(serve: Launch) -> None:
    host = serve("""
        @plugin.method
        def read() -> list[Any]:
            child = subprocess.run(["cat"], capture_output=True, check=True)
            return [sys.stdin.read(), os.read(0, 10).decode(), child.stdout.decode()]
    """)
    assert host.call("read") == ["", "", ""]


def test_a_child_inherits_none_of_our_pipes(serve: Launch) -> None:
    host = serve("""
        @plugin.method
        def start_child() -> int:
            return subprocess.Popen(["sleep", "60"], close_fds=False).pid
    """)
    child = host.call("start_child")
    assert child > 0
    host.call("shutdown")
    host.notify("exit")
    assert host.wait_ended().fault is None  # although the child lives on


def test_logging_arrives_as_records(serve: Launch) -> None:
    host = serve("""
        @plugin.method
        def log(ctx: Context) -> None:
            logging.getLogger("deep.inside").warning("a %s", "warning")
            ctx.log.info("hello \\ud800")
            logging.debug("too fine")
            try:
                1 / 0
            except ZeroDivisionError:
                logging.exception("it went wrong")
            logging.info("bad %d", "format")
    """)
    host.call("log")
    records = [host.next_notification("log/record") for _ in range(4)]
    assert [record["level"] for record in records] == ["warning", "info", "error", "info"]
    assert (records[0]["message"], records[0]["logger"]) == ("a warning", "deep.inside")
    assert (records[1]["message"], records[1]["logger"]) == ("hello ?", "tested")
    assert "ZeroDivisionError" in records[2]["message"]
    assert "cannot be formatted" in records[3]["message"]
    assert all(record["ts"] > 1_600_000_000 for record in records)


def test_the_host_may_ask_for_finer_records(serve: Launch) -> None:
    host = serve("""
        @plugin.method
        def log() -> None:
            logging.debug("fine")
            logging.error("coarse")
    """)
    host.notify("log/level", {"level": "debug"})
    host.call("log")
    assert host.next_notification("log/record")["message"] == "fine"


def test_a_flood_of_records_is_limited_and_the_others_are_counted(serve: Launch) -> None:
    host = serve("""
        @plugin.method
        def flood(count: int) -> None:
            for n in range(count): logging.info("drop %d", n)

        @plugin.method
        def after() -> None:
            while not getattr(plugin, "said", False):
                handler = logging.getLogger().handlers[0]
                if handler._tokens + (time.monotonic() - handler._filled_at) * 200 >= 1:
                    logging.info("after")
                    plugin.said = True
    """)
    host.call("flood", {"count": 20_000}, timeout=10)
    host.call("after")
    records = []
    while not records or records[-1]["message"] != "after":
        records.append(host.next_notification("log/record"))
    assert 1000 <= len(records) < 5000
    assert len(records) - 1 + sum(record.get("dropped", 0) for record in records) == 20_000


def test_a_flood_of_records_does_not_hold_up_a_ping(serve: Launch) -> None:
    host = serve("""
        @plugin.method
        def flood(ctx: Context) -> None:
            ctx.status("in")
            while not ctx.cancelled: logging.info("x" * 1000)
    """)
    call = host.send("flood")
    host.next_notification("status/text")
    host.nudge()
    for _ in range(10):
        assert host.call("lifecycle/ping", timeout=1)["in_flight"] == 1
    host.send_cancel(call)
    host.result_of(call)


def test_a_status_text_arrives(serve: Launch) -> None:
    host = serve("@plugin.method\ndef work(ctx): ctx.status('busy with ü')\n")
    host.call("work")
    assert host.next_notification("status/text") == {"text": "busy with ü"}
