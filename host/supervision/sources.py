"""What the files say: which plugins there are, on which terms, and what is wrong with any of them.

Reads the configuration, the folders and the manifests; knows nothing of what runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from host.config.effective import PluginPolicy, effective, policy_problems
from host.config.load import Configuration, Layers
from host.config.model import HostConfig
from host.config.problems import FileProblem
from host.discovery.scan import scan
from host.discovery.validate import Candidate, load_manifest
from host.supervision.memory import Memory
from host.supervision.overrides import OverridesFile
from protocol.contract import nearest
from protocol.values import not_finite


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """A plugin as the files, and the operators before, have it."""

    candidate: Candidate
    policy: PluginPolicy


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """Everything at one look."""

    config: HostConfig
    wanted: dict[str, Wanted]
    """By name, in the order they were found; without those that somebody removed by hand."""
    problems: list[FileProblem]


class Sources:
    """`folders` are those that the host was given, before any of the configuration's."""

    def __init__(self, layers: Layers, folders: Sequence[Path], memory: Memory) -> None:
        self.overrides = OverridesFile(layers)
        self._folders = list(folders)
        self._installed = [layers.installed] if layers.installed is not None else []
        self._memory = memory

    def folders(self, config: HostConfig) -> list[Path]:
        """Where plugins are looked for, in order."""
        return [*self._folders, *(Path(folder) for folder in config.host.plugins), *self._installed]

    def added(self) -> list[Path]:
        """The files of plugins that were added by hand."""
        return [Path(file) for file in self._memory.added.values()]

    def look(self, told: Configuration) -> Seen:
        """Reads files, and so blocks. Never raises."""
        config = told.config
        found = scan(self.folders(config))
        problems = list(found.problems)
        candidates = {candidate.name: candidate for candidate in found.candidates}
        for name, file in self._memory.added.items():
            if name not in candidates:
                loaded = load_manifest(Path(file))
                if isinstance(loaded, list):
                    problems += loaded
                else:
                    candidates[loaded.name] = loaded
        problems += self._unknown_names(told, candidates)
        wanted: dict[str, Wanted] = {}
        for name in [name for name in candidates if name not in self._memory.removed]:
            judged = self.judge(candidates[name], config)
            if isinstance(judged, Wanted):
                wanted[name] = judged
            else:
                problems += judged
        return Seen(config=config, wanted=wanted, problems=problems)

    def judge(self, candidate: Candidate, config: HostConfig) -> Wanted | list[FileProblem]:
        """The terms for a plugin, or why they make no sense."""
        policy = effective(candidate.manifest, config)
        said = self._memory.of(candidate.name).enabled
        if said is not None:
            policy = msgspec.structs.replace(policy, enabled=said)
        if lost := not_finite(policy.settings, f"plugins.{candidate.name}.settings"):
            key, reason = lost.split(": ", 1)
            return [FileProblem(candidate.file, None, key, reason, None, plugin=candidate.name)]
        if wrong := policy_problems(policy):
            return [
                FileProblem(candidate.file, None, "restart", text, None, plugin=candidate.name)
                for text in wrong
            ]
        return Wanted(candidate=candidate, policy=policy)

    def _unknown_names(self, told: Configuration, known: Mapping[str, object]) -> list[FileProblem]:
        """The configuration may speak of plugins that are not here: a slip, or one that is added later."""
        problems = []
        for name in told.config.plugins:
            if name not in known:
                close = nearest(name, known)
                hint = f"did you mean `{close}`?" if close else None
                where = f"plugins.{name}"
                origin = told.origin(("plugins", name))
                file = origin.file or origin.layer
                problems.append(
                    FileProblem(file, origin.line, where, "there is no plugin of this name", hint)
                )
        return problems
