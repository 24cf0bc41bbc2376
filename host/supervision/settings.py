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
from host.config.load import Configuration
from host.config.problems import FileProblem, dotted
from host.config.schemas import settings_problems
from host.process.link import Expired, Link, Lost
from host.process.secrets import SecretProblem, resolved
from host.supervision.planning import Here, new_code, same
from host.supervision.sources import Seen, Wanted
from host.supervision.supervisor import Supervisor
from host.supervision.voice import one_line
from protocol.errors import Refused, RpcError
from protocol.lifecycle import ConfigParams, ConfigVerdict
from protocol.secrets import secret_values

ANSWER_S = 5.0
"""How long a plugin may think about new settings."""
MAX_REASONS = 20


class Approved(msgspec.Struct, frozen=True):
    """Settings that nobody objects to."""

    supervisor: Supervisor
    wanted: Wanted
    link: Link
    """Of the process that has approved, and no other."""
    settings: dict[str, Any]
    """As the plugin gets them: secrets are there."""


class Change:
    """What a new configuration means for the settings of the plugins that are here."""

    def __init__(self, told: Configuration, here: Mapping[str, Here], seen: Seen) -> None:
        self.problems: list[FileProblem] = []
        self.approved: list[Approved] = []
        self._told = told
        self._here = here
        self._seen = seen

    async def check(self, plugins: Mapping[str, Supervisor], now: float) -> None:
        """Asks schemas and plugins, all at once; bounded by `ANSWER_S`."""
        async with anyio.create_task_group() as asking:
            for name, here in self._here.items():
                wanted = self._seen.wanted.get(name)
                if wanted is None or same(here.policy.settings, wanted.policy.settings):
                    continue
                supervisor = plugins.get(name)
                if supervisor is not None and not new_code(here, wanted) and wanted.policy.enabled:
                    asking.start_soon(self._check, supervisor, here, wanted, now + ANSWER_S)

    async def _check(self, supervisor: Supervisor, here: Here, wanted: Wanted, deadline: float) -> None:
        schema = supervisor.offer.provides.config_schema
        if schema is None:
            settings = wanted.policy.settings
        else:
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
        generation = supervisor.generation
        link = supervisor.link
        if link is None or generation is None:
            return
        if schema is not None:
            generation.voice.secrets |= secret_values(settings, schema)
        if "validate" in generation.features:
            for path, reason in await _asked(link, settings, deadline):
                self._refuse(wanted, path, generation.voice.masked([reason])[0])
        if here.takes_settings:
            self.approved.append(Approved(supervisor, wanted, link, settings))

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
            supervisor, wanted = each.supervisor, each.wanted
            supervisor.reconfigure(wanted.candidate, wanted.policy)
            if each.link is supervisor.link:  # and no newer process
                try:
                    each.link.notify("config/changed", ConfigParams(config=each.settings))
                    continue
                except Refused:  # larger than it takes, or it has just gone
                    pass
            missed.append(supervisor)
        return missed


async def _asked(link: Link, settings: dict[str, Any], deadline: float) -> list[tuple[tuple[str, ...], str]]:
    """What the plugin has against these settings."""
    try:
        raw = await link.request("config/validate", ConfigParams(config=settings), deadline=deadline)
        verdict = msgspec.json.decode(raw, type=ConfigVerdict)
    except Expired:
        return [((), f"the plugin did not say within {ANSWER_S:g} s whether it takes them")]
    except Lost:
        return [((), "the plugin ended when it was asked whether it takes them")]
    except (RpcError, Refused) as error:
        return [((), f"the plugin could not say whether it takes them: {one_line(str(error))}")]
    except msgspec.DecodeError:
        return [((), "the plugin's answer to config/validate is malformed")]
    return [
        (tuple(part for part in problem.path.removeprefix("$").split(".") if part), one_line(problem.reason))
        for problem in verdict.problems[:MAX_REASONS]
    ]
