"""What a glance sees, and what it does not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from host.discovery import changed
from host.discovery.changed import missing_file
from host.discovery.validate import Candidate, load_manifest
from host.discovery.watch import Eyes, Stamp, changed_code
from tests.support.plugins import write_plugin


def look(*folders: Path, eyes: Eyes | None = None) -> dict[str, Stamp]:
    return (eyes or Eyes()).glance(folders, ()).stamps


def test_a_plugin_is_its_manifest_and_its_code(tmp_path: Path) -> None:
    folder = write_plugin(tmp_path, "a")
    (folder / "inner").mkdir()
    for name in ("inner/part.py", "notes.txt", "kept.sqlite"):
        (folder / name).touch()
    (tmp_path / "single.py").touch()
    (tmp_path / ".hidden").mkdir()
    stamps = look(tmp_path)
    assert set(stamps) == {str(tmp_path), str(folder / "plugin.toml"), str(tmp_path / "single.py")}
    assert set(stamps[str(folder / "plugin.toml")]) == {"plugin.toml", "main.py", "inner/part.py"}
    assert stamps == look(tmp_path)


def test_a_plugin_that_is_given_in_the_place_of_a_folder_is_seen_as_well(tmp_path: Path) -> None:
    manifest, single = write_plugin(tmp_path, "a") / "plugin.toml", tmp_path / "single.py"
    single.touch()
    before = look(manifest, single)
    assert set(before[str(manifest)]) == {"plugin.toml", "main.py"}
    (tmp_path / "a" / "main.py").write_text("2")
    single.write_text("2")
    after = look(manifest, single)
    assert {path for path in before if before[path] != after[path]} == {str(manifest), str(single)}


def test_a_file_that_the_command_names_is_code_whatever_it_is_called(tmp_path: Path) -> None:
    folder = write_plugin(tmp_path, "a")
    eyes = Eyes()
    for command, named in ((["./run", "x"], "run"), (["sh", "inner/start"], "inner/start")):
        (folder / named).parent.mkdir(exist_ok=True)
        (folder / named).touch()
        words = ", ".join(f'"{word}"' for word in command)
        (folder / "plugin.toml").write_text(
            f'[plugin]\nname = "a"\nversion = "1"\n[run]\ncommand = [{words}]\n'
        )
        assert named in look(tmp_path, eyes=eyes)[str(folder / "plugin.toml")]


@pytest.mark.parametrize("way", ["write", "touch", "replace", "older", "remove", "add", "chmod"])
def test_each_way_to_change_code_is_seen(tmp_path: Path, way: str) -> None:
    folder = write_plugin(tmp_path, "a")
    (tmp_path / "older").write_text("1")
    place, code = str(folder / "plugin.toml"), folder / "main.py"
    os.utime(code, (1, 1))
    before = look(tmp_path)[place]
    if way == "write":
        code.write_text("2")
    elif way == "touch":
        code.touch()
    elif way == "replace":
        (tmp_path / "new").write_text(code.read_text())
        os.replace(tmp_path / "new", code)
    elif way == "older":
        os.replace(tmp_path / "older", code)
    elif way == "remove":
        code.unlink()
    elif way == "add":
        (folder / "more.py").touch()
    else:
        code.chmod(0o700)
    assert changed_code(before, look(tmp_path)[place]) == ("more.py" if way == "add" else "main.py")


def test_a_manifest_alone_is_a_change_and_no_change_of_code(tmp_path: Path) -> None:
    manifest = write_plugin(tmp_path, "a") / "plugin.toml"
    before = look(tmp_path)[str(manifest)]
    manifest.write_text("[plu")
    after = look(tmp_path)[str(manifest)]
    assert before != after
    assert changed_code(before, after) is None


def test_what_is_not_there_and_what_is_no_folder_is_a_stamp_too(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").touch()
    paths = [tmp_path / name for name in ("nowhere", "file", "loop")]
    stamps = look(*paths)
    assert all(stamps[str(path)] for path in paths)
    paths[0].mkdir()
    assert look(paths[0])[str(paths[0])] == {}


def test_a_plugin_of_many_files_is_looked_at_within_bounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_plugin(tmp_path, "a")
    for number in range(30):
        (folder / f"{number}.js").touch()
        (folder / "data").mkdir(exist_ok=True)
        (folder / "data" / f"{number}.jpg").touch()
    (folder / "data" / "inner").mkdir()
    (folder / "data" / "inner" / "deep.py").touch()
    monkeypatch.setattr(changed, "MAX_FILES", 10)
    assert len(look(tmp_path)[str(folder / "plugin.toml")]) == 11
    monkeypatch.setattr(changed, "MAX_FILES", 1000)
    assert "data/inner/deep.py" in look(tmp_path)[str(folder / "plugin.toml")]
    monkeypatch.setattr(changed, "MAX_ENTRIES", 40)
    assert "data/inner/deep.py" not in look(tmp_path)[str(folder / "plugin.toml")]


@pytest.mark.parametrize(
    ("command", "missing"),
    [
        ('["node", "main.js"]', "main.js"),
        ('["./run"]', "./run"),
        ('["node", "--import=x.js", "here.js", "--x.js", "data"]', None),
        ('["perl"]', None),
    ],
)
def test_a_command_tells_which_files_must_be_there(tmp_path: Path, command: str, missing: str | None) -> None:
    (tmp_path / "plugin.toml").write_text(f'[plugin]\nname="a"\nversion="1"\n[run]\ncommand={command}\n')
    (tmp_path / "here.js").touch()
    candidate = load_manifest(tmp_path)
    assert isinstance(candidate, Candidate)
    assert missing_file(candidate) == missing
