"""What a plugin with dependencies sees: real processes, real installers, and no index.

All plugins are of one host, which builds for all of them, once with each installer.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from host import BlockingHost
from tests.environments.conftest import only_wheels, without_uv
from tests.support.daemon import eventually
from tests.support.dependents import BUILT_S, SAYS_VERSION, environments, write_dependent
from tests.support.wheels import write_wheel

pytestmark = pytest.mark.slow

OWN_MSGSPEC = """
import importlib.machinery, sys, types
real = {real!r}
__path__ = [real]
exec(compile(open(real + '/__init__.py').read(), real, 'exec'))
MINE = True
"""
ASKS = (
    SAYS_VERSION.replace("import shade\n", "import msgspec\n").replace("shade.VERSION", "''")
    + """
@plugin.method
def mine() -> bool:
    return getattr(msgspec, "MINE", False)
"""
)
SINGLE = """\
# /// script
# dependencies = ['shade<2']
# [tool.outboard]
# name = 'single'
# version = '1'
# ///
import shade
from plugin_sdk import Plugin
plugin = Plugin()
@plugin.method
def version() -> str:
    return shade.VERSION
"""


class Built(NamedTuple):
    host: BlockingHost
    home: Path
    installer: str

    def call(self, plugin: str, method: str, **params: Any) -> Any:
        return self.host.call(plugin, method, params=params, timeout=10)


@pytest.fixture(scope="module", params=["pip", "uv"])
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Built]:
    """Every plugin of these tests, for which everything has been built that can be built."""
    installer: str = request.param
    if installer == "uv" and shutil.which("uv") is None:
        pytest.skip("uv is not installed")
    home = tmp_path_factory.mktemp("built")
    with pytest.MonkeyPatch.context() as patch:
        wheels = only_wheels(home, patch)
        if installer == "pip":
            without_uv(patch)
        intruders = {f"{name}/__init__.py": "raise SystemExit(1)\n" for name in ("protocol", "plugin_sdk")}
        write_wheel(wheels, "intruder", "1.0", intruders)
        own = OWN_MSGSPEC.format(real=str(Path(msgspec.__file__).parent))
        write_wheel(wheels, "msgspec", "0.99", {"msgspec/__init__.py": own})
        write_wheel(wheels, "msgspec", "0.1", {"msgspec/__init__.py": ""})
        plugins = [
            write_dependent(home, "one", "shade==1.0"),
            write_dependent(home, "two", "shade==2.0"),
            write_dependent(home, "intruded", "shade==1.0", "intruder"),
            write_dependent(home, "own", "msgspec==0.99", code=ASKS),
            write_dependent(home, "ours", "shade==1.0", code=ASKS),
            write_dependent(home, "old", "msgspec==0.1"),
            by_name(write_dependent(home, "by-name", "shade==1.0")),
            home / "scripts",
        ]
        (home / "scripts").mkdir()
        (home / "scripts" / "single.py").write_text(SINGLE)
        with BlockingHost(plugins=plugins, data_dir=home / "data") as host:
            eventually(
                lambda: not any("building" in (each.reason or "") for each in host.status().plugins),
                within_s=BUILT_S,
            )
            yield Built(host, home, installer)


def by_name(folder: Path) -> Path:
    """A plugin whose command is `python`."""
    manifest = folder / "plugin.toml"
    manifest.write_text(manifest.read_text().replace('python = "main.py"', 'command = ["python", "main.py"]'))
    with (folder / "main.py").open("a") as file:
        file.write("\nplugin.run()\n")
    return folder


def test_two_plugins_pin_versions_that_exclude_each_other_and_run_side_by_side(built: Built) -> None:
    assert built.call("one", "version") == "1.0"
    assert built.call("two", "version") == "2.0"
    assert [built.host.status(name).plugins[0].restarts for name in ("one", "two")] == [0, 0]
    pythons = {built.call(name, "process")["python"] for name in ("one", "two")}
    assert len(pythons) == 2
    for folder in environments(built.home):
        said = json.loads((folder / "outboard.json").read_text())
        assert said["installer"] == ("pip" if built.installer == "pip" else "uv pip")


def test_what_is_asked_for_alike_is_built_once(built: Built) -> None:
    pythons = {built.call(name, "process")["python"] for name in ("one", "ours")}
    assert len(pythons) == 1
    assert len(environments(built.home)) == 5


def test_it_sees_what_it_asked_for_and_ours_and_nothing_else_of_the_host(built: Built) -> None:
    for module in ("click", "anyio", "host", "sample_plugins", "psutil", "pip"):
        assert built.call("one", "imports", module=module) is None, module
    for module in ("plugin_sdk", "protocol", "msgspec", "shade"):
        assert built.call("one", "imports", module=module), module
    process = built.call("one", "process")
    assert Path(process.pop("python")).parents[1] in environments(built.home)
    assert process == {"safe_path": True, "utf8": 1}


def test_nothing_that_an_author_installs_stands_in_for_what_is_ours(built: Built) -> None:
    assert built.call("intruded", "version") == "1.0"


def test_an_authors_own_msgspec_goes_before_ours(built: Built) -> None:
    assert built.call("own", "mine") is True
    assert built.call("ours", "mine") is False


def test_a_msgspec_that_is_too_old_for_us_is_refused_by_the_installer(built: Built) -> None:
    (cause,) = built.host.why("old").causes
    assert cause.kind == "environment"
    assert "msgspec" in "".join(cause.stderr)


def test_a_plugin_in_one_file_has_its_dependencies_too(built: Built) -> None:
    assert built.call("single", "version") == "1.0"


def test_a_program_of_a_dependency_and_a_python_by_name_are_those_of_the_environment(built: Built) -> None:
    assert built.call("by-name", "version") == "1.0"
