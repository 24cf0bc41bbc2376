"""Extension points on real plugins: one question to many, of whom some fail."""

from __future__ import annotations

import os
import signal
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from host import (
    ContractError,
    DeadlineExceeded,
    ExtensionPoint,
    HookFailed,
    HookOutcome,
    HookRefused,
    Host,
    HostMisuse,
    OutboardError,
    PluginCrashed,
    PluginQuarantined,
    PluginUnavailable,
    RemoteError,
    UnknownExtensionPoint,
)
from host.errors import ConfigError, NotSerializable
from host.observability.events import PluginProblem
from host.supervision import roster
from tests.support.plugins import (
    Events,
    end_at_once,
    make_host,
    pid_of,
    settled,
    write_plugin,
    write_raw_plugin,
)

pytestmark = pytest.mark.anyio

SLOW_RESTART = {"backoff_min": "20s", "backoff_max": "20s", "intensity": 1, "period": "1h"}
FRAGILE = {"backoff_min": "20ms", "backoff_max": "20ms", "intensity": 1}
FAILS = "raise ValueError('no')"
DIES = "os.kill(os.getpid(), signal.SIGKILL)"


def implementing(parent: Path, body: str = "return text + NAME", *, options: str = "", **tables: Any) -> Path:
    """A plugin with an implementation of `text.mark`, which is called like its folder."""
    name = parent.name
    code = f"""
NAME = {name!r}

@plugin.method
def echo(value: Any = None) -> Any:
    return value

@plugin.hook("text.mark"{options})
def mark(ctx: Context, text: str = "", lang: str = "") -> Any:
    {body}
"""
    return write_plugin(parent, name, code, **tables)


def point(mode: Any = "collect", **values: Any) -> list[ExtensionPoint]:
    return [ExtensionPoint("text.mark", mode=mode, **values)]


def told(outcome: HookOutcome) -> list[tuple[str, Any, type[Exception] | None]]:
    return [(plugin, value, error and type(error)) for plugin, value, error in outcome.results]


# -- modes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "value", "asked"),
    [
        ("first", "xa", ["a"]),
        ("collect", ["xa", "xb", "xc"], ["a", "b", "c"]),
        ("pipeline", "xabc", ["a", "b", "c"]),
        ("broadcast", None, ["a", "b", "c"]),
    ],
)
async def test_each_mode_makes_its_own_of_the_answers(
    tmp_path: Path, mode: str, value: Any, asked: list[str]
) -> None:
    plugins = [implementing(tmp_path / name) for name in "cab"]
    async with make_host(tmp_path, *plugins, extension_points=point(mode)) as host:
        outcome = await host.hook("text.mark", text="x")
        assert (outcome.value, [result.plugin for result in outcome.results]) == (value, asked)
        assert outcome.errors == []


async def test_null_is_no_answer_to_the_first_mode_and_no_change_to_a_pipeline(tmp_path: Path) -> None:
    silent = implementing(tmp_path / "a", "return None")
    plugins = [silent, implementing(tmp_path / "b")]
    async with make_host(tmp_path, *plugins, extension_points=point("first")) as host:
        outcome = await host.hook("text.mark", text="x")
        assert told(outcome) == [("a", None, None), ("b", "xb", None)]
        assert outcome.value == "xb"
    async with make_host(tmp_path, *plugins, extension_points=point("pipeline")) as host:
        assert (await host.hook("text.mark", text="x")).value == "xb"
    async with make_host(tmp_path, silent, extension_points=point("first", default="none")) as host:
        assert (await host.hook("text.mark", text="x")).value == "none"


async def test_who_has_never_run_is_named_and_who_does_not_implement_the_point_is_not(tmp_path: Path) -> None:
    dead = write_raw_plugin(tmp_path, "dead", "raise SystemExit(1)")
    plugins = [implementing(tmp_path / "a"), write_plugin(tmp_path, "b"), dead]
    async with make_host(tmp_path, *plugins, extension_points=point()) as host:
        outcome = await host.hook("text.mark", text="x")
        assert (outcome.value, outcome.unheard) == (["xa"], ["dead"])


@pytest.mark.parametrize(
    ("mode", "value"), [("first", None), ("collect", []), ("pipeline", "x"), ("broadcast", None)]
)
async def test_a_point_that_nobody_implements_is_no_error(tmp_path: Path, mode: str, value: Any) -> None:
    async with make_host(tmp_path, extension_points=point(mode)) as host:
        assert await host.hook("text.mark", text="x") == HookOutcome(value, [])


async def test_a_pipeline_threads_its_first_parameter_and_gives_the_others_to_everybody(
    tmp_path: Path,
) -> None:
    plugins = [implementing(tmp_path / name, "return text + lang") for name in "ab"]
    async with make_host(tmp_path, *plugins, extension_points=point("pipeline")) as host:
        assert (await host.hook("text.mark", text="x", lang="de")).value == "xdede"
        params = {"text": "x", "lang": "fr"}
        assert (await host.hook("text.mark", params=params, timeout=None)).value == "xfrfr"
        assert params == {"text": "x", "lang": "fr"}
        with pytest.raises(HostMisuse):
            await host.hook("text.mark")


@pytest.mark.parametrize("mode", ["collect", "broadcast"])
async def test_they_are_asked_side_by_side(tmp_path: Path, mode: str) -> None:
    """Each waits for a sign of the other."""
    body = """
    open(f"{text}/{NAME}", "w").close()
    ends_at = time.monotonic() + 10
    while len(os.listdir(text)) < 2:
        assert time.monotonic() < ends_at
        time.sleep(0.005)
    return NAME
"""
    plugins = [implementing(tmp_path / name, body) for name in "ab"]
    signs = tmp_path / "signs"
    signs.mkdir()
    async with make_host(tmp_path, *plugins, extension_points=point(mode, timeout_s=20)) as host:
        outcome = await host.hook("text.mark", text=str(signs))
        assert told(outcome) == [("a", "a", None), ("b", "b", None)]


# -- failures ----------------------------------------------------------------------------------------

KEPT = {
    "first": ("xc", ["a", "b", "c"]),
    "collect": (["xc"], ["a", "b", "c"]),
    "pipeline": ("xc", ["a", "b", "c"]),
    "broadcast": (None, ["a", "b", "c"]),
}


@pytest.mark.parametrize("mode", KEPT)
async def test_one_that_raises_and_one_that_dies_cost_their_own_answers(tmp_path: Path, mode: str) -> None:
    plugins = [
        implementing(tmp_path / "a", FAILS),
        implementing(tmp_path / "b", DIES, restart=SLOW_RESTART),
        implementing(tmp_path / "c"),
    ]
    async with make_host(tmp_path, *plugins, extension_points=point(mode)) as host:
        events = Events(host)
        value, asked = KEPT[mode]
        outcome = await host.hook("text.mark", text="x")
        assert (outcome.value, [result.plugin for result in outcome.results]) == (value, asked)
        assert [(error.plugin, type(error)) for error in outcome.errors] == [
            ("a", RemoteError),
            ("b", PluginCrashed),
        ]
        assert "ValueError: no" in str(outcome.errors[0])
        await events.state("b", "backoff")
        outcome = await host.hook("text.mark", text="x")  # a crash does not decide what a failure costs
        assert [(error.plugin, type(error)) for error in outcome.errors] == [
            ("a", RemoteError),
            ("b", PluginUnavailable),
        ]
        assert outcome.value == value


@pytest.mark.parametrize("mode", ["first", "collect", "pipeline", "broadcast"])
async def test_an_implementation_that_may_be_asked_twice_outlasts_the_end_of_its_process(
    tmp_path: Path, mode: Any
) -> None:
    once = (
        f"if not os.path.exists('been'):\n        open('been', 'w').close(); {DIES}\n    return text + NAME"
    )
    plugin = implementing(tmp_path / "a", once, options=", idempotent=True")
    async with make_host(tmp_path, plugin, extension_points=point(mode)) as host:
        outcome = await host.hook("text.mark", text="x")
        assert told(outcome) == [("a", "xa", None)]
        assert host.status("a").plugins[0].generation == 2


async def test_a_default_stands_in_for_an_answer(tmp_path: Path) -> None:
    plugins = [implementing(tmp_path / "a"), implementing(tmp_path / "b", FAILS)]
    more: dict[str, Any] = {"on_error": "default", "default": "?"}
    async with make_host(tmp_path, *plugins, extension_points=point("collect", **more)) as host:
        outcome = await host.hook("text.mark", text="x")
        assert outcome.value == ["xa", "?"]
        assert told(outcome)[1] == ("b", "?", RemoteError)
    async with make_host(tmp_path, *plugins, extension_points=point("pipeline", **more)) as host:
        assert (await host.hook("text.mark", text="x")).value == "?"


@pytest.mark.parametrize(
    ("mode", "asked"),
    [
        ("first", ["a", "b"]),
        ("pipeline", ["a", "b"]),
        ("collect", ["a", "b", "c"]),
        ("broadcast", ["a", "b", "c"]),
    ],
)
async def test_where_none_may_fail_one_failure_fails_all_and_says_what_there_was(
    tmp_path: Path, mode: str, asked: list[str]
) -> None:
    plugins = [
        implementing(tmp_path / "a", "return None"),
        implementing(tmp_path / "b", FAILS),
        implementing(tmp_path / "c"),
    ]
    async with make_host(tmp_path, *plugins, extension_points=point(mode, on_error="fail")) as host:
        with pytest.raises(HookFailed) as failed:
            await host.hook("text.mark", text="x")
        error = failed.value
        assert (error.plugin, error.method, type(error.__cause__)) == ("b", "hook/text.mark", RemoteError)
        assert [result.plugin for result in error.outcome.results] == asked
        assert [
            each["plugin"] for each in msgspec.json.decode(msgspec.json.encode(error.data))["results"]
        ] == asked


async def test_a_plugin_that_is_quarantined_fails_a_point_where_none_may(tmp_path: Path) -> None:
    plugin = implementing(tmp_path / "a", restart=FRAGILE)
    async with make_host(tmp_path, plugin, extension_points=point(on_error="fail")) as host:
        events = Events(host)
        assert (await host.hook("text.mark", text="x")).value == ["xa"]
        os.kill(pid_of(host, "a"), signal.SIGKILL)
        await events.state("a", "starting")
        await events.state("a", "running", "degraded")
        os.kill(pid_of(host, "a"), signal.SIGKILL)
        await events.state("a", "quarantined")
        with pytest.raises(HookFailed) as failed:
            await host.hook("text.mark", text="x")
        assert isinstance(failed.value.__cause__, PluginQuarantined)
        assert [each.state for each in host.hooks.explain("text.mark").implementations] == ["quarantined"]


async def test_a_plugin_that_an_operator_stopped_is_left_out(tmp_path: Path) -> None:
    plugins = [implementing(tmp_path / name) for name in "ab"]
    async with make_host(tmp_path, *plugins, extension_points=point(on_error="fail")) as host:
        await host.stop("a")
        assert (await host.hook("text.mark", text="x")).value == ["xb"]
        (left,) = host.hooks.explain("text.mark").left_out
        assert left.plugin == "a"
        assert "stopped by an operator" in left.why
        await host.start("a")
        assert (await host.hook("text.mark", text="x")).value == ["xa", "xb"]
        await host.remove("b")
        assert (await host.hook("text.mark", text="x")).value == ["xa"]


# -- time --------------------------------------------------------------------------------------------


async def test_one_that_hangs_costs_the_points_own_time_and_its_answer(tmp_path: Path) -> None:
    plugins = [implementing(tmp_path / "a", "time.sleep(60)"), implementing(tmp_path / "b")]
    async with make_host(tmp_path, *plugins, extension_points=point("pipeline", timeout_s=0.2)) as host:
        with anyio.fail_after(10):
            outcome = await host.hook("text.mark", text="x")
        assert (outcome.value, told(outcome)[0]) == ("xb", ("a", None, DeadlineExceeded))
        end_at_once(host, "a")


async def test_the_callers_time_is_for_all_and_what_there_is_by_then_is_the_outcome(tmp_path: Path) -> None:
    plugins = [
        implementing(tmp_path / "a"),
        implementing(tmp_path / "b", "time.sleep(60)"),
        implementing(tmp_path / "c"),
    ]
    async with make_host(tmp_path, *plugins, extension_points=point("pipeline", timeout_s=30)) as host:
        with anyio.fail_after(10):
            outcome = await host.hook("text.mark", text="x", timeout=0.5)
        assert outcome.value == "xa"
        assert [type(error) for error in outcome.errors] == [DeadlineExceeded] * 2
        assert [error.plugin for error in outcome.errors] == ["b", "c"]
        assert host.status("c").plugins[0].calls.timeout == 0  # it was not even asked
        for wrong in (-1, float("nan"), 1e300):
            with pytest.raises(HostMisuse):
                await host.hook("text.mark", text="x", timeout=wrong)
        end_at_once(host, "b")


@pytest.mark.parametrize("mode", ["pipeline", "collect"])
async def test_a_cancelled_dispatch_cancels_what_is_in_flight(tmp_path: Path, mode: str) -> None:
    body = """
    ctx.log.info("asked")
    ends_at = time.monotonic() + 20
    while not ctx.cancelled and time.monotonic() < ends_at:
        time.sleep(0.005)
    ctx.log.info("cancelled" if ctx.cancelled else "forgotten")
"""
    plugins = [implementing(tmp_path / name, body) for name in "ab"]
    async with make_host(tmp_path, *plugins, extension_points=point(mode, timeout_s=30)) as host:
        events = Events(host)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(host.hook, "text.mark", text="x"))
            await events.log("a", "asked")
            tasks.cancel_scope.cancel()
        await events.log("a", "cancelled")
        assert host.status("a").plugins[0].calls.in_flight == 0


# -- plugins come and go -----------------------------------------------------------------------------


async def test_a_dispatch_under_way_is_not_torn_by_plugins_that_come_and_go(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    waits = f"""
    ctx.log.info("asked")
    ends_at = time.monotonic() + 20
    while not os.path.exists({str(gate)!r}) and time.monotonic() < ends_at:
        time.sleep(0.005)
    return text + NAME
"""
    first = implementing(tmp_path / "a", waits)
    new = implementing(tmp_path / "b")
    last = implementing(tmp_path / "c")
    async with make_host(tmp_path, first, last, extension_points=point("pipeline", timeout_s=30)) as host:
        events = Events(host)
        outcomes: list[HookOutcome] = []

        async def dispatch() -> None:
            outcomes.append(await host.hook("text.mark", text="x"))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(dispatch)
            await events.log("a", "asked")
            await host.add(new)
            await host.remove("c")
            gate.touch()
        assert told(outcomes[0]) == [("a", "xa", None), ("c", None, PluginUnavailable)]
        assert (await host.hook("text.mark", text="x")).value == "xab"


async def test_dispatches_go_on_while_plugins_come_and_go(tmp_path: Path) -> None:
    guest = implementing(tmp_path / "guest")
    async with make_host(tmp_path, implementing(tmp_path / "a"), extension_points=point("pipeline")) as host:
        seen = set()
        async with anyio.create_task_group() as tasks:

            async def ask_on() -> None:
                while True:
                    outcome = await host.hook("text.mark", text="x")
                    assert {type(error) for error in outcome.errors} <= {PluginUnavailable, PluginCrashed}
                    seen.add(outcome.value)

            tasks.start_soon(ask_on)
            for _ in range(3):
                await host.add(guest)
                await host.hook("text.mark", text="x")
                await host.remove("guest")
            tasks.cancel_scope.cancel()
        assert seen <= {"xa", "xaguest"}
        assert "xa" in seen


async def test_a_lazy_plugin_is_started_by_the_first_dispatches_and_asked_by_all_of_them(
    tmp_path: Path,
) -> None:
    lazy = implementing(tmp_path / "lazy", start={"mode": "lazy"})
    async with make_host(tmp_path, implementing(tmp_path / "a"), extension_points=point()) as host:
        assert (await host.hook("text.mark", text="x")).value == ["xa"]
        await host.add(lazy)
        assert host.status("lazy").plugins[0].state == "stopped"
        assert [each.plugin for each in host.hooks.explain("text.mark").implementations] == ["a", "lazy"]
        dispatch = partial(host.hook, "text.mark", text="x", timeout=20)
        outcomes = await settled([dispatch] * 3)
        assert [outcome.value for outcome in outcomes] == [["xa", "xlazy"]] * 3
        assert host.status("lazy").plugins[0].generation == 2


async def test_a_reload_brings_plugins_to_a_point_and_says_that_a_changed_table_has_to_wait(
    tmp_path: Path,
) -> None:
    config = tmp_path / "outboard.toml"
    config.write_text('[host]\nplugins = ["plugins/a"]\n')
    implementing(tmp_path / "plugins" / "a")
    async with Host(config=config, data_dir=tmp_path / "data", extension_points=point()) as host:
        assert (await host.hook("text.mark", text="x")).value == ["xa"]
        implementing(tmp_path / "plugins" / "a" / "lazy", start={"mode": "lazy"})
        config.write_text(
            '[host]\nplugins = ["plugins/a", "plugins/a/lazy"]\n'
            '[extension_points."text.mark"]\non_error = "fail"\n'
        )
        made = await host.reload()
        assert (made.added, made.needs_new_host) == (["lazy"], ["extension_points"])
        assert (await host.hook("text.mark", text="x")).value == ["xa", "xlazy"]
        assert host.hooks.explain("text.mark").on_error == "skip"


async def test_a_lazy_plugin_that_never_comes_up_holds_nobody_for_longer_than_the_points_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roster, "INTRODUCTION_S", 0.2)
    code = (
        "@plugin.on_start\ndef start() -> None:\n    time.sleep(60)\n@plugin.method\ndef m() -> None: ...\n"
    )
    lazy = write_plugin(tmp_path, "lazy", code, start={"mode": "lazy", "stop_timeout": "10ms"})
    plugins = [implementing(tmp_path / "a"), lazy]
    async with make_host(tmp_path, *plugins, extension_points=point(timeout_s=0.3)) as host:
        with anyio.fail_after(10):
            assert (await host.hook("text.mark", text="x")).value == ["xa"]
        end_at_once(host, "lazy")


# -- types -------------------------------------------------------------------------------------------


class Document(msgspec.Struct):
    text: str
    mime: str = "text/plain"
    pages: int = 1


TYPED = """
class Document(msgspec.Struct):
    text: str
    mime: str = "text/plain"
    pages: int = 1

@plugin.hook("document.extract"{options})
def extract(doc: Document) -> Any:
    {body}
"""


def typed(parent: Path, body: str, options: str = "") -> Path:
    return write_plugin(parent, parent.name, "import msgspec\n" + TYPED.format(body=body, options=options))


async def test_a_struct_goes_out_and_comes_back_as_the_struct(tmp_path: Path) -> None:
    plugins = [
        typed(tmp_path / "a", "doc.pages += 1; return doc"),
        typed(tmp_path / "b", "return {'text': 5}"),
        typed(tmp_path / "c", "assert isinstance(doc, Document); doc.text += '!'; return doc"),
    ]
    points = [ExtensionPoint("document.extract", mode="pipeline", type=Document)]
    async with make_host(tmp_path, *plugins, extension_points=points) as host:
        outcome = await host.hook("document.extract", doc=Document("x"))
        assert outcome.value == Document("x!", pages=2)
        (error,) = outcome.errors
        assert (type(error), error.plugin) == (ContractError, "b")
        assert error.data == [{"path": "$.text", "reason": "expected `str`, got `int`"}]
        assert (await host.hook("document.extract", doc={"text": "y"})).value == Document("y!", pages=2)
        with pytest.raises(ContractError) as wrong:
            await host.hook("document.extract", doc={"txt": "y"})
        assert wrong.value.data[0]["path"] == "$.doc.text"


async def test_answers_are_of_the_points_type_in_the_other_modes_too(tmp_path: Path) -> None:
    plugins = [typed(tmp_path / "a", "return doc"), typed(tmp_path / "b", "return 5")]
    points = [ExtensionPoint("document.extract", type=Document)]
    async with make_host(tmp_path, *plugins, extension_points=points) as host:
        outcome = await host.hook("document.extract", doc=Document("x"))
        assert outcome.value == [Document("x")]
        assert [type(error) for error in outcome.errors] == [ContractError]
    points = [ExtensionPoint("document.extract", mode="broadcast", type=Document)]
    async with make_host(tmp_path, *plugins, extension_points=points) as host:
        assert (await host.hook("document.extract", doc=Document("x"))).errors == []


@pytest.mark.parametrize("mode", ["first", "pipeline"])
async def test_null_fits_a_type_where_it_is_no_answer(tmp_path: Path, mode: Any) -> None:
    plugins = [typed(tmp_path / "a", "return None"), typed(tmp_path / "b", "doc.text += '!'; return doc")]
    points = [ExtensionPoint("document.extract", mode=mode, type=Document, on_error="fail")]
    async with make_host(tmp_path, *plugins, extension_points=points) as host:
        assert (await host.hook("document.extract", doc=Document("x"))).value == Document("x!")


async def test_params_that_nobody_could_be_asked_with_are_the_callers_mistake(tmp_path: Path) -> None:
    async with make_host(tmp_path, implementing(tmp_path / "a"), extension_points=point()) as host:
        with pytest.raises(NotSerializable):
            await host.hook("text.mark", text=object())
        with pytest.raises(NotSerializable):
            await host.hook("text.mark", params=object())
        for nameless in (["x"], 5, "text"):
            with pytest.raises(HostMisuse):
                await host.hook("text.mark", params=nameless)
        params = msgspec.defstruct("Params", [("text", str)])("x")
        assert (await host.hook("text.mark", params=params)).value == ["xa"]
        outcome = await host.hook("text.mark", text=5)
        assert [type(error) for error in outcome.errors] == [ContractError]


# -- filters -----------------------------------------------------------------------------------------


async def test_a_plugin_that_would_not_act_is_not_called(tmp_path: Path) -> None:
    plugins = [
        typed(tmp_path / "pdf", "return doc", ', when={"doc.mime": "application/pdf"}'),
        typed(tmp_path / "image", "return doc", ', when={"doc.mime": {"glob": "image/*"}}'),
        typed(tmp_path / "more", "return doc", ', when={"doc.mime": ["image/png", None], "doc.pages": 1}'),
    ]
    points = [ExtensionPoint("document.extract", type=Document)]
    async with make_host(tmp_path, *plugins, extension_points=points) as host:

        async def asked(doc: Any) -> list[str]:
            outcome = await host.hook("document.extract", doc=doc)
            assert outcome.errors == []
            return [result.plugin for result in outcome.results]

        assert await asked(Document("x", "application/pdf")) == ["pdf"]
        assert await asked(Document("x", "image/png")) == ["image", "more"]
        assert await asked(Document("x", "image/png", 2)) == ["image"]
        assert await asked(Document("x")) == []
        assert host.status("pdf").plugins[0].calls.ok == 1


async def test_a_pipeline_looks_at_what_the_one_before_has_made(tmp_path: Path) -> None:
    plugins = [
        typed(tmp_path / "a", "doc.mime = 'image/png'; return doc", ', when={"doc.mime": "text/plain"}'),
        typed(tmp_path / "b", "doc.text = 'seen'; return doc", ', when={"doc.mime": "image/png"}'),
    ]
    points = [ExtensionPoint("document.extract", mode="pipeline", type=Document)]
    async with make_host(tmp_path, *plugins, extension_points=points) as host:
        outcome = await host.hook("document.extract", doc=Document("x"))
        assert outcome.value == Document("seen", "image/png")


# -- who decides -------------------------------------------------------------------------------------


async def test_the_operator_has_the_last_word_on_failures(tmp_path: Path) -> None:
    config = tmp_path / "outboard.toml"
    config.write_text('[extension_points."text.mark"]\non_error = "default"\ndefault = "?"\ntimeout = "2s"\n')
    plugin = implementing(tmp_path / "a", FAILS, options=', on_error="fail"')
    declared = point(on_error="fail", on_error_allowed=["fail"])
    async with make_host(tmp_path, plugin, config=config, extension_points=declared) as host:
        outcome = await host.hook("text.mark", text="x")
        assert (outcome.value, len(outcome.errors)) == (["?"], 1)
        seen = host.hooks.explain("text.mark")
        assert (seen.on_error, seen.timeout_s) == ("default", 2.0)
        assert (seen.origins["on_error"], seen.origins["mode"]) == (str(config), "built in")


async def test_a_file_may_declare_a_point_with_its_params(tmp_path: Path) -> None:
    config = tmp_path / "outboard.toml"
    config.write_text(
        '[extension_points."text.mark"]\nmode = "pipeline"\n'
        '[extension_points."text.mark".params]\nrequired = ["text"]\n'
    )
    async with make_host(tmp_path, implementing(tmp_path / "a"), config=config) as host:
        assert (await host.hook("text.mark", text="x")).value == "xa"
        with pytest.raises(ContractError):
            await host.hook("text.mark", lang="de")


async def test_what_an_operator_may_not_say_of_an_apps_point_starts_nothing(tmp_path: Path) -> None:
    config = tmp_path / "outboard.toml"
    config.write_text('[extension_points."text.mark"]\nmode = "first"\ntimeout = 0\n')
    host = make_host(tmp_path, config=config, extension_points=point())
    with pytest.raises(ConfigError) as caught:
        await host.__aenter__()
    assert len(caught.value.data) == 2


async def test_a_point_that_only_plugins_know_of_can_be_tried(tmp_path: Path) -> None:
    async with make_host(tmp_path, implementing(tmp_path / "a"), implementing(tmp_path / "b", FAILS)) as host:
        outcome = await host.hook("text.mark", text="x")
        assert (outcome.value, len(outcome.errors)) == (["xa"], 1)
        assert not host.hooks.explain("text.mark").declared
        with pytest.raises(UnknownExtensionPoint) as unknown:
            await host.hook("text.mrak", text="x")
        assert "`text.mark`" in (unknown.value.hint or "")
        for name in ("nothing.like.it", "", "a/b", "shutdown", "x\n"):
            with pytest.raises(UnknownExtensionPoint):
                await host.hook(name)
        assert host.hooks.names() == ["text.mark"]


async def test_a_circle_is_refused_by_name_and_the_others_serve(tmp_path: Path) -> None:
    plugins = [
        implementing(tmp_path / "a", options=', before=["b"]'),
        implementing(tmp_path / "b", options=', before=["a"]'),
        implementing(tmp_path / "c"),
    ]
    host = make_host(tmp_path, *plugins, extension_points=point())
    events = Events(host)
    async with host:
        for _ in range(2):
            outcome = await host.hook("text.mark", text="x")
            assert outcome.value == ["xc"]
            assert [(error.plugin, type(error)) for error in outcome.errors] == [
                ("a", HookRefused),
                ("b", HookRefused),
            ]
            assert "a before b before a" in str(outcome.errors[0])
            await host.restart("c")
        problems = [event for event in events.seen if isinstance(event, PluginProblem)]
        assert [problem.plugin for problem in problems] == ["a", "b"]  # each told once
        await host.stop("b")
        assert (await host.hook("text.mark", text="x")).value == ["xa", "xc"]
    async with make_host(tmp_path, *plugins, extension_points=point("first", on_error="fail")) as host:
        with pytest.raises(HookFailed) as failed:
            await host.hook("text.mark", text="x")
        assert isinstance(failed.value.__cause__, HookRefused)
        assert host.status("c").plugins[0].calls.ok == 0


async def test_whatever_a_plugin_says_of_its_hooks_raises_nothing(tmp_path: Path) -> None:
    code = """
hooks = [
    {"point": "text.mark", "when": 5, "on_error": "explode", "priority": 10**30, "schema": {"params": 5}},
    {"point": "text.mark", "before": ["raw"]},
    {"point": "../etc", "before": ["x"] * 10000},
    {"point": "", "when": {}},
]
handshake(provides={"methods": [{"name": "echo"}], "hooks": hooks})
serve()
"""
    raw = write_raw_plugin(tmp_path, "raw", code)
    host = make_host(tmp_path, raw, implementing(tmp_path / "a"), extension_points=point())
    async with host:
        outcome = await host.hook("text.mark", text="x")
        assert told(outcome) == [("raw", {"text": "x"}, None), ("a", "xa", None)]
        assert host.hooks.schema_of("text.mark") is None
        seen = host.hooks.explain("text.mark")
        assert [problem.split(":")[0] for problem in seen.problems] == ["raw", "raw"]
        assert host.hooks.names() == ["text.mark"]
        msgspec.json.encode(seen)


async def test_a_host_that_is_not_running_has_no_hooks(tmp_path: Path) -> None:
    host = Host(data_dir=tmp_path / "data")
    with pytest.raises(OutboardError) as caught:
        await host.hook("text.mark")
    assert isinstance(caught.value, HostMisuse)
