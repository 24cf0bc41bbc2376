"""What is held to the protocol: a command, or a plugin as its manifest says. Started as by a host."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from host.config.effective import effective
from host.config.model import HostConfig
from host.conformance.bench import Subject
from host.discovery.validate import Candidate
from host.errors import PluginUnavailable
from host.process.launchers import CannotLaunch, launch_spec
from protocol.manifest import Manifest, PluginTable, RunTable

__all__ = ["Call", "of_command", "of_plugin"]

Call = tuple[str, dict[str, Any]]


def of_command(command: Sequence[str], folder: str, data_dir: str, **more: Any) -> Subject:
    """Of any program. Raises PluginUnavailable if there is none."""
    manifest = Manifest(plugin=PluginTable(name="tested", version="0"), run=RunTable(command=list(command)))
    return _subject(Candidate(folder, os.path.join(folder, "plugin.toml"), manifest, False), data_dir, **more)


def of_plugin(candidate: Candidate, data_dir: str, *, environment: str | None = None, **more: Any) -> Subject:
    """Of a plugin with a manifest. Raises PluginUnavailable if it cannot be started."""
    plugin = candidate.manifest.plugin
    config: Mapping[str, Any] = effective(candidate.manifest, HostConfig()).settings
    return _subject(
        candidate,
        data_dir,
        environment=environment,
        **{"config": dict(config), "name": plugin.name, "version": plugin.version} | more,
    )


def _subject(candidate: Candidate, data_dir: str, *, environment: str | None = None, **more: Any) -> Subject:
    try:
        spec = launch_spec(
            candidate,
            effective(candidate.manifest, HostConfig()),
            instance="conformance",
            data_dir=data_dir,
            inherited=os.environ,
            own_environment=environment,
        )
    except CannotLaunch as error:
        raise PluginUnavailable(
            f"it cannot be started: {error}", state="failed", reason=str(error), hint=error.fix
        ) from None
    return Subject(spec=spec, **more)
