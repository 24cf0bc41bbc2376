"""`plugin_sdk.testing`: what an author's test sees is what a host, and another plugin, would see."""

from __future__ import annotations

import logging
import os
import sys
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from plugin_sdk import (
    CallCancelled,
    CallFailed,
    ContractError,
    DeadlineExceeded,
    MethodNotFound,
    NotReady,
    Plugin,
    RemoteError,
    SettingsRefused,
)
from plugin_sdk.testing import Published, RunningPlugin, running

MANIFEST = """
[plugin]
name = "busy"
version = "1.0.0"

[run]
python = "main.py"

[settings]
step = 2

[permissions]
plugins = ["library"]
host = ["mail.*"]
events = ["busy.*"]
"""

CODE = '''
import asyncio
import time
from collections.abc import Iterator
from typing import Annotated, Any

import msgspec

from plugin_sdk import Context, Plugin, PluginError, PluginUnavailable

import helper

plugin = Plugin()
lives: list[str] = []


class Settings(msgspec.Struct):
    step: Annotated[int, msgspec.Meta(ge=1)] = 1
    limit: int = 100


plugin.settings(Settings)
plugin.topic("busy.done", int)


@plugin.validate_settings
def check(settings: Settings) -> None:
    if settings.step > settings.limit:
        raise ValueError("too far")


@plugin.on_start
def begin(ctx: Context) -> None:
    lives.append("began")
    ctx.status(f"steps of {ctx.settings.step}")


@plugin.on_stop
def end(ctx: Context) -> None:
    ctx.store.set("ended", True)


@plugin.method
def count(ctx: Context) -> int:
    """Counts its calls, and across restarts."""
    helper.seen += 1
    ctx.store.transaction(lambda kept: kept.set("n", kept.get("n", 0) + ctx.settings.step))
    return ctx.store.get("n")


@plugin.method
def seen() -> int:
    return helper.seen


@plugin.method
def fail(how: str) -> int:
    if how == "own":
        raise PluginError(7, "no", {"why": 1})
    if how == "lie":
        return "text"
    return {}[how]


@plugin.method
def look(title: str, ctx: Context) -> Any:
    try:
        return ctx.call("library", "find", title=title)
    except PluginUnavailable:
        return "closed"


@plugin.method
def pages(ctx: Context) -> list[int]:
    return list(ctx.stream("library", "pages"))


@plugin.method
def send(ctx: Context) -> str:
    return ctx.host.mail.send(to="ada")


@plugin.method
def pry(ctx: Context) -> str:
    return ctx.call("bank", "open")


@plugin.method
def tell(value: Any, ctx: Context) -> None:
    ctx.publish("busy.done", value)


@plugin.method
def stride(step: int, ctx: Context) -> int:
    return ctx.update_settings(step=step).step


@plugin.method
def work(ctx: Context) -> str:
    """Until it is cancelled."""
    ctx.progress(1, 2, "half")
    while not ctx.cancelled:
        time.sleep(0.002)
    ctx.log.info("cancelled")
    return "never seen"


@plugin.method(stream=True)
def steps(n: int) -> Iterator[int]:
    try:
        yield from range(n)
    finally:
        helper.closed += 1


@plugin.method
def total(numbers: Iterator[int]) -> int:
    return sum(numbers)


@plugin.method
def most() -> int:
    return helper.closed


@plugin.hook("text.tidy", when={"kind": "plain"})
def tidy(text: str) -> str:
    return text.strip()


@plugin.on_event("busy.more")
def more(value: int, publisher: str | None, ctx: Context) -> None:
    if value < 0:
        raise ValueError("less is not more")
    ctx.store.set("more", [publisher, value])
'''


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("busy")
    (folder / "plugin.toml").write_text(MANIFEST)
    (folder / "main.py").write_text(CODE)
    (folder / "helper.py").write_text("seen = closed = 0\n")
    return folder


@pytest.fixture(scope="module")
def busy(folder: Path) -> Iterator[RunningPlugin]:
    library = {"find": lambda title: {"title": title}, "pages": lambda: range(5000)}
    with running(
        folder, plugins={"library": library}, services={"mail.send": lambda to: f"to {to}"}
    ) as plugin:
        yield plugin


def test_a_call_is_answered_as_json_decodes_it(busy: RunningPlugin) -> None:
    assert busy.call("look", title="Emma") == {"title": "Emma"}
    assert busy.asked[-1].params == {"title": "Emma"}


def test_what_breaks_the_contract_does_not_reach_the_function(busy: RunningPlugin) -> None:
    with pytest.raises(ContractError) as caught:
        busy.call("look", titel="Emma")
    assert {each["path"] for each in caught.value.data} == {"$.title", "$.titel"}


def test_what_cannot_be_sent_is_an_error_of_the_caller(busy: RunningPlugin) -> None:
    with pytest.raises(RemoteError, match="cannot be sent"):
        busy.call("look", title=object())


def test_one_that_chooses_to_exit_is_not_there_any_more(tmp_path: Path) -> None:
    (tmp_path / "plugin.toml").write_text(MANIFEST)
    begin = "@plugin.on_start\ndef begin():\n    raise SystemExit(78)\n"
    code = f"from plugin_sdk import Plugin\nplugin = Plugin()\n{begin}@plugin.method\ndef f() -> None: ...\n"
    (tmp_path / "main.py").write_text(code)
    with pytest.raises(RemoteError, match="SystemExit: 78"), running(tmp_path):
        pass


def test_a_result_that_is_not_what_it_says_is_an_error(busy: RunningPlugin) -> None:
    with pytest.raises(ContractError, match="not what it says"):
        busy.call("fail", how="lie")


def test_an_error_of_its_own_arrives_as_it_was_raised(busy: RunningPlugin) -> None:
    with pytest.raises(RemoteError) as caught:
        busy.call("fail", how="own")
    assert (caught.value.code, caught.value.message, caught.value.data) == (7, "no", {"why": 1})


def test_an_exception_brings_the_line_that_raised_it(busy: RunningPlugin) -> None:
    with pytest.raises(RemoteError) as caught:
        busy.call("fail", how="else")
    shown = "".join(traceback.format_exception(caught.value))
    assert "return {}[how]" in shown
    assert "KeyError: 'else'" in shown


def test_an_unknown_method_names_the_one_that_was_meant(busy: RunningPlugin) -> None:
    with pytest.raises(MethodNotFound, match="did you mean `look`"):
        busy.call("lok")


def test_services_and_streams_of_others_are_the_tests_own(busy: RunningPlugin) -> None:
    assert busy.call("send") == "to ada"
    assert busy.call("pages") == list(range(5000))


def test_what_the_manifest_does_not_permit_is_refused_with_its_line(busy: RunningPlugin) -> None:
    with pytest.raises(RemoteError, match=r'plugins = \["library","bank"\]'):
        busy.call("pry")


def test_a_value_that_is_published_has_to_fit_its_topic(busy: RunningPlugin) -> None:
    busy.call("tell", value=3)
    assert busy.events == [Published("busy.done", 3)]
    with pytest.raises(RemoteError, match="expected `int`"):
        busy.call("tell", value="three")
    assert len(busy.events) == 1


def test_an_event_is_handled_once_publish_returns(busy: RunningPlugin) -> None:
    busy.publish("busy.more", 4, publisher="other")
    assert busy.store["more"] == ["other", 4]
    with pytest.raises(RemoteError, match="less is not more"):
        busy.publish("busy.more", -1)
    with pytest.raises(LookupError, match=r"did you mean `busy\.more`"):
        busy.publish("busy.moer", 1)


def test_a_hook_is_asked_what_a_host_would_ask_it(busy: RunningPlugin) -> None:
    assert busy.hook("text.tidy", text=" a ", kind="plain") == "a"
    assert not busy.wants("text.tidy", text="a", kind="rich")
    with pytest.raises(LookupError, match="would not ask"):
        busy.hook("text.tidy", text="a", kind="rich")
    with pytest.raises(LookupError, match=r"did you mean `text\.tidy`"):
        busy.hook("text.tity", text="a")


def test_a_deadline_ends_the_call_and_tells_the_plugin(busy: RunningPlugin) -> None:
    with pytest.raises(DeadlineExceeded):
        busy.call("work", timeout=0.02)
    busy.wait_idle()
    assert busy.logs[-1].message == "cancelled"


def test_a_call_that_has_begun_tells_of_its_progress_and_can_be_cancelled(busy: RunningPlugin) -> None:
    begun = busy.begin("work")
    for _ in range(1000):
        if begun.progress:
            break
        threading.Event().wait(0.005)
    assert [(each.done, each.total, each.message) for each in begun.progress] == [(1, 2, "half")]
    begun.cancel()
    with pytest.raises(CallCancelled):
        begun.result()
    busy.wait_idle()


def test_a_stream_comes_item_by_item_and_is_closed_by_who_leaves(busy: RunningPlugin) -> None:
    assert list(busy.stream("steps", n=3000)) == list(range(3000))
    before = busy.call("most")
    with busy.stream("steps", n=10**9) as items:
        assert next(items) == 0
    busy.wait_idle()
    assert busy.call("most") == before + 1


def test_items_go_with_a_call_as_far_as_it_takes_them(busy: RunningPlugin) -> None:
    assert busy.call("total", numbers=iter(range(3000))) == sum(range(3000))
    assert busy.call("total", numbers=[]) == 0


def test_the_params_of_a_call_stay_as_they_are_and_have_names_if_it_takes_items(busy: RunningPlugin) -> None:
    params = {"numbers": [1, 2]}
    assert [busy.call("total", params=params) for _ in range(2)] == [3, 3]
    assert params == {"numbers": [1, 2]}
    with pytest.raises(TypeError, match="params of `total` have to be a dict, as it takes items, not a list"):
        busy.call("total", params=[[1, 2]])


def test_a_restart_forgets_the_modules_and_keeps_the_store(folder: Path) -> None:
    with running(folder, store={"n": 10}) as plugin:
        assert plugin.call("count") == 12
        plugin.restart()
        assert plugin.store["ended"] is True
        assert (plugin.call("count"), plugin.call("seen")) == (14, 1)
        assert plugin.status == "steps of 2"


def test_settings_are_checked_told_and_taken_back(folder: Path) -> None:
    with running(folder, settings={"step": 3}) as plugin:
        assert plugin.call("count") == 3
        plugin.configure(step=4)
        assert plugin.call("count") == 7
        with pytest.raises(SettingsRefused) as caught:
            plugin.configure(step=500)
        assert caught.value.problems == ["$: too far"]
        assert plugin.call("stride", step=5) == 5
        assert plugin.settings["step"] == 5
        with pytest.raises(RemoteError, match=r"\$\.step"):
            plugin.call("stride", step=0)
        plugin.configure(step=msgspec.UNSET)
        assert plugin.settings["step"] == 3


def test_settings_that_do_not_fit_are_refused_at_the_start(folder: Path) -> None:
    with pytest.raises(SettingsRefused) as caught, running(folder, settings={"step": 0}):
        pass
    assert caught.value.problems == ["$.step: expected `int` >= 1"]


def test_another_plugin_that_is_not_there_is_unavailable(folder: Path) -> None:
    def closed(title: str) -> None:
        raise ConnectionError

    with running(folder) as plugin:
        assert plugin.call("look", title="x") == "closed"
    with running(folder, plugins={"library": {"find": closed}}) as plugin:
        assert plugin.call("look", title="x") == "closed"


def test_nothing_is_left_behind(folder: Path) -> None:
    def there() -> tuple[Any, ...]:
        fds = len(os.listdir("/dev/fd"))
        return list(sys.path), set(sys.modules), logging.root.handlers[:], logging.root.level, fds

    with running(folder) as plugin:
        plugin.call("seen")
        data = plugin.data_dir.parent
    before = there()
    with running(folder) as plugin:
        plugin.call("seen")
        assert logging.root.level == logging.INFO
    assert there() == before
    assert not data.exists()


def test_what_the_module_raises_is_raised_with_its_own_traceback(tmp_path: Path) -> None:
    (tmp_path / "plugin.toml").write_text(MANIFEST)
    (tmp_path / "main.py").write_text("import nothing_like_it\n")
    with pytest.raises(ModuleNotFoundError) as caught, running(tmp_path):
        pass
    assert caught.traceback[-1].path.name == "main.py"


def test_every_problem_of_a_manifest_is_told(tmp_path: Path) -> None:
    (tmp_path / "plugin.toml").write_text('[plugin]\nname = "Busy"\n[run]\npyton = "main.py"\n')
    with pytest.raises(ValueError, match="did you mean `python`") as caught, running(tmp_path):
        pass
    assert "$.plugin.version: required" in str(caught.value)


def test_a_plugin_object_needs_no_files_and_start_code_may_not_be_ready() -> None:
    plugin = Plugin()

    @plugin.method
    async def double(n: int) -> int:
        return 2 * n

    with running(plugin) as alive:
        assert alive.call("double", n=4) == 8

    @plugin.on_start
    def begin() -> None:
        raise NotReady("not yet", retry_after=3)

    with pytest.raises(NotReady) as caught, running(plugin):
        pass
    assert (caught.value.reason, caught.value.retry_after) == ("not yet", 3)


def test_a_handler_that_never_returns_is_told_of_and_stop_code_that_raises_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("plugin_sdk.testing.life.GRACE_S", 0.1)
    stuck, plugin = threading.Event(), Plugin(threads=2)

    @plugin.method
    def hang() -> None:
        stuck.wait(30)

    with pytest.raises(TimeoutError, match=r"ctx\.cancelled"), running(plugin) as alive:
        alive.begin("hang")
    stuck.set()

    @plugin.on_stop
    def end() -> None:
        raise OSError("disk")

    with pytest.raises(CallFailed, match="disk"), running(plugin):
        pass


def test_a_one_file_plugin_runs_too(tmp_path: Path) -> None:
    block = '# /// script\n# [tool.outboard]\n# name = "upper"\n# version = "1"\n# ///\n'
    code = "from plugin_sdk import Plugin\nplugin = Plugin()\n@plugin.method\ndef up(text: str) -> str:\n"
    (tmp_path / "upper.py").write_text(block + code + "    return text.upper()\n")
    with running(tmp_path / "upper.py") as plugin:
        assert (plugin.name, plugin.call("up", text="a")) == ("upper", "A")
