"""`outboard run`."""

from __future__ import annotations

import click

from host.cli.output import socket_option


@click.command()
@click.option("--config", type=click.Path(dir_okay=False), help="An outboard.toml.")
@click.option("--plugins", multiple=True, type=click.Path(), help="A folder of plugins, or a plugin. Repeat.")
@click.option(
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info", show_default=True
)
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True)
@socket_option
def run(config: str | None, plugins: tuple[str, ...], log_level: str, log_format: str, socket: str) -> None:
    """Run the daemon in the foreground, until SIGTERM or Ctrl-C.

    Without --plugins and --config it looks for plugins in the user's data folder.
    """
    from host.control import daemon

    if not plugins and config is None:
        plugins = (daemon.default_plugin_folder(),)
    daemon.run(config=config, plugins=plugins, socket=socket, log_level=log_level, log_format=log_format)
