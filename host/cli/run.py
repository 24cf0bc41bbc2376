"""`outboard run`."""

from __future__ import annotations

import sys

import click

from host.cli.choices import Word
from host.cli.output import json_option, socket_option
from host.control import signals
from plugin_sdk import lean


@click.command()
@click.option("--config", type=click.Path(dir_okay=False), help="An outboard.toml.")
@click.option("--plugins", multiple=True, type=click.Path(), help="A folder of plugins, or a plugin. Repeat.")
@click.option("--log-level", type=Word(["debug", "info", "warning", "error"]), help="Default: info.")
@click.option("--log-format", type=Word(["text", "json"]), help="Default: text.")
@json_option
@socket_option
def run(
    config: str | None,
    plugins: tuple[str, ...],
    log_level: str | None,
    log_format: str | None,
    as_json: bool,
    socket: str,
) -> None:
    """Run the daemon in the foreground, until SIGTERM or Ctrl-C.

    With on_critical = "exit" it ends with 3 when a critical plugin is down for good.

    With --json the log is JSON, and so is an error. It runs the plugins that are installed, and
    before those that are called alike the ones of --plugins and of the configuration.
    """
    signals.end_at_once_until_started()
    lean.begin()  # most of what there is to import comes now
    from host.control import daemon

    lean.settle()
    log_format = log_format or ("json" if as_json else None)
    options = daemon.Options(
        config=config, plugins=plugins, socket=socket, log_level=log_level, log_format=log_format
    )
    sys.exit(daemon.run(options))
