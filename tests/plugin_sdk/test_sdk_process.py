"""The plugin's process: how it ends, who may stand in its import path, and what it needs to run."""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

import plugin_sdk
import protocol
from tests.support.raw_host import SDK, RawHost, error_of, frame

Launch = Callable[..., RawHost]

SLEEPS = """
@plugin.method
def hang(ctx: Context) -> None:
    ctx.status("in")
    time.sleep(3600)
"""
BLOCKS = SLEEPS.replace("def hang", "async def hang").replace("Context", "AsyncContext")
RUNTIMES = {"serial": ("def", ""), "pool": ("def", "threads=2"), "loop": ("async def", "")}
EVERY_RUNTIME = pytest.mark.parametrize("runtime", RUNTIMES)


@EVERY_RUNTIME
def test_stop_code_runs_before_the_answer_to_shutdown(serve: Launch, runtime: str, tmp_path: Path) -> None:
    kind, options = RUNTIMES[runtime]
    source = f"""
@plugin.on_stop
{kind} stop() -> None:
    open("stopped", "w").close()

@plugin.method
{kind} ok() -> None: pass
"""
    host = serve(source, options=options)
    host.call("shutdown")
    assert (tmp_path / "stopped").exists()
    host.notify("exit")
    assert host.wait_exit() == 0


@EVERY_RUNTIME
def test_shutdown_waits_for_the_work_in_flight(serve: Launch, runtime: str) -> None:
    kind, options = RUNTIMES[runtime]
    wait = "await asyncio.sleep(0.2)" if kind == "async def" else "time.sleep(0.2)"
    source = f"""
import asyncio
ends = []

@plugin.method
{kind} work(ctx) -> None:
    ctx.status("in")
    {wait}
    ends.append("work")

@plugin.on_stop
{kind} stop() -> None:
    assert ends == ["work"]
"""
    host = serve(source, options=options)
    call = host.send("work")
    host.next_notification("status/text")
    host.call("shutdown")
    host.result_of(call)
    host.notify("exit")
    assert host.wait_exit() == 0


def test_stop_code_that_raises_is_an_error_reply_and_the_end_still_comes(serve: Launch) -> None:
    host = serve("""
        @plugin.on_stop
        def stop(): raise OSError("disk full")

        @plugin.method
        def ok(): pass
    """)
    assert error_of(host, "shutdown").message == "OSError: disk full"
    host.notify("exit")
    assert host.wait_exit() == 0


def test_after_shutdown_a_call_is_refused(serve: Launch) -> None:
    host = serve("@plugin.method\ndef ok(): pass\n")
    host.call("shutdown")
    host.write(frame({"id": "late", "method": "ok"}))
    host.notify("exit")
    host.wait_ended()
    assert host.session.counts.unknown_replies == 1


@EVERY_RUNTIME
def test_the_end_of_stdin_ends_the_process(serve: Launch, runtime: str) -> None:
    kind, options = RUNTIMES[runtime]
    host = serve(f"@plugin.method\n{kind} ok() -> None: pass\n", options=options)
    host.close_stdin()
    assert host.wait_exit(2) == 0


@pytest.mark.parametrize(
    ("source", "features"), [(SLEEPS, ()), (BLOCKS, ("nudge",))], ids=["sync, by itself", "async, nudged"]
)
def test_the_end_of_stdin_ends_a_process_with_a_hung_handler(
    launch: Launch, source: str, features: tuple[str, ...]
) -> None:
    host = launch(source).begin(features=features)
    host.send("hang")
    host.next_notification("status/text")
    host.close_stdin()
    if features:
        host.nudge()
    host.wait_exit(2.5)


def test_a_thread_of_the_authors_does_not_keep_the_process(serve: Launch) -> None:
    host = serve("""
        threading.Thread(target=time.sleep, args=(3600,)).start()

        @plugin.method
        def ok(): pass
    """)
    host.call("shutdown")
    host.notify("exit")
    assert host.wait_exit(2.5) == 0


def test_the_end_of_stdin_before_initialize_is_no_error(launch: Launch) -> None:
    host = launch("@plugin.method\ndef ok(): pass\n")
    host.close_stdin()
    assert host.wait_exit() == 0
    assert host.stderr() == ""


def test_a_call_before_initialize_is_refused_and_nothing_is_lost(launch: Launch) -> None:
    host = launch("@plugin.method\ndef ok() -> int: return 1\n")
    host.write(frame({"id": "early", "method": "ok"}))
    host.begin()
    assert host.call("ok") == 1
    assert host.session.counts.unknown_replies == 1


@pytest.mark.parametrize("name", ["protocol", "plugin_sdk", "msgspec", "queue", "main"])
def test_a_file_of_the_authors_cannot_stand_in_for_one_of_ours(
    launch: Launch, tmp_path: Path, name: str
) -> None:
    (tmp_path / f"{name}.py").write_text("raise RuntimeError('the wrong file')\n")
    host = launch("@plugin.method\ndef ok() -> int: return 1\n").begin()
    assert host.call("ok") == 1


def test_a_module_beside_the_plugin_can_be_imported(launch: Launch, tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text("VALUE = 5\n")
    source = "import helper\n@plugin.method\ndef value() -> int: return helper.VALUE\n"
    assert launch(source).begin().call("value") == 5


def test_a_plugin_may_be_a_module_in_a_package(launch: Launch, tmp_path: Path) -> None:
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "__init__.py").touch()
    source = (
        "from plugin_sdk import Plugin\nplugin = Plugin()\n@plugin.method\ndef ok() -> str: return __name__\n"
    )
    (tmp_path / "pack" / "part.py").write_text(source)
    host = launch("", file="pack.part").begin()
    assert host.call("ok") == "pack.part"


def test_a_plugin_run_as_a_script_serves_too(launch: Launch) -> None:
    source = "@plugin.method\ndef ok() -> str: return __name__\n\nif __name__ == '__main__': plugin.run()\n"
    host = launch(source, command=[sys.executable, "main.py"]).begin()
    assert host.call("ok") == "__main__"
    assert host.end() == 0


def test_another_protocol_package_is_named_by_the_sdk(tmp_path: Path) -> None:
    (tmp_path / "protocol").mkdir()
    intruder = tmp_path / "protocol" / "__init__.py"
    intruder.touch()
    done = subprocess.run(
        [sys.executable, "-c", "import plugin_sdk"], cwd=tmp_path, capture_output=True, text=True, timeout=20
    )
    assert done.returncode == 1
    assert f"ImportError: plugin_sdk needs outboard's own `protocol` package, but {intruder}" in done.stderr


NEEDS = """
@plugin.method
def loaded() -> list[str]: return sorted(sys.modules)

@plugin.method
def path() -> list[str]: return sys.path
"""


def test_the_standard_library_and_msgspec_are_enough_and_asyncio_is_not_loaded(
    launch: Launch, tmp_path: Path
) -> None:
    for package in (msgspec, protocol, plugin_sdk):
        name = package.__name__
        shutil.copytree(str(next(iter(package.__path__))), tmp_path / "only" / name)
    start = "import sys; sys.path.append('only'); from plugin_sdk import boot; sys.exit(boot.run('main.py'))"
    host = launch(NEEDS, command=[sys.executable, "-I", "-S", "-c", start]).begin()
    assert not any("site-packages" in entry for entry in host.call("path"))
    loaded = set(host.call("loaded"))
    tops = {name.partition(".")[0] for name in loaded}
    assert tops - set(sys.stdlib_module_names) <= {
        "__main__",
        "__mp_main__",
        "main",
        "msgspec",
        "protocol",
        "plugin_sdk",
    }
    assert "asyncio" not in loaded
    assert host.end() == 0


def test_asyncio_is_loaded_for_a_plugin_with_an_async_handler(serve: Launch) -> None:
    assert "asyncio" in serve(NEEDS + "@plugin.method\nasync def more(): pass\n").call("loaded")


def test_run_by_hand_on_a_terminal_it_says_what_it_is_and_exits_2(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text("raise RuntimeError('imported')\n")
    ours, theirs = pty.openpty()
    try:
        done = subprocess.run(
            [*SDK, "main.py"], cwd=tmp_path, stdin=theirs, capture_output=True, text=True, timeout=20
        )
    finally:
        os.close(ours)
        os.close(theirs)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "outboard dev PATH" in done.stderr


def test_without_arguments_the_sdk_says_how_to_use_it() -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "plugin_sdk"], capture_output=True, text=True, timeout=20
    )
    assert done.returncode == 2
    assert done.stderr.startswith("usage: ")
