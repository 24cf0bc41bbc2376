"""The layers of a daemon's configuration, as files and variables: which wins, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from host import ConfigError
from host.config.load import Layers, daemon_layers


class Files:
    """Every layer that a daemon has, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environ: dict[str, str] = {}
        self.flags: dict[str, dict[str, str]] = {}

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    @property
    def layers(self) -> Layers:
        config = self.folder / "given" / "outboard.toml"
        return daemon_layers(
            self.environ,
            configuration=str(self.folder / "user"),
            config=str(config) if config.exists() else None,
            overrides=str(self.folder / "state" / "overrides.toml"),
            flags=self.flags,
            system=str(self.folder / "etc" / "outboard.toml"),
        )

    def level(self) -> tuple[str, str, int | None]:
        """What holds for one key, the layer that says so, and the line."""
        told = self.layers.load()
        origin = told.origin(("host", "log_level"))
        return told.config.host.log_level, origin.layer, origin.line

    def problems(self) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            self.layers.load()
        lines: list[str] = caught.value.data
        return [line.replace(f"{self.folder}/", "") for line in lines]


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def test_each_layer_is_above_the_one_before(files: Files) -> None:
    assert files.level() == ("info", "built-in", None)
    files.write("etc/outboard.toml", "[host]\nlog_level = 'error'")
    assert files.level() == ("error", "system", 2)
    files.write("user/outboard.toml", "\n[host]\nlog_level = 'debug'")
    assert files.level() == ("debug", "user", 3)
    files.write("given/outboard.toml", "host.log_level = 'warning'")
    assert files.level() == ("warning", "config", 1)
    files.write("given/conf.d/20.toml", "host.log_level = 'error'")
    files.write("given/conf.d/10.toml", "host.log_level = 'debug'")
    assert files.level() == ("error", "conf.d", 1)
    files.write("state/overrides.toml", "host.log_level = 'info'")
    assert files.level()[:2] == ("info", "overrides")
    files.environ["OUTBOARD__HOST__LOG_LEVEL"] = "debug"
    assert files.level() == ("debug", "environment", None)
    files.flags = {"host": {"log_level": "warning"}}
    assert files.level() == ("warning", "flags", None)


def test_layers_say_different_things_of_one_plugin(files: Files) -> None:
    files.write("user/outboard.toml", "[plugins.a.settings]\none = 1\ntwo = 2")
    files.write("given/outboard.toml", "[plugins.a.settings]\ntwo = 22\n[plugins.a.limits]\nmemory = '1GiB'")
    files.environ["OUTBOARD__PLUGINS__A__SETTINGS__THREE"] = "[3, 4]"
    settings = files.layers.load().config.plugins["a"].settings
    assert settings == {"one": 1, "two": 22, "three": [3, 4]}


def test_the_folders_of_a_file_are_relative_to_it(files: Files) -> None:
    files.write("given/outboard.toml", "host.plugins = ['here', '/there']")
    assert files.layers.load().config.host.plugins == [str(files.folder / "given/here"), "/there"]


def test_a_folder_that_is_relative_to_nothing_is_a_problem(files: Files) -> None:
    files.environ["OUTBOARD__HOST__PLUGINS"] = "['here']"
    assert files.problems() == ["$OUTBOARD__HOST__PLUGINS: host.plugins: 'here' is relative to nothing here"]


def test_every_problem_of_every_layer_is_told_with_its_place_and_what_was_seen(files: Files) -> None:
    files.write("etc/outboard.toml", "[hots]\nx = 1")
    files.write("user/outboard.toml", "\n\nhost.max_starts = 'lots'")
    files.write("given/outboard.toml", "host = [")
    files.environ["OUTBOARD__HOST__LOG_LEVL"] = "info"
    system, user, given, variable = files.problems()
    assert system == "etc/outboard.toml:1: hots: unknown key; did you mean `host`?"
    assert user.startswith("user/outboard.toml:3: host.max_starts: expected `int | null`")
    assert user.endswith('"lots"')
    assert given.startswith("given/outboard.toml:1: not TOML")
    assert variable == "$OUTBOARD__HOST__LOG_LEVL: host.log_levl: unknown key; did you mean `log_level`?"


def test_a_problem_that_a_higher_layer_hides_is_one_all_the_same(files: Files) -> None:
    files.write("user/outboard.toml", "host.max_starts = 'lots'")
    files.write("given/outboard.toml", "host.max_starts = 1")
    assert len(files.problems()) == 1


def test_what_may_be_a_secret_is_not_in_a_problem(files: Files) -> None:
    files.write("given/outboard.toml", "[plugins.a]\ntoken = 's3cret'\nsettings = 's3cret'")
    assert len(files.problems()) == 2
    assert "s3cret" not in "".join(files.problems())


def test_a_file_that_is_two_layers_is_read_once(files: Files) -> None:
    path = files.write("user/outboard.toml", "host.max_starts = 'lots'")
    layers = daemon_layers({}, configuration=str(path.parent), config=str(path), overrides="/nowhere")
    with pytest.raises(ConfigError) as caught:
        layers.load()
    assert len(caught.value.data) == 1


def test_a_file_that_was_named_has_to_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        daemon_layers(
            {}, configuration=str(tmp_path), config=str(tmp_path / "no.toml"), overrides="/nowhere"
        ).load()
