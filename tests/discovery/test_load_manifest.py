"""One manifest, of a folder or of a one-file plugin: a candidate, or all that is wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from host.config.problems import FileProblem
from host.discovery.script import declares_plugin
from host.discovery.validate import Candidate, load_manifest
from protocol.script import script_blocks

PLUGIN = '[plugin]\nname = "hello"\nversion = "1"\n'
COMMAND = '[run]\ncommand = ["node", "main.js"]\n'
PYTHON = '[run]\npython = "main.py"\n'
HEADER = '# [tool.outboard]\n# name = "greet"\n# version = "1"\n'


def folder_of(tmp_path: Path, manifest: str, *files: str) -> Path:
    (tmp_path / "plugin.toml").write_text(manifest)
    for name in files:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("raise SystemExit('plugin code was run')\n")
    return tmp_path


def script_of(tmp_path: Path, block: str, before: str = "", name: str = "greet.py") -> Path:
    path = tmp_path / name
    path.write_text(f"{before}# /// script\n{block}# ///\nraise SystemExit('plugin code was run')\n")
    return path


def candidate(path: Path) -> Candidate:
    loaded = load_manifest(path)
    assert isinstance(loaded, Candidate), [str(problem) for problem in loaded]
    return loaded


def problems(path: Path) -> list[FileProblem]:
    loaded = load_manifest(path)
    assert isinstance(loaded, list)
    assert all(str(problem).isprintable() for problem in loaded)
    return loaded


def keys(path: Path) -> set[str]:
    return {problem.key for problem in problems(path)}


def test_a_folder_with_a_manifest_is_a_candidate(tmp_path: Path) -> None:
    found = candidate(folder_of(tmp_path, PLUGIN + PYTHON, "main.py"))
    assert (found.name, found.single_file) == ("hello", False)
    assert (found.folder, found.file) == (str(tmp_path), str(tmp_path / "plugin.toml"))


def test_the_manifest_itself_names_its_folder(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, PLUGIN + COMMAND)
    assert candidate(folder / "plugin.toml") == candidate(folder)


def test_a_relative_path_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder_of(tmp_path, PLUGIN + COMMAND)
    monkeypatch.chdir(tmp_path)
    assert candidate(Path()).folder == str(tmp_path)


def test_a_name_other_than_the_folders_is_fine(tmp_path: Path) -> None:
    assert candidate(folder_of(tmp_path, PLUGIN + COMMAND)).name != tmp_path.name


def test_a_mistake_of_structure_hides_no_other_mistake(tmp_path: Path) -> None:
    manifest = (
        '[plugin]\nname = "Hello"\nversion = "1"\nprotocol = 7\n'
        '[run]\npython = "gone.py"\nrequires-python = "<3"\n[restart]\nintensty = 3\n[settings]\nx = nan\n'
    )
    folder = folder_of(tmp_path, manifest, "protocol.py")
    assert [(problem.key, problem.line) for problem in problems(folder)] == [
        ("plugin.name", 2),
        ("plugin.protocol", 4),
        ("run.python", 6),
        ("run.python", 6),
        ("run.requires-python", 7),
        ("restart.intensty", 9),
        ("settings.x", 11),
    ]


def test_an_unsupported_protocol_is_told_by_code_with_the_supported_one(tmp_path: Path) -> None:
    [problem] = problems(folder_of(tmp_path, PLUGIN + "protocol = 2\n" + COMMAND))
    assert problem.reason.startswith("OB104:")
    assert "speaks 1" in problem.reason
    assert (problem.key, problem.seen) == ("plugin.protocol", 2)


@pytest.mark.parametrize(
    "entry", ["gone.py", "sub/gone.py", "../outside.py", "/etc/passwd", "a\\u0000.py", "sub/"]
)
def test_an_entry_that_is_not_a_file_of_the_folder_is_a_problem(tmp_path: Path, entry: str) -> None:
    (tmp_path / "outside.py").write_text("")
    folder = tmp_path / "plugin"
    folder.mkdir()
    folder_of(folder, f'{PLUGIN}[run]\npython = "{entry}"\n', "sub/main.py")
    assert keys(folder) == {"run.python"}


def test_an_entry_that_leaves_by_a_symlink_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "outside.py").write_text("")
    folder = tmp_path / "plugin"
    folder.mkdir()
    (folder / "main.py").symlink_to(tmp_path / "outside.py")
    [problem] = problems(folder_of(folder, PLUGIN + PYTHON))
    assert "outside of" in problem.reason


def test_a_plugin_folder_may_be_a_symlink(tmp_path: Path) -> None:
    folder = tmp_path / "real"
    folder.mkdir()
    folder_of(folder, PLUGIN + PYTHON, "main.py")
    (tmp_path / "link").symlink_to(folder)
    assert candidate(tmp_path / "link").folder == str(tmp_path / "link")


def test_a_folder_whose_name_begins_like_the_plugins_is_outside(tmp_path: Path) -> None:
    for name in ("plugin", "plugin2"):
        (tmp_path / name).mkdir()
    (tmp_path / "plugin2" / "main.py").write_text("")
    folder = folder_of(tmp_path / "plugin", PLUGIN + '[run]\npython = "../plugin2/main.py"\n')
    assert "outside of" in problems(folder)[0].reason


@pytest.mark.parametrize("entry", ["main", "package", "package.module", "package.deep"])
def test_a_module_of_the_folder_is_an_entry(tmp_path: Path, entry: str) -> None:
    files = ("main.py", "package/module.py", "package/deep/__main__.py")
    candidate(folder_of(tmp_path, f'{PLUGIN}[run]\npython = "{entry}"\n', *files))


@pytest.mark.parametrize(
    "entry", ["gone", "package.gone", "main.inner", "1st", "a..b", ".main", "class", "package.", "a b", "a-b"]
)
def test_a_module_that_cannot_be_there_is_a_problem(tmp_path: Path, entry: str) -> None:
    folder = folder_of(tmp_path, f'{PLUGIN}[run]\npython = "{entry}"\n', "main.py", "package/module.py")
    assert keys(folder) == {"run.python"}


def test_a_module_may_come_with_a_dependency(tmp_path: Path) -> None:
    run = '[run]\npython = "elsewhere.main"\ndependencies = ["elsewhere"]\n'
    candidate(folder_of(tmp_path, PLUGIN + run))


@pytest.mark.parametrize("command", ["[]", '[""]', '["  ", "x"]', '["node", "a\\u0000b"]', '"node"', "[1]"])
def test_a_command_that_cannot_be_run_is_a_problem(tmp_path: Path, command: str) -> None:
    [problem] = problems(folder_of(tmp_path, f"{PLUGIN}[run]\ncommand = {command}\n"))
    assert problem.key.startswith("run.command")
    assert problem.line == 5


@pytest.mark.parametrize("run", ["[run]\n", PYTHON + 'command = ["node"]\n'])
def test_exactly_one_way_to_run_is_needed(tmp_path: Path, run: str) -> None:
    [problem] = problems(folder_of(tmp_path, PLUGIN + run, "main.py"))
    assert (problem.key, problem.line) == ("run", 4)


@pytest.mark.parametrize(
    "intruder", ["protocol.py", "protocol/x.py", "plugin_sdk.py", "plugin_sdk/__init__.py"]
)
def test_a_python_plugin_may_not_shadow_ours(tmp_path: Path, intruder: str) -> None:
    [problem] = problems(folder_of(tmp_path, PLUGIN + PYTHON, "main.py", intruder))
    assert intruder.split("/")[0] in problem.reason
    assert problem.hint == "rename it"


def test_a_plugin_in_another_language_may_use_those_names(tmp_path: Path) -> None:
    candidate(folder_of(tmp_path, PLUGIN + COMMAND, "protocol/x.js", "plugin_sdk.py"))


@pytest.mark.parametrize("specifier", ["<3.11", ">=99", "nonsense"])
def test_a_python_that_is_excluded_or_cannot_be_told_is_a_problem(tmp_path: Path, specifier: str) -> None:
    folder = folder_of(tmp_path, f'{PLUGIN}{PYTHON}requires-python = "{specifier}"\n', "main.py")
    assert keys(folder) == {"run.requires-python"}


def test_a_python_that_is_admitted_is_fine(tmp_path: Path) -> None:
    candidate(folder_of(tmp_path, f'{PLUGIN}{PYTHON}requires-python = ">=3.11"\n', "main.py"))


@pytest.mark.parametrize("value", ["nan", "inf", "[1, -inf]", "{ deep = { er = nan } }"])
def test_a_setting_that_json_cannot_carry_is_a_problem(tmp_path: Path, value: str) -> None:
    [problem] = problems(folder_of(tmp_path, f"{PLUGIN}{COMMAND}[settings]\nx = {value}\n"))
    assert problem.key.startswith("settings.x")


def test_a_folder_without_a_manifest_is_a_problem(tmp_path: Path) -> None:
    [problem] = problems(tmp_path)
    assert problem.file == str(tmp_path / "plugin.toml")


@pytest.mark.parametrize("name", ["gone", "gone.py", "file/plugin", "plugin.toml"])
def test_a_path_that_leads_nowhere_is_a_problem(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("")
    assert len(problems(tmp_path / name)) == 1


def test_a_manifest_that_is_a_folder_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "plugin.toml").mkdir()
    assert problems(tmp_path)[0].reason == "is a folder"


def test_a_folder_that_is_called_like_a_python_file_is_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "odd.py"
    folder.mkdir()
    assert not candidate(folder_of(folder, PLUGIN + COMMAND)).single_file


def test_a_one_file_plugin_says_all_in_its_block(tmp_path: Path) -> None:
    block = (
        '# requires-python = ">=3.11"\n# dependencies = [\n#   "markdown-it-py==2.2.0",\n# ]\n#\n'
        f'{HEADER}# description = "Greets"\n# [tool.outboard.limits]\n# memory = "64MiB"\n'
        "# [tool.outboard.settings]\n# loud = true\n# [tool.ruff]\n# anything = 1\n"
    )
    found = candidate(script_of(tmp_path, block, before="#!/usr/bin/env python3\n"))
    manifest = found.manifest
    assert found.single_file
    assert (found.folder, found.file) == (str(tmp_path), str(tmp_path / "greet.py"))
    assert (manifest.plugin.name, manifest.plugin.description, manifest.plugin.protocol) == (
        "greet",
        "Greets",
        1,
    )
    assert (manifest.run.python, manifest.run.command) == ("greet.py", None)
    assert manifest.run.requires_python == ">=3.11"
    assert manifest.run.dependencies == ["markdown-it-py==2.2.0"]
    assert manifest.limits.memory == 64 * 1024**2
    assert manifest.settings == {"loud": True}


def test_problems_of_a_block_are_on_the_lines_of_the_file(tmp_path: Path) -> None:
    block = f'# requires-python = "<3"\n{HEADER}# protocol = 3\n# [tool.outboard.restart]\n# intensty = 1\n'
    path = script_of(tmp_path, block, before='"""Doc."""\n\n')
    assert {(problem.line, problem.key) for problem in problems(path)} == {
        (4, "requires-python"),
        (8, "tool.outboard.protocol"),
        (10, "tool.outboard.restart.intensty"),
    }
    assert str(problems(path)[-1]).endswith("unknown key; did you mean `intensity`?")


def test_a_syntax_error_of_a_block_is_on_the_line_of_the_file(tmp_path: Path) -> None:
    [problem] = problems(script_of(tmp_path, HEADER + "# protocol = \n", before="\n\n"))
    assert problem.line == 7


def test_a_block_that_is_not_for_us_or_runs_something_else_is_a_problem(tmp_path: Path) -> None:
    assert keys(script_of(tmp_path, "# dependencies = []\n")) == {"tool"}
    assert keys(script_of(tmp_path, "# [tool.ruff]\n")) == {"tool.outboard"}
    run = '# [tool.outboard.run]\n# command = ["node"]\n'
    assert keys(script_of(tmp_path, HEADER + run)) == {"tool.outboard.run"}


def test_settings_of_a_block_are_checked_too(tmp_path: Path) -> None:
    path = script_of(tmp_path, HEADER + "# [tool.outboard.settings]\n# x = nan\n")
    assert keys(path) == {"tool.outboard.settings.x"}


@pytest.mark.parametrize("name", ["protocol.py", "plugin_sdk.py"])
def test_a_one_file_plugin_may_not_be_called_like_ours(tmp_path: Path, name: str) -> None:
    [problem] = problems(script_of(tmp_path, HEADER, name=name))
    assert "shadow" in problem.reason


def test_no_block_an_open_block_and_two_blocks_are_problems(tmp_path: Path) -> None:
    path = tmp_path / "greet.py"
    for text in ("print(1)\n", f"# /// script\n{HEADER}\n", f"# /// script\n{HEADER}# ///\n\n" * 2):
        path.write_text(text)
        assert len(problems(path)) == 1


def test_windows_line_ends_are_fine(tmp_path: Path) -> None:
    path = tmp_path / "greet.py"
    path.write_bytes(f"# /// script\n{HEADER}# ///\n".replace("\n", "\r\n").encode())
    assert candidate(path).name == "greet"


def test_a_block_ends_at_its_last_closing_line_and_at_code() -> None:
    assert script_blocks("# /// script\n# a = '''\n# ///\n# '''\n# ///\n") == ["\na = '''\n///\n'''\n"]
    assert script_blocks("# /// script\nx = 1\n# ///\n") == []
    assert script_blocks("# /// script\n#a = 1\n# ///\n") == []
    assert script_blocks("# /// other\n# a = 1\n# ///\n") == []
    assert script_blocks("# /// script\n#\n# ///") == ["\n\n"]


def test_a_file_of_many_openings_takes_linear_time() -> None:
    assert script_blocks("# /// script\n" * 80_000) == []  # or the test would not end


def test_a_block_declares_a_plugin_even_if_it_is_not_quite_toml() -> None:
    assert declares_plugin(f"# /// script\n{HEADER}# version = \n# ///\n")
    assert not declares_plugin("# /// script\n# [tool.ruff]\n# x = '[tool.outboard]'\n# ///\n")
    assert not declares_plugin("TEXT = '[tool.outboard]'\n")
