"""Checks of how a plugin ends, and of everything that it has said on the way."""

from __future__ import annotations

from host.conformance.beginning import ended_by_stdin, shown
from host.conformance.bench import Bench, error_code
from host.conformance.verdicts import Checks, Unmet

checks = Checks()


@checks.add("shutdown", "null or an object, and error -32004 to requests from then on", "the-end")
def shutdown(bench: Bench) -> str:
    peer = bench.ready()
    peer.is_shut_down = True
    reply = peer.call("shutdown", timeout_s=30.0)
    if "error" in reply or not isinstance(reply["result"], dict | None):
        raise Unmet(shown(reply))
    reply = peer.call("greet")
    if error_code(reply) != -32004:
        raise Unmet(f"a request after it: {shown(reply)}")
    return "error -32004 from then on"


@checks.add("exit", "exit code 0 after `shutdown` and `exit`", "the-end")
def exit(bench: Bench) -> str:
    peer = bench.ready()
    if not peer.is_shut_down:
        peer.call("shutdown", timeout_s=30.0)
    peer.notify("exit")
    code = peer.exit_code()
    bench.done_with(peer)
    if code != 0:
        raise Unmet(f"it goes on for {peer.timeout_s:g} s" if code is None else f"exit code {code}")
    return "exit code 0"


@checks.add("end-of-stdin", "the end of stdin is the end, at any time", "the-end")
def end_of_stdin(bench: Bench) -> str:
    return ended_by_stdin(bench, bench.ready())


@checks.add("one-reply", "a reply to each request, and to nothing else", "messages")
def one_reply(bench: Bench) -> str:
    bench.close()
    if bench.unasked:
        raise Unmet(f"a reply to id {bench.unasked[0].get('id')!r}, which was answered or never asked")
    return "nothing else"


@checks.add("stdout", "nothing on stdout but frames, as they are to be sent", "text-between-frames")
def stdout(bench: Bench) -> str:
    bench.close()
    if bench.noise:
        raise Unmet(f"text between frames: {bench.noise[0][:60]!r}")
    if bench.odd_headers:
        raise Unmet(f"a header that is not as it ought to be: {bench.odd_headers[0]}")
    if bench.unreadable:
        raise Unmet(f"a frame that is no message: {bench.unreadable[0]}")
    return "frames alone"
