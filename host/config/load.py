"""The layers of a host's configuration, read and put together; or every reason why they cannot be used.

Low to high: built-in < a plugin's manifest < /etc < the user's own < `--config` < its `conf.d` <
`overrides.toml` < the environment < flags. Manifests and built-ins are not files of this kind, and join in
`effective`. Each file has to be right by itself, also where a higher one hides what it says.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from host.config.environment import variables
from host.config.layers import Origin, Table, at, merge, nearest_origin, plain, tree
from host.config.model import HostConfig
from host.config.overrides import Overrides, read_overrides
from host.config.problems import FileProblem, by_line, dotted
from host.config.read import Document, decode, parse_toml, read_text
from host.config.sections import Sections
from host.config.words import written
from host.errors import ConfigError
from protocol.contract import problems_of

__all__ = ["Configuration", "LayerFile", "Layers", "daemon_layers", "load_config"]

SYSTEM_FILE = "/etc/outboard/outboard.toml"
LONGEST_QUOTE = 60

T = TypeVar("T")


class LayerFile(msgspec.Struct, frozen=True):
    layer: str
    path: Path
    required: bool = False
    """Whether it is a problem that there is none."""


class Configuration(msgspec.Struct, frozen=True):
    """What holds, and who says so."""

    config: HostConfig = HostConfig()
    tree: Table = Table({}, Origin("built-in"))
    overrides: Overrides = Overrides()
    below: Table = Table({}, Origin("built-in"))
    """Without the overrides, and what is above them."""
    above: Table = Table({}, Origin("built-in"))

    def origin(self, path: tuple[str, ...]) -> Origin:
        return nearest_origin(self.tree, path)


class Layers(msgspec.Struct, frozen=True, kw_only=True):
    """Where a host's configuration comes from."""

    files: tuple[LayerFile, ...] = ()
    """The lowest first. One that is named twice counts where it is named last."""
    conf_d: Path | None = None
    """A folder whose `*.toml` are above those files, in the order of their names."""
    overrides: Path | None = None
    """Written by `config set` and by plugins; None for a host that keeps such changes in memory."""
    environ: Mapping[str, str] = {}
    flags: Mapping[str, Any] = {}
    """What the command line says, as a document."""
    sections: Sections = Sections()
    """The app's own tables."""
    installed: Path | None = None
    """A folder of installed plugins, which is looked through after all that the configuration names."""

    def load(self, overrides: Overrides | None = None) -> Configuration:
        """Reads files, and so blocks. `overrides` stand in for what is in the file of overrides.

        Raises:
            ConfigError: with every problem of every layer.
        """
        problems: list[FileProblem] = []
        layers: list[Table] = []
        files = list(self.files)
        if self.conf_d is not None:
            files += [LayerFile("conf.d", path) for path in sorted(self.conf_d.glob("*.toml"))]
        last = {os.path.abspath(file.path): number for number, file in enumerate(files)}
        for number, file in enumerate(files):
            if last[os.path.abspath(file.path)] == number and (file.required or os.path.lexists(file.path)):
                layers += self._take(_document(file.path), file.layer, problems)
        if overrides is None:
            overrides = self.read_overrides(problems)
        above = self._take_said(merge(variables(self.environ)), problems)
        above += self._take_said(tree(self.flags, "flags"), problems)
        return self._together(merge(layers), overrides, merge(above), problems)

    def renewed(self, told: Configuration, overrides: Overrides) -> Configuration:
        """What `told` is with other overrides; reads nothing. Raises ConfigError."""
        return self._together(told.below, overrides, told.above, [])

    def _together(
        self, below: Table, overrides: Overrides, above: Table, problems: list[FileProblem]
    ) -> Configuration:
        own = self._take_said(overrides.layer(str(self.overrides or "")), problems)
        merged = merge(layer for layer in (below, *own, above) if layer.items)
        if not problems:  # what each says is right, and it may still not fit together
            problems += _problems(merged, self.sections.outline)
        if not any(problem.key == "" for problem in problems):  # of what could not be read nobody knows
            problems += by_line(self.sections.problems(merged))
        if problems:
            raise ConfigError([_telling(problem) for problem in problems])
        config = msgspec.convert(plain(merged), self.sections.outline, dec_hook=decode)
        return Configuration(config, merged, overrides, below, above)

    def read_overrides(self, problems: list[FileProblem] | None = None) -> Overrides:
        """What is in the file of overrides; none if it is not there, or cannot be used: a problem."""
        if self.overrides is None or not self.overrides.exists():
            return Overrides()
        document = _document(self.overrides)
        found = document if isinstance(document, FileProblem) else read_overrides(document)
        if isinstance(found, Overrides):
            return found
        if problems is not None:
            problems.append(found)
        return Overrides()

    def _take(self, document: Document | FileProblem, layer: str, problems: list[FileProblem]) -> list[Table]:
        if isinstance(document, FileProblem):
            problems.append(document)
            return []
        if wrong := document.problems(self.sections.outline):
            problems += by_line(wrong)
            return [self.sections.part_of(document.value, layer, document.file, document.lines)]
        value = _with_folders_of(document.value, os.path.dirname(document.file))
        return [tree(value, layer, document.file, document.lines)]

    def _take_said(self, layer: Table, problems: list[FileProblem]) -> list[Table]:
        """A layer that is in no folder which a path could be relative to."""
        wrong = _problems(layer, self.sections.outline)
        if not wrong and (folders := at(layer, ("host", "plugins"))) is not None:
            wrong = [
                _problem(layer, ("host", "plugins"), f"{folder!r} is relative to nothing here", seen=folder)
                for folder in plain(folders)
                if not os.path.isabs(folder)
            ]
        problems += wrong
        return [] if wrong else [layer]


def daemon_layers(
    environ: Mapping[str, str],
    *,
    configuration: str,
    config: str | None,
    overrides: str,
    flags: Mapping[str, Any] | None = None,
    system: str = SYSTEM_FILE,
) -> Layers:
    """Of a daemon. `configuration` is the user's folder, `config` what `--config` says."""
    files = [
        LayerFile("system", Path(system)),
        LayerFile("user", Path(configuration, "outboard.toml")),
    ]
    if config is not None:
        files.append(LayerFile("config", Path(config), required=True))
    return Layers(
        files=tuple(files),
        conf_d=None if config is None else Path(config).parent / "conf.d",
        overrides=Path(overrides),
        environ=environ,
        flags=flags or {},
    )


def load_config(path: Path | None) -> HostConfig:
    """The configuration in one file alone; the built-in one for None. Raises ConfigError."""
    return Layers(files=() if path is None else (LayerFile("config", path, required=True),)).load().config


def _document(path: Path) -> Document | FileProblem:
    text = read_text(path)
    return text if isinstance(text, FileProblem) else parse_toml(path, text)


def _problems(layer: Table, model: type[HostConfig]) -> list[FileProblem]:
    return [
        _problem(
            layer, each.path, each.reason, hint=f"did you mean `{each.nearest}`?" if each.nearest else None
        )
        for each in problems_of(plain(layer), model, decode_hook=decode)
    ]


def _problem(
    layer: Table, path: tuple[str, ...], reason: str, *, hint: str | None = None, seen: Any = None
) -> FileProblem:
    origin = nearest_origin(layer, path)
    found = at(layer, path)
    seen = plain(found) if seen is None and found is not None else seen
    return FileProblem(origin.file or origin.layer, origin.line, dotted(path), reason, hint, seen)


def _telling(problem: FileProblem) -> FileProblem:
    """With the value that was seen, unless it may be somebody's secret: a setting, or a stray key."""
    seen = problem.seen
    if (
        ".settings" in problem.key
        or problem.reason == "unknown key"
        or not isinstance(seen, str | int | float)
    ):
        return problem
    text = written(seen)
    if len(text) > LONGEST_QUOTE or str(seen) in problem.reason:
        return problem
    return msgspec.structs.replace(problem, reason=f"{problem.reason}: {text}")


def _with_folders_of(value: dict[str, Any], folder: str) -> dict[str, Any]:
    """The document with its paths relative to where the host runs, and no more to the file's own folder."""
    if "plugins" not in value.get("host", {}):
        return value
    host = value["host"]
    return value | {"host": host | {"plugins": [os.path.join(folder, each) for each in host["plugins"]]}}
