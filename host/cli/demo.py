"""`outboard demo`: the main job in ten seconds, by the same commands that anybody types."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from host.cli import demo_daemon, demo_mailroom
from host.cli.demo_story import Story
from host.cli.output import json_option, print_json, print_next


@click.command()
@json_option
def demo(as_json: bool) -> None:
    """Bring documents through a mailroom while its plugins are killed; then run a daemon, and call it.

    With --json the story goes to stderr, and what was seen is one JSON object.
    """
    story = Story(as_json=as_json)
    with tempfile.TemporaryDirectory(prefix="outboard-demo-") as folder:
        mailroom = demo_mailroom.show(Path(folder), story)
        daemon = demo_daemon.show(Path(folder), story)
    if as_json:
        print_json({"ok": True, "mailroom": mailroom, **daemon})
    else:
        print_next("python -m sample_plugins.mailroom INBOX OUTBOX")
