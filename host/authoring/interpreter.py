"""Which Python a plugin runs on: the host's own, or that of an environment with what it depends on."""

from __future__ import annotations

import os
from collections.abc import Callable

import anyio

from host.config.model import HostTable
from host.config.places import user_places
from host.discovery.validate import Candidate
from host.environments.outcome import Failure
from host.environments.recipe import python_of
from host.environments.store import Environments
from host.errors import PluginUnavailable
from host.process.driver import current_driver

__all__ = ["python_with"]


async def python_with(candidate: Candidate, say: Callable[[str], object]) -> str:
    """The interpreter of the environment that `candidate` gets, built if it is not there.

    Raises PluginUnavailable if it cannot be built.
    """
    root = os.path.join(user_places(os.environ, os.getuid()).cache, "environments")
    environments = Environments(root, current_driver(), timeout_s=float(HostTable().environment_timeout))
    wanted = candidate.manifest.run.dependencies
    outcome: list[Failure | None] = []
    async with anyio.create_task_group() as tasks:
        await tasks.start(environments.run)
        if environments.folder(wanted) is None:
            over = anyio.Event()

            def end(failure: Failure | None) -> None:
                outcome.append(failure)
                over.set()

            say(f"building ({environments.build(candidate.name, wanted, end)})")
            await over.wait()  # which its own deadline bounds
        folder = environments.folder(wanted)
        tasks.cancel_scope.cancel()
    if folder is None:
        failure = outcome[0] if outcome else None
        reason = failure.text if failure is not None else "it is gone again"
        raise PluginUnavailable(
            f"its environment cannot be built: {reason}",
            state="waiting",
            reason=reason,
            hint="mend `dependencies`, or the way to the package index",
            plugin=candidate.name,
        )
    return python_of(folder)
