"""A host for plugins that are being worked on: they run as they would anywhere, and are not started again.

What they keep goes into a folder that is theirs for as long as the trial lasts. Whatever a plugin requires
need not be there, and one that is lazy is started as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from host.config.load import LayerFile, Layers
from host.discovery.validate import Candidate
from host.host import Host

__all__ = ["trial"]


def trial(
    candidates: Iterable[Candidate],
    data_dir: str,
    *,
    config: Path | None = None,
    watch: Mapping[str, Any] | None = None,
    alone: bool = False,
) -> Host:
    """A host that is still to be entered. `alone`: what a plugin requires counts for nothing."""
    terms: dict[str, Any] = {"restart": {"policy": "never"}, "start": {"mode": "eager"}}
    if alone:
        terms["start"]["requires"] = []
    chosen = list(candidates)
    flags: dict[str, Any] = {"plugins": {each.name: terms for each in chosen}}
    if watch is not None:
        flags["watch"] = dict(watch)
    files = () if config is None else (LayerFile("config", config, required=True),)
    return Host(
        config=Layers(files=files, flags=flags), plugins=[each.file for each in chosen], data_dir=data_dir
    )
