"""The `# /// script` block of a one-file plugin (PEP 723): a manifest inside of the code, as structs.

Follows the grammar of PEP 723 line by line instead of by its regular expression, which takes quadratic
time on a file of many openings.
"""

from __future__ import annotations

from typing import Any

import msgspec

from protocol.manifest import (
    HealthTable,
    LimitsTable,
    Manifest,
    PermissionsTable,
    PluginTable,
    RestartTable,
    RunTable,
    StartTable,
)

__all__ = ["OUTBOARD", "ScriptBlock", "script_blocks"]

OUTBOARD = ("tool", "outboard")
"""Where a block holds the keys of `[plugin]`."""


class OutboardTable(PluginTable, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """The keys of [plugin], and the other tables below them; there is no [run] to be written."""

    settings: dict[str, Any] = {}
    limits: LimitsTable = LimitsTable()
    restart: RestartTable = RestartTable()
    health: HealthTable = HealthTable()
    start: StartTable = StartTable()
    permissions: PermissionsTable = PermissionsTable()


class ToolTable(msgspec.Struct, frozen=True, kw_only=True):
    """Ours among the tables of other tools, which are theirs to check."""

    outboard: OutboardTable


class ScriptBlock(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """A whole block."""

    tool: ToolTable
    requires_python: str | None = msgspec.field(default=None, name="requires-python")
    dependencies: list[str] = []

    def manifest(self, file_name: str) -> Manifest:
        """What a `plugin.toml` beside the file would say."""
        own = self.tool.outboard
        return Manifest(
            plugin=PluginTable(
                name=own.name, version=own.version, protocol=own.protocol, description=own.description
            ),
            run=RunTable(
                python=file_name, requires_python=self.requires_python, dependencies=self.dependencies
            ),
            settings=own.settings,
            limits=own.limits,
            restart=own.restart,
            health=own.health,
            start=own.start,
            permissions=own.permissions,
        )


def script_blocks(source: str) -> list[str]:
    """The TOML of every closed script block, each after as many empty lines as stand before it."""
    lines = source.replace("\r\n", "\n").split("\n")
    blocks = []
    at = 0
    while at < len(lines):
        at += 1
        if lines[at - 1] != "# /// script":
            continue
        end = at
        while end < len(lines) and (lines[end] == "#" or lines[end].startswith("# ")):
            end += 1
        closings = [index for index in range(at, end) if lines[index] == "# ///"]
        if closings:  # the last one closes: the ones before it may be text of the block
            blocks.append("\n" * at + "".join(f"{line[2:]}\n" for line in lines[at : closings[-1]]))
        at = end
    return blocks
