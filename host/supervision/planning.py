"""What a reload would change: plugins and terms as they are against files as they are now. Pure.

Nothing is ever lost by it: a plugin whose manifest has become unreadable goes on as it was, and its
problems are in the plan.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping

import msgspec

from host.config.effective import POLICY_KEYS, PluginPolicy
from host.config.model import HostTable
from host.config.problems import dotted
from host.config.words import changed_keys, same
from host.discovery.validate import Candidate
from host.supervision.plan import Change, Plan
from host.supervision.sources import Seen, Wanted

AT_START = ("settings",)
"""What a process is given when it starts; everything else of a policy holds at once."""
BY_KERNEL = ("memory_bytes", "open_files", "file_size_bytes")
"""What holds at once if the kernel lets us change it for a process that runs."""

HoldsAtOnce = Callable[[int | None, int | None], bool]
"""Of such a limit, before and after."""


class Here(msgspec.Struct, frozen=True, kw_only=True):
    """A plugin that the host has."""

    candidate: Candidate
    policy: PluginPolicy
    is_wanted: bool
    """Whether it runs, or would if it could."""
    changed_file: str | None = None
    """A file of its code that is newer than its process."""
    takes_settings: bool = False
    """Whether it runs, and takes other settings while it does."""


def plan(here: Mapping[str, Here], seen: Seen, *, before: HostTable, holds_at_once: HoldsAtOnce) -> Plan:
    """What turns `here` into what was seen. `before` is the [host] table that this host was made from."""
    wanted = seen.wanted
    kept = {os.path.abspath(problem.file) for problem in seen.problems}
    restarted: list[Change] = []
    live: list[Change] = []
    at_start: list[Change] = []
    enabled: list[str] = []
    disabled: list[str] = []
    for name in sorted(here.keys() & wanted.keys()):
        old, new = here[name], wanted[name]
        if old.policy.enabled != new.policy.enabled:
            (enabled if new.policy.enabled else disabled).append(name)
        elif why := _why_restart(old, new, holds_at_once):
            # What nobody wants running is not started by a change of its files.
            (restarted if old.is_wanted else at_start).append(Change(name, why))
        elif keys := _changed(old.policy, new.policy):
            live.append(Change(name, ", ".join(keys)))
    return Plan(
        added=sorted(wanted.keys() - here.keys()),
        removed=sorted(name for name in here.keys() - wanted.keys() if here[name].candidate.file not in kept),
        restarted=restarted,
        live=live,
        at_start=at_start,
        enabled=enabled,
        disabled=disabled,
        needs_new_host=[
            dotted(("host", field))
            for field in HostTable.__struct_fields__
            if field != "plugins" and getattr(before, field) != getattr(seen.config.host, field)
        ],
        problems=[str(problem) for problem in seen.problems],
    )


def new_code(old: Here, new: Wanted) -> str:
    """What makes it another plugin than the one that runs; "" if nothing does."""
    before, after = old.candidate, new.candidate
    if (before.file, before.manifest.plugin, before.manifest.run) != (
        after.file,
        after.manifest.plugin,
        after.manifest.run,
    ):
        return "its manifest has changed"
    if before.origin != after.origin:
        return "another version of it is installed"
    return f"{old.changed_file} has changed" if old.changed_file is not None else ""


def _why_restart(old: Here, new: Wanted, holds_at_once: HoldsAtOnce) -> str:
    if why := new_code(old, new):
        return why
    fields = [
        field
        for field in AT_START
        if not same(getattr(old.policy, field), getattr(new.policy, field))
        and not (field == "settings" and old.takes_settings)
    ]
    fields += [
        field
        for field in BY_KERNEL
        if (was := getattr(old.policy, field)) != (wanted := getattr(new.policy, field))
        and not holds_at_once(was, wanted)
    ]
    return ", ".join(_keys(old.policy, new.policy, fields))


def _changed(old: PluginPolicy, new: PluginPolicy) -> list[str]:
    """Dotted keys whose values differ; of settings each key by itself, and never a value."""
    fields = [*POLICY_KEYS, "settings"]
    keys = _keys(old, new, [field for field in fields if not same(getattr(old, field), getattr(new, field))])
    return keys + ["critical"] * (old.critical != new.critical)


def _keys(old: PluginPolicy, new: PluginPolicy, fields: Iterable[str]) -> list[str]:
    keys = [".".join(POLICY_KEYS[field]) for field in fields if field != "settings"]
    if "settings" in fields:
        keys += [f"settings.{key}" for key in changed_keys(old.settings, new.settings)]
    return keys
