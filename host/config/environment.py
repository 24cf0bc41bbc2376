"""Environment variables as a layer: `OUTBOARD__PLUGINS__HELLO__SETTINGS__GREETING=Hi`. Pure.

Two underscores stand for the dot. Keys are lower case, as all of outboard's own are; a setting whose name
is not cannot be set in this way. A value is TOML, else text.
"""

from __future__ import annotations

from collections.abc import Mapping

from host.config.layers import Table, tree
from host.config.lines import DEEPEST
from host.config.words import parse_value, with_value

__all__ = ["PREFIX", "variables"]

PREFIX = "OUTBOARD__"


def variables(environ: Mapping[str, str]) -> list[Table]:
    """One layer for each variable that is one of ours, in the order of their names."""
    layers = []
    for name in sorted(environ):
        path = tuple(name.removeprefix(PREFIX).lower().split("__"))
        if name.startswith(PREFIX) and len(path) < DEEPEST:
            layers.append(tree(with_value({}, path, parse_value(environ[name])), "environment", f"${name}"))
    return layers
