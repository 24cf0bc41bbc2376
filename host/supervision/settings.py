"""A change of plugins' settings: by schema, by the plugin, and then it is announced.

Refused by anybody, nothing has changed: what is checked here has not been told to any plugin yet. A plugin
that takes changes while it runs is told; every other one gets a new process, as its plan says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import anyio
import msgspec

from host.config.layers import at
from host.config.lines import KeyPath
from host.config.load import Configuration
from host.config.problems import FileProblem, dotted
from host.config.schemas import settings_problems
from host.config.words import same
from host.process.link import Expired, Link, Lost
from host.process.secrets import SecretProblem, resolved
from host.supervision.generation import Generation
from host.supervision.overrides import above
from host.supervision.planning import Here, new_code
from host.supervision.sources import Seen, Wanted
from host.supervision.supervisor import Supervisor
from host.supervision.voice import one_line
from protocol import values
from protocol.errors import Refused, RpcError
from protocol.lifecycle import ConfigParams, ConfigTold, ConfigVerdict
from protocol.secrets import secret_paths, secret_values, value_at

ANSWER_S = 5.0
"""How long a plugin may think about new settings."""
MAX_REASONS = 20


class Approved(msgspec.Struct, frozen=True):
    """Settings that nobody objects to."""

    supervisor: Supervisor
    wanted: Wanted
    generation: Generation
    """Of the process that has approved, and no other."""
    settings: dict[str, Any]
    """As the plugin gets them: secrets are there."""


class Change:
    """What a new configuration means for the settings of the plugins that are here."""

    def __init__(self, told: Configuration, *, by: str = "") -> None:
        self.problems: list[FileProblem] = []
        self.approved: list[Approved] = []
        self._told = told
        self._by = by

    async def check(
        self, plugins: Mapping[str, Supervisor], here: Mapping[str, Here], seen: Seen, now: float
    ) -> None:
        """Asks schemas and plugins, all at once; bounded by `ANSWER_S`."""
        async with anyio.create_task_group() as asking:
            for name, old in here.items():
                wanted = seen.wanted.get(name)
                if wanted is None or same(old.policy.settings, wanted.policy.settings):
                    continue
                supervisor = plugins.get(name)
                is_disabled_by_this = old.policy.enabled and not wanted.policy.enabled
                if supervisor is None or new_code(old, wanted) or is_disabled_by_this:
                    continue
                generation = supervisor.generation if supervisor.link is not None else None
                asking.start_soon(
                    self.check_one, supervisor, generation, wanted, old.takes_settings, now + ANSWER_S
                )

    async def check_one(
        self,
        supervisor: Supervisor,
        generation: Generation | None,
        wanted: Wanted,
        takes_settings: bool,
        deadline: float,
    ) -> None:
        """`generation` is the one to be asked; None if the plugin does not run."""
        provides = supervisor.offer.provides if generation is None else generation.provides
        schema, settings = provides.config_schema, wanted.policy.settings
        if schema is not None:
            try:
                settings = await resolved(wanted.policy.settings, schema)
            except SecretProblem as problem:
                self._refuse(wanted, problem.path, problem.reason)
                return
            wrong = settings_problems(settings, schema)
            for each in wrong:
                hint = f"did you mean `{each.nearest}`?" if each.nearest else None
                self._refuse(wanted, each.path, each.reason, hint)
            if wrong:
                return
        if generation is None or generation.link is None:
            return
        if schema is not None:
            generation.voice.secrets |= secret_values(settings, schema)
        if "validate" in generation.features:
            for path, reason in await _asked(generation.link, settings, deadline):
                self._refuse(wanted, path, generation.voice.masked([reason])[0])
        if takes_settings:
            self.approved.append(Approved(supervisor, wanted, generation, settings))

    def _refuse(self, wanted: Wanted, path: Sequence[str], reason: str, hint: str | None = None) -> None:
        key = ("plugins", wanted.candidate.name, "settings", *path)
        origin = self._told.origin(key)
        file, line = origin.file or origin.layer, origin.line
        if at(self._told.tree, key) is None:
            file, line = wanted.candidate.file, None
        self.problems.append(FileProblem(file, line, dotted(key), reason, hint))

    def announce(self) -> list[Supervisor]:
        """Tells whoever takes it; returns the plugins that have had a new process meanwhile."""
        missed = []
        for each in self.approved:
            supervisor = each.supervisor
            # And nothing else of its policy: somebody may have disabled it meanwhile.
            policy = msgspec.structs.replace(supervisor.policy, settings=each.wanted.policy.settings)
            supervisor.reconfigure(supervisor.candidate, policy, by=self._by)
            told = ConfigTold(config=each.settings, config_revision=supervisor.settings_revision)
            if each.generation is not supervisor.generation or not each.generation.tell(told):
                missed.append(supervisor)
        return missed


async def _asked(link: Link, settings: dict[str, Any], deadline: float) -> list[tuple[tuple[str, ...], str]]:
    """What the plugin has against these settings."""
    try:
        raw = await link.request("config/validate", ConfigParams(config=settings), deadline=deadline)
        verdict = values.decode(raw, ConfigVerdict)
    except Expired:
        return [((), f"the plugin did not say within {ANSWER_S:g} s whether it takes them")]
    except Lost:
        return [((), "the plugin ended when it was asked whether it takes them")]
    except (RpcError, Refused) as error:
        return [((), f"the plugin could not say whether it takes them: {one_line(str(error))}")]
    except msgspec.DecodeError:
        return [((), "the plugin's answer to config/validate is malformed")]
    return [(_path(problem.path), one_line(problem.reason)) for problem in verdict.problems[:MAX_REASONS]]


def _path(json_path: str) -> tuple[str, ...]:
    return tuple(one_line(part) for part in json_path.removeprefix("$").split(".") if part)


def not_for_plugins(
    plugin: str,
    generation: Generation,
    before: Configuration,
    after: Configuration,
    changes: Mapping[KeyPath, Any],
) -> list[FileProblem]:
    """What a plugin cannot change, though the settings are its own.

    Where a secret comes from: it would have the host read a file, or run a command. And what is said above
    the overrides, where a change would be lost.
    """
    own = ("plugins", plugin, "settings")
    say = "is a secret, and where it comes from is an operator's to say"
    problems = [
        FileProblem("", None, dotted((*own, *path)), say, f"outboard config set {dotted((*own, *path))} ...")
        for path in sorted(secret_paths(generation.provides.config_schema or {}))
        if value_at(before.overrides.document, (*own, *path))
        != value_at(after.overrides.document, (*own, *path))
    ]
    for path, origin in above(after, changes):
        reason = f"a change would have no effect: {origin} is above it"
        problems.append(FileProblem("", None, dotted(path), reason))
    return problems
