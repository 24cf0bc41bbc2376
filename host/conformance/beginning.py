"""Checks of the first words between a host and a plugin."""

from __future__ import annotations

from host.conformance.bench import Bench, error_code
from host.conformance.peer import Gone, Late, Peer
from host.conformance.verdicts import Checks, Skipped, Unmet
from protocol.lifecycle import FEATURES
from protocol.methods import is_own_name

checks = Checks()
NEVER_SPOKEN = 999


@checks.add("before-initialize", "error -32002 to a request that comes before `initialize`", "initialize")
def before_initialize(bench: Bench) -> str:
    reply = bench.fresh().call("greet")
    if error_code(reply) != -32002:
        raise Unmet(shown(reply))
    return "error -32002"


@checks.add("versions", "error -32008 with data.supported, if none of the versions is spoken", "initialize")
def versions(bench: Bench) -> str:
    reply = bench.fresh().call("initialize", bench.introduction([NEVER_SPOKEN]))
    if error_code(reply) != -32008:
        raise Unmet(shown(reply))
    data = reply["error"].get("data")
    spoken = data.get("supported") if isinstance(data, dict) else None
    if not isinstance(spoken, list) or 1 not in spoken:
        raise Unmet(f"error -32008 with data {data!r}")
    return f"error -32008, supported {spoken}"


@checks.add("end-of-stdin-early", "the end of stdin before `initialize` is an end, too", "the-end")
def end_of_stdin_early(bench: Bench) -> str:
    return ended_by_stdin(bench, bench.fresh())


@checks.add("initialize", "protocol 1, and a result as in InitializeResult", "initialize")
def initialize(bench: Bench) -> str:
    try:
        bench.introduced()
    except (Gone, Late):
        bench.gives_up()
        raise
    if "error" in bench.reply:
        bench.gives_up()
        raise Unmet(shown(bench.reply))
    told, subject = bench.told, bench.subject
    if told is None:
        bench.gives_up()
        raise Unmet(bench.misfit)
    wrong = []
    if told.protocol != 1:
        wrong.append(f"protocol {told.protocol}, which was not offered")
    if strange := sorted(set(told.features) - set(FEATURES)):
        wrong.append(f"features that were not offered: {', '.join(strange)}")
    if told.encoding not in ("json", "msgpack"):
        wrong.append(f"encoding {told.encoding!r}, which was not offered")
    if subject.name and told.plugin.name not in ("", subject.name):
        wrong.append(f"name {told.plugin.name!r}, and the manifest says {subject.name!r}")
    if subject.version and told.plugin.version not in ("", subject.version):
        wrong.append(f"version {told.plugin.version!r}, and the manifest says {subject.version!r}")
    names = [method.name for method in told.provides.methods]
    wrong += [f"{name!r} cannot be a method's name" for name in names if not is_own_name(name)]
    wrong += [f"{name!r} is there twice" for name in sorted(set(names)) if names.count(name) > 1]
    if wrong:
        raise Unmet("; ".join(wrong))
    hooks = len(told.provides.hooks)
    return f"protocol {told.protocol}, {len(names)} methods, {hooks} hooks, {told.encoding}"


@checks.add("start", "a result of `lifecycle/start`, null or an object", "lifecyclestart")
def start(bench: Bench) -> str:
    try:
        bench.ready()
    except (Gone, Late):
        bench.gives_up()
        raise
    if "error" in bench.start_reply or not isinstance(bench.start_reply["result"], dict | None):
        bench.gives_up()
        raise Unmet(shown(bench.start_reply))
    return "it serves"


@checks.add(
    "quiet-before-start", "nothing but replies, log/record and status/text before it serves", "lifecyclestart"
)
def quiet_before_start(bench: Bench) -> str:
    bench.ready()
    if bench.early:
        raise Unmet(f"`{bench.early[0]['method']}`")
    return "nothing else"


@checks.add("initialize-twice", "an error, -32003, to a second `initialize`", "error-codes")
def initialize_twice(bench: Bench) -> str:
    peer = bench.ready()
    reply = peer.call("initialize", bench.introduction([1]))
    if error_code(reply) not in (-32003, -32600, -32601):
        raise Unmet(shown(reply))
    return f"error {error_code(reply)}"


@checks.add("settings", "its own settings are taken, `config/changed` is survived", "settings-that-change")
def settings(bench: Bench) -> str:
    peer = bench.ready()
    assert bench.told is not None
    if not {"validate", "config"} & set(bench.told.features):
        raise Skipped("it has announced neither `validate` nor `config`")
    if "validate" in bench.told.features:
        reply = peer.call("config/validate", {"config": bench.subject.config})
        result = reply.get("result")
        if not isinstance(result, dict) or result.get("problems"):
            raise Unmet(shown(reply))
    if "config" in bench.told.features:
        peer.notify("config/changed", {"config": bench.subject.config, "config_revision": 1})
        peer.ping()
    return "taken"


def ended_by_stdin(bench: Bench, peer: Peer) -> str:
    """What became of it when its stdin ended. Raises Unmet: it goes on."""
    peer.close_stdin()
    code = peer.exit_code()
    bench.done_with(peer)
    if code is None:
        raise Unmet(f"it goes on for {peer.timeout_s:g} s")
    return f"exit code {code}"


def shown(reply: object) -> str:
    """What came, for a person, and not all of it."""
    if isinstance(reply, dict):
        reply = {key: value for key, value in reply.items() if key != "jsonrpc"}
        if isinstance(error := reply.get("error"), dict):
            code, message = error.get("code"), str(error.get("message"))
            return f"error {code}, {message[:80]!r}" + ("" if reply.get("id") else ", for nobody")
        return f"result {str(reply.get('result'))[:80]}"
    return str(reply)[:100]
