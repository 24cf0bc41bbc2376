"""What nobody who knows the code would think of, in raw bytes: the plugin has to serve again, or go on.

As in test_outsiders.py: `1` says that it has to survive it, `2` that it has to be replaced.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest

from host import OutboardError
from tests.support.arena import REPLACED_SOON, Arena, arena
from tests.support.plugins import write_raw_plugin

pytestmark = pytest.mark.anyio

SAYINGS: dict[str, tuple[int | None, str]] = {
    "half a frame, and silence": (2, r"write(b'Content-Length: 9\r\n\r\n{'); time.sleep(60)"),
    "half a header, and silence": (2, r"write(b'Content-Le'); time.sleep(60)"),
    "one byte after the other": (1, r"[write(b'%c' % each) for each in framed(b'{}')]"),
    "a cancellation of everything": (
        1,
        "[send(method='$/cancelRequest', params={'id': n}) for n in range(5000)]",
    ),
    "replies to everything": (None, "[send(id=n, result=1) for n in range(5000)]"),
    "errors to everything": (None, "[send(id=n, error={'code': 1, 'message': 'x'}) for n in range(5000)]"),
    "a flood of progress": (
        1,
        "write(framed(message(method='$/progress', params={'token': 1, 'value': 1})) * 50_000)",
    ),
    "a flood of what nobody knows": (
        1,
        "write(framed(message(method='no/such/thing', params={})) * 100_000)",
    ),
    "a flood of requests": (None, "write(framed(message(id=1, method='no/such/thing', params={})) * 20_000)"),
    "a record of ten megabytes": (
        1,
        "send(method='log/record', params={'level': 'info', 'message': 'x' * 10**7})",
    ),
    "a record of a million fields": (
        None,
        "fields = dict.fromkeys(map(str, range(300_000)));"
        "send(method='log/record', params={'level': 'info', 'message': 'x', 'fields': fields})",
    ),
    "a batch": (1, "write(framed(b'[' + b','.join([message(method='x')] * 1000) + b']'))"),
    "a reply with both": (None, "send(id=asked, result=1, error={'code': 1, 'message': 'x'})"),
    "a reply with neither": (None, "send(id=asked)"),
    "an error that is none": (None, "send(id=asked, error='no')"),
    "an error with a code of its own kind": (None, "send(id=asked, error={'code': 1e400, 'message': None})"),
    "an id that is a fraction": (1, "send(id=asked + 0.5, result=1)"),
    "an id that is a list": (1, "send(id=[asked], result=1)"),
    "an id of three hundred digits": (1, "send(id=10**300, result=1)"),
    "the same key twice": (None, 'write(framed(b\'{"jsonrpc":"2.0","id":%d,"id":0,"result":1}\' % asked))'),
    "a key that is half a letter": (
        None,
        'write(framed(b\'{"jsonrpc":"2.0","id":%d,"result":"\\\\ud800"}\' % asked))',
    ),
    "bytes that are no letters": (
        None,
        'write(framed(b\'{"jsonrpc":"2.0","id":%d,"result":"\\xff"}\' % asked))',
    ),
    "words that are the host's": (
        1,
        "send(id=1, method='initialize', params={}); send(method='exit'); send(id=2, method='shutdown')",
    ),
    "an empty frame": (None, "write(framed(b'') * 1000)"),
    "a thousand lines and no header": (None, r"write(b'\n' * 1000)"),
}
"""What a plugin without SDK says instead of an answer, and whether it survives that."""

SAYS = r"""
def message(**said):
    return json.dumps({"jsonrpc": "2.0", **said}).encode()
def framed(body):
    return b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
handshake(provides={"methods": [{"name": "echo"}, {"name": "misbehave"}]})
while True:
    heard = receive()
    asked = heard.get("id")
    if heard.get("method") == "exit":
        sys.exit(0)
    if heard.get("method") == "misbehave":
        number = heard["params"]["number"]
        SAYING
    elif "id" in heard and "method" in heard:
        send(id=asked, result=heard.get("params", {}).get("value"))
"""


ENDING = [saying for saying, (survives, _) in SAYINGS.items() if survives != 1]


async def say(fought: Arena, number: int) -> None:
    with suppress(OutboardError):
        await fought.call("victim", "misbehave", number=number, timeout=1.0)


def saying_plugin(parent: Path, *codes: str) -> Path:
    sayings = "\n        ".join(
        f"if number == {number}:\n            {code}" for number, code in enumerate(codes)
    )
    return write_raw_plugin(parent, "victim", SAYS.replace("SAYING", sayings), **REPLACED_SOON)


@pytest.mark.parametrize("saying", ENDING)
async def test_it_serves_again_whatever_it_has_said(tmp_path: Path, saying: str) -> None:
    survives, code = SAYINGS[saying]
    async with arena(tmp_path, saying_plugin(tmp_path, code)) as fought:
        await say(fought, 0)
        generation = await fought.serves_again()
        if survives is not None:
            assert generation == survives, fought.host.why("victim").causes


async def test_what_is_only_odd_ends_nobody(tmp_path: Path) -> None:
    odd = {saying: code for saying, (survives, code) in SAYINGS.items() if survives == 1}
    async with arena(tmp_path, saying_plugin(tmp_path, *odd.values())) as fought:
        for number, saying in enumerate(odd):
            await say(fought, number)
            assert await fought.serves_again() == 1, saying
