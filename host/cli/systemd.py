"""`outboard systemd`."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from host.cli.output import json_option, paint, print_json
from host.control.unit import Unit, unit_text

INHERITED = ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME")
"""Where a user keeps things is the same for the daemon and for the commands in the user's shell."""


def _absolute(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
    if isinstance(value, tuple):
        return [os.path.abspath(each) for each in value]
    return os.path.abspath(value) if value is not None else None


@click.command()
@click.option(
    "--user", "kind", flag_value="user", help="For your own session.  [default, unless you are root]"
)
@click.option("--system", "kind", flag_value="system", help="For the machine.")
@click.option(
    "--run-as", "account", default="outboard", show_default=True, help="The account, with --system."
)
@click.option(
    "--config", type=click.Path(exists=True, dir_okay=False), callback=_absolute, help="An outboard.toml."
)
@click.option(
    "--plugins",
    multiple=True,
    type=click.Path(exists=True),
    callback=_absolute,
    help="A folder of plugins, or a plugin. Repeat.",
)
@click.option("--socket", type=click.Path(), callback=_absolute, help="The daemon's control socket.")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]))
@click.option("--log-format", type=click.Choice(["text", "json"]))
@json_option
def systemd(
    kind: str | None,
    account: str,
    config: str | None,
    plugins: list[str],
    socket: str | None,
    log_level: str | None,
    log_format: str | None,
    as_json: bool,
) -> None:
    """Print a systemd unit that runs the daemon.

    It begins with how to install it. Options other than the first three are those of `run`.
    """
    is_system = kind == "system" or (kind is None and os.geteuid() == 0)
    if socket is None and not is_system and (told := os.environ.get("OUTBOARD_SOCKET")):
        socket = os.path.abspath(told)
    words = [*_program(), "run"]
    for option, value in (
        *(("--plugins", each) for each in plugins),
        ("--config", config),
        ("--socket", socket),
        ("--log-level", log_level),
        ("--log-format", log_format),
    ):
        if value is not None:
            words += [option, value]
    names = ("PATH", *(() if is_system else INHERITED))
    environment = {name: os.environ[name] for name in names if os.environ.get(name)}
    reload = [*_program(), "reload", *(["--socket", socket] if socket is not None else [])]
    unit = Unit(command=words, reload=reload, environment=environment, account=account if is_system else None)
    if as_json:
        print_json({"ok": True, "unit": unit_text(unit)})
        return
    click.echo(unit_text(unit), nl=False)
    if sys.stderr.isatty():
        then = (
            f"systemctl{'' if is_system else ' --user'} enable --now outboard, once the unit is in its place"
        )
        click.echo(paint(f"next: {then}", "bright_black", err=True), err=True)


def _program() -> list[str]:
    script = os.path.join(os.path.dirname(sys.executable), "outboard")
    return [script] if os.access(script, os.X_OK) else [sys.executable, "-m", "host.cli"]
