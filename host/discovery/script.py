"""Whether a `.py` is a one-file plugin: told from the keys of its script block, TOML or not quite."""

from __future__ import annotations

from host.config.lines import places
from protocol.script import OUTBOARD, script_blocks

__all__ = ["declares_plugin"]


def declares_plugin(source: str) -> bool:
    """Whether a block has a [tool.outboard], even if it is not quite TOML."""
    return any(OUTBOARD in places(block) for block in script_blocks(source))
