"""What cannot be used: manifests, folders and keys. Each is told once, and kept for as long as it is so."""

from __future__ import annotations

from collections.abc import Sequence

from host.config.problems import FileProblem
from host.observability.bus import Bus
from host.observability.events import PluginProblem
from host.supervision.scope import Scope
from host.supervision.sources import Seen


class Complaints:
    def __init__(self, bus: Bus) -> None:
        self.all: list[FileProblem] = []
        """Nothing else is affected by them."""
        self._bus = bus

    @property
    def plugins(self) -> list[str]:
        """Names of plugins that are not here because of them, as far as those can be told."""
        return [problem.plugin for problem in self.all if problem.plugin is not None]

    def of_plugin(self, name: str) -> list[FileProblem]:
        """What keeps the plugin of that name from being here."""
        return [problem for problem in self.all if problem.plugin == name]

    def add(self, problems: Sequence[FileProblem]) -> None:
        self.all += problems
        for problem in problems:
            self._bus.emit(PluginProblem(file=problem.file, message=str(problem)))

    def renew(self, seen: Seen, scope: Scope) -> None:
        """Within `scope`, what was seen counts, and nothing from before."""
        known = set(map(str, self.all))
        fresh = [problem for problem in seen.problems if str(problem) not in known]
        elsewhere = [problem for problem in self.all if not scope.has(problem.file)]
        self.all = elsewhere + [problem for problem in seen.problems if problem not in fresh]
        self.add(fresh)
