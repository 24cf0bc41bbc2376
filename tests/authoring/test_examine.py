"""`check`, from the inside: every kind of finding, and whether it is an error."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from host.authoring.examine import Report, examine
from host.authoring.files import document_of
from host.authoring.findings import Finding
from host.authoring.provided import of_provided
from host.authoring.source import Shown
from host.discovery.validate import Candidate, load_manifest
from protocol.lifecycle import Provides
from tests.support.plugins import write_plugin, write_raw_plugin

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def errors(report: Report) -> list[Finding]:
    return [each for each in report.findings if each.severity == "error"]


def places(report: Report, severity: str) -> list[tuple[str, int | None, str]]:
    return [
        (Path(each.file).name, each.line, each.key) for each in report.findings if each.severity == severity
    ]


SOUND = """
import msgspec

class Settings(msgspec.Struct):
    step: int = 1

plugin.settings(Settings)

@plugin.method
def look(title: str, ctx: Context) -> str:
    "Looks."
    return ctx.call("library", "find", title=title)

@plugin.hook("text.tidy", before=["other"])
def tidy(text: str) -> str:
    "Tidies."
    return text
"""


async def test_a_sound_plugin_has_no_findings_and_shows_its_contract(tmp_path: Path) -> None:
    tables = {
        "settings": {"step": 2},
        "permissions": {"plugins": ["library"]},
        "start": {"requires": ["gone"]},
    }
    report = await examine(write_plugin(tmp_path, "sound", SOUND, **tables))
    assert (report.ok, report.findings) == (True, [])
    assert report.contract is not None
    assert [method.name for method in report.contract.methods] == ["look"]
    assert report.started_in_s is not None


async def test_everything_that_may_be_meant_otherwise_is_a_warning_with_its_line(tmp_path: Path) -> None:
    code = SOUND.replace('before=["other"]', 'before=["Other"], when={"kind": "x"}').replace(
        '"Looks."', "pass"
    )
    code += '\nplugin.topic("odd.done")\n@plugin.on_event("odd.more")\ndef more(value: int) -> None: ...\n'
    tables: dict[str, Any] = {"settings": {"stepp": 2}, "permissions": {"plugins": ["Library"]}}
    folder = write_plugin(tmp_path, "odd", code, **tables)
    report = await examine(folder)
    assert report.ok
    lines = (folder / "main.py").read_text().splitlines()
    said = {each.line: each for each in report.findings if each.file.endswith("main.py")}
    assert {lines[line - 1].split("(")[0].strip() for line in said if line} == {
        "return ctx.call",
        "@plugin.hook",
        "@plugin.on_event",
        "def look",
    }
    in_manifest = [each for each in places(report, "warning") if each[0] == "plugin.toml"]
    assert {key for _, _, key in in_manifest} == {
        "permissions.events",
        "settings.stepp",
        "permissions.plugins[0]",
    }
    assert [each.hint for each in report.findings if each.key == "settings.stepp"] == ["did you mean `step`?"]


@pytest.mark.parametrize(
    "schema",
    [
        {"$defs": {"X": True}, "$ref": "#/$defs/X"},
        {"$defs": {"X": {"properties": 1}}, "$ref": "#/$defs/X"},
        {"properties": []},
        {"properties": None},
        {"$defs": [1], "$ref": []},
        True,
        [1],
    ],
    ids=str,
)
def test_whatever_a_plugin_says_of_its_settings_ends_no_check(tmp_path: Path, schema: Any) -> None:
    candidate = load_manifest(write_plugin(tmp_path, "sound", SOUND, settings={"step": 2}))
    assert isinstance(candidate, Candidate)
    provides = Provides(config_schema=schema)
    found = list(of_provided(candidate, document_of(candidate), Shown(), provides))
    assert [each.severity for each in found] in ([], ["warning"])


async def test_a_hook_that_comes_before_itself_is_an_error(tmp_path: Path) -> None:
    code = SOUND.replace('before=["other"]', 'before=["circle", "other"], after=["other"]')
    report = await examine(write_plugin(tmp_path, "circle", code, permissions={"plugins": ["library"]}))
    assert [each.key for each in errors(report)] == ["hook text.tidy", "hook text.tidy"]
    assert not report.is_misconfigured


async def test_settings_that_do_not_fit_are_told_with_the_lines_of_the_manifest(tmp_path: Path) -> None:
    code = SOUND.replace("step: int = 1", "step: int = 1\n    limit: int = 2")
    folder = write_plugin(tmp_path, "wrong", code, settings={"step": "x", "limit": "y"})
    report = await examine(folder)
    lines = (folder / "plugin.toml").read_text().splitlines()
    wrong = errors(report)
    assert [(each.key, lines[(each.line or 0) - 1]) for each in wrong] == [
        ("settings.step", 'step = "x"'),
        ("settings.limit", 'limit = "y"'),
    ]
    assert report.is_misconfigured


async def test_an_exception_is_told_at_the_line_that_raised_it(tmp_path: Path) -> None:
    folder = write_plugin(tmp_path, "broken", "import helper\n@plugin.method\ndef f() -> None: ...\n")
    (folder / "helper.py").write_text("\n\nx = 1 / 0\n")
    report = await examine(folder)
    assert places(report, "error") == [("helper.py", 3, "")]
    assert errors(report)[0].detail[-1].startswith("ZeroDivisionError")
    folder = write_plugin(tmp_path, "late", "@plugin.on_start\ndef go() -> None:\n    {}['x']\n" + SOUND)
    report = await examine(folder)
    (place,) = places(report, "error")
    assert (folder / "main.py").read_text().splitlines()[(place[1] or 0) - 1] == "    {}['x']"


async def test_what_is_no_python_is_not_run(tmp_path: Path) -> None:
    folder = write_plugin(tmp_path, "text", "x = (\n")
    (folder / "other.py").write_text("print 1\n")
    report = await examine(folder)
    assert [name for name, _, _ in places(report, "error")] == ["main.py"]
    assert [name for name, _, _ in places(report, "warning")] == ["other.py"]
    assert report.contract is None


async def test_every_problem_of_a_manifest_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "plugin.toml").write_text('[plugin]\nname = "A b"\nverison = "1"\n[run]\npyton = "x.py"\n')
    report = await examine(tmp_path)
    assert report.is_misconfigured
    assert [each.key for each in errors(report)] == [
        "plugin.version",
        "plugin.name",
        "plugin.verison",
        "run.pyton",
    ]
    assert errors(report)[1].hint == "did you mean `a-b`?"
    assert (await examine(tmp_path / "nowhere")).is_misconfigured


async def test_one_that_is_not_ready_is_no_error(tmp_path: Path) -> None:
    code = "@plugin.on_start\ndef go() -> None:\n    raise NotReady('no shelf')\n" + SOUND
    permissions = {"plugins": ["library"]}
    report = await examine(write_plugin(tmp_path, "later", code, permissions=permissions))
    assert report.ok
    assert ["no shelf" in each.message for each in report.findings] == [True]


async def test_one_in_another_language_is_held_to_the_same(tmp_path: Path) -> None:
    code = """
    os.write(1, b"hello\\n")
    handshake(provides={"methods": [{"name": "m"}], "hooks": [{"point": "p", "before": ["foreign"]}]})
    serve()
    """
    report = await examine(write_raw_plugin(tmp_path, "foreign", code))
    assert [each.key for each in errors(report)] == ["hook p"]
    assert [each.message[:14] for each in report.findings if each.severity == "warning"] == ["it wrote 6 byt"]
    folder = write_raw_plugin(tmp_path, "shut", "serve()")
    manifest = (folder / "plugin.toml").read_text()
    (folder / "plugin.toml").write_text(manifest.replace(f'"{sys.executable}"', '"./main.py"'))
    assert [each.message[:9] for each in errors(await examine(folder))] == ["./main.py"]  # not to be executed
    folder = write_raw_plugin(tmp_path, "gone", "serve()")
    (folder / "main.py").unlink()
    report = await examine(folder)
    assert [each.key for each in errors(report)] == ["run.command"]
    assert sys.executable not in errors(report)[0].message
