"""What the parts of the demo share: where their lines go, and how they look."""

from __future__ import annotations

import click

from host.cli.output import paint
from host.errors import OutboardError


class DemoFailed(OutboardError):
    """The demo did not see what it shows."""


class Story:
    """On stdout, or on stderr if stdout is for JSON."""

    def __init__(self, *, as_json: bool) -> None:
        self.on_stderr = as_json

    def say(self, text: str) -> None:
        click.echo(text, err=self.on_stderr)

    def heading(self, text: str) -> None:
        mark = "$" if text.startswith("outboard") else "#"
        self.say("\n" + paint(f"{mark} {text}", "cyan", err=self.on_stderr))
