"""What a plugin with dependencies sees: real processes, real installers, and no index."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.support.dependents import environments, until_failed, until_running, write_dependent
from tests.support.plugins import Events, make_host
from tests.support.wheels import write_wheel

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


async def test_two_plugins_pin_versions_that_exclude_each_other_and_run_side_by_side(
    tmp_path: Path, installer: str
) -> None:
    one = write_dependent(tmp_path, "one", "shade==1.0")
    two = write_dependent(tmp_path, "two", "shade==2.0")
    host = make_host(tmp_path, one, two)
    events = Events(host)
    async with host:
        await until_running(host, events, "one", "two")
        assert await host.call("one", "version", timeout=10) == "1.0"
        assert await host.call("two", "version", timeout=10) == "2.0"
        assert [host.status(name).plugins[0].restarts for name in ("one", "two")] == [0, 0]
    assert len(environments(tmp_path)) == 2
    said = json.loads((environments(tmp_path)[0] / "outboard.json").read_text())
    assert said["installer"] == ("pip" if installer == "pip" else "uv pip")


async def test_it_sees_what_it_asked_for_and_ours_and_nothing_else_of_the_host(
    tmp_path: Path, installer: str
) -> None:
    host = make_host(tmp_path, write_dependent(tmp_path, "one", "shade==1.0"))
    events = Events(host)
    async with host:
        await until_running(host, events, "one")

        async def found(module: str) -> Any:
            return await host.call("one", "imports", module=module, timeout=10)

        for module in ("click", "anyio", "host", "sample_plugins", "psutil", "pip"):
            assert await found(module) is None, module
        for module in ("plugin_sdk", "protocol", "msgspec", "shade"):
            assert await found(module), module
        process = await host.call("one", "process", timeout=10)
    (folder,) = environments(tmp_path)
    assert process == {"safe_path": True, "utf8": 1, "python": str(folder / "bin/python")}


async def test_nothing_that_an_author_installs_stands_in_for_what_is_ours(
    tmp_path: Path, wheels: Path, installer: str
) -> None:
    intruders = {
        f"{name}/__init__.py": "raise SystemExit('an intruder')\n" for name in ("protocol", "plugin_sdk")
    }
    write_wheel(wheels, "intruder", "1.0", intruders)
    host = make_host(tmp_path, write_dependent(tmp_path, "one", "shade==1.0", "intruder"))
    events = Events(host)
    async with host:
        await until_running(host, events, "one")
        assert await host.call("one", "version", timeout=10) == "1.0"


async def test_an_authors_own_msgspec_goes_before_ours(tmp_path: Path, wheels: Path, installer: str) -> None:
    source = Path(msgspec.__file__).parent
    code = f"""
import importlib.machinery, sys, types
real = {str(source)!r}
__path__ = [real]
exec(compile(open(real + '/__init__.py').read(), real, 'exec'))
MINE = True
"""
    write_wheel(wheels, "msgspec", "0.99", {"msgspec/__init__.py": code})
    asks = """
import msgspec

@plugin.method
def mine() -> bool:
    return getattr(msgspec, "MINE", False)
"""
    host = make_host(
        tmp_path,
        write_dependent(tmp_path, "own", "msgspec==0.99", code=asks),
        write_dependent(tmp_path, "ours", "shade==1.0", code=asks),
    )
    events = Events(host)
    async with host:
        await until_running(host, events, "own", "ours")
        assert await host.call("own", "mine", timeout=10) is True
        assert await host.call("ours", "mine", timeout=10) is False


async def test_a_msgspec_that_is_too_old_for_us_is_refused_by_the_installer(
    tmp_path: Path, wheels: Path, installer: str
) -> None:
    write_wheel(wheels, "msgspec", "0.1", {"msgspec/__init__.py": ""})
    host = make_host(tmp_path, write_dependent(tmp_path, "old", "msgspec==0.1"))
    events = Events(host)
    async with host:
        failed = await until_failed(events)
        assert failed.cause.kind == "environment"
        assert "msgspec" in "".join(failed.cause.stderr)


async def test_a_plugin_in_one_file_has_its_dependencies_too(tmp_path: Path, installer: str) -> None:
    folder = tmp_path / "scripts"
    folder.mkdir()
    script = folder / "single.py"
    script.write_text(
        "# /// script\n# dependencies = ['shade<2']\n# [tool.outboard]\n# name = 'single'\n"
        "# version = '1'\n# ///\nimport shade\nfrom plugin_sdk import Plugin\nplugin = Plugin()\n"
        "@plugin.method\ndef version() -> str:\n    return shade.VERSION\n"
    )
    host = make_host(tmp_path, folder)
    events = Events(host)
    async with host:
        await until_running(host, events, "single")
        assert await host.call("single", "version", timeout=10) == "1.0"


async def test_a_program_of_a_dependency_and_a_python_by_name_are_those_of_the_environment(
    tmp_path: Path, pip: Path
) -> None:
    folder = write_dependent(tmp_path, "one", "shade==1.0")
    manifest = folder / "plugin.toml"
    manifest.write_text(manifest.read_text().replace('python = "main.py"', 'command = ["python", "main.py"]'))
    with (folder / "main.py").open("a") as file:
        file.write("\nplugin.run()\n")
    host = make_host(tmp_path, folder)
    events = Events(host)
    async with host:
        await until_running(host, events, "one")
        assert await host.call("one", "version", timeout=10) == "1.0"
