"""A plugin that does not keep to its side of the pipes costs who checks it neither memory nor a traceback."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from host.conformance import peer as peers
from host.conformance.peer import Gone, Peer
from host.conformance.subject import of_command

FRAME = """
import os, sys, time
def said(body):
    return b"Content-Length: %d\\r\\n\\r\\n%s" % (len(body), body)
"""


@contextmanager
def a_peer(folder: Path, code: str) -> Iterator[Peer]:
    words = [sys.executable, "-I", "-S", "-c", FRAME + code]
    subject = of_command(words, str(folder), str(folder), timeout_s=10.0)
    with closing(Peer(subject.spec, subject.timeout_s)) as peer:
        yield peer


def test_a_request_after_the_end_of_stdin_is_answered_by_nobody(tmp_path: Path) -> None:
    code = """
sys.stdin.read()
os.write(1, said(b'{"jsonrpc":"2.0","id":1,"method":"config/get"}'))
time.sleep(0.2)
sys.exit(3)
"""
    with a_peer(tmp_path, code) as peer:
        peer.close_stdin()
        assert peer.exit_code() == 3
        assert [message["method"] for message in peer.heard] == ["config/get"]


LOG = """'{"jsonrpc":"2.0","method":"log/record","params":{}}'"""
REPLY = """'{"jsonrpc":"2.0","id":99,"result":1}'"""
FLOODS = {
    f"while True: os.write(1, said(b{LOG}) * 100)": "it floods stdout: more than 300 messages",
    f"while True: os.write(1, said(b{REPLY}) * 100)": "it floods stdout: more than 300 messages",
    "while True: os.write(1, said(b'?') * 100)": "it floods stdout: more than 300 messages",
    "while True: os.write(1, said(b'[' + b' ' * 99999 + b']'))": "it floods stdout: more than 1 MiB",
    "while True: os.write(2, b'x' * 65536)": "it floods stderr: more than 1 MiB",
}


@pytest.mark.parametrize(("code", "reason"), FLOODS.items(), ids=["log", "reply", "text", "large", "stderr"])
def test_a_plugin_that_floods_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, reason: str
) -> None:
    monkeypatch.setattr(peers, "MAX_RECEIVED", 1 << 20)
    monkeypatch.setattr(peers, "MAX_KEPT", 300)
    with a_peer(tmp_path, code) as peer:
        with pytest.raises(Gone, match=reason):
            peer.call("work")
        peer.process.wait(5)
        assert len(peer.heard) + len(peer.replies) + len(peer.unreadable) < 5000
    with a_peer(tmp_path, code) as peer, pytest.raises(Gone, match=reason):
        peer.exit_code()


def test_no_more_is_kept_of_text_between_frames_than_is_shown(tmp_path: Path) -> None:
    code = f"""
for _ in range(50):
    os.write(1, b"x" * 4000 + b"\\n" + said(b{LOG}))
"""
    with a_peer(tmp_path, code) as peer:
        peer.listen(10)
        assert (len(peer.heard), len(peer.noise)) == (50, peers.MAX_NOISE)
