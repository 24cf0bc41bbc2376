"""What every generation of every plugin of a host shares."""

from __future__ import annotations

from collections.abc import Callable

import anyio
import msgspec

from host.environments.store import Environments
from host.process.cgroup import Groups
from host.process.deadlines import Deadlines
from host.process.driver import Driver
from host.process.link import Link
from host.process.starter import Starter
from protocol.events import Event
from protocol.lifecycle import Provides


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    driver: Driver
    deadlines: Deadlines
    environments: Environments
    starter: Starter
    starts: anyio.CapacityLimiter
    """How many may start at once."""
    instance: str
    data_root: str
    on_ask: Callable[[str, Link, Event], None]
    """Gets what plugins ask of the host: see `host.routing.host_calls`."""
    unfit: Callable[[Provides], list[str]]
    """Why a plugin that provides this does not fit the extension points here, line by line."""
    groups: Groups | None = None
    """Control groups, where they have been delegated to this host."""
