"""An `outboard.toml` as a person wrote it, or every reason why it cannot be used."""

from __future__ import annotations

from pathlib import Path

from host.config.model import HostConfig
from host.config.read import read_toml
from host.errors import ConfigError


def load_config(path: Path | None) -> HostConfig:
    """The configuration in `path`; the built-in one for None. Raises ConfigError with every problem."""
    if path is None:
        return HostConfig()
    config, problems = read_toml(path, HostConfig)
    if config is None or problems:
        raise ConfigError(problems)
    return config
