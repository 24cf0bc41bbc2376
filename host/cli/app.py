"""The table of commands, and the one place where an error becomes text and an exit code.

A command's module is imported when it is used: `outboard status` is to be answered before anybody has
looked away, and most of that time would be imports that it does not need.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
from importlib import import_module
from typing import Any

import click

from host.cli.output import UsageProblem, print_error
from host.errors import OutboardError
from plugin_sdk import lean
from protocol.contract import nearest

COMMANDS: dict[str, tuple[str, str]] = {
    "run": ("run", "Run the daemon in the foreground."),
    "systemd": ("systemd", "Print a unit that runs the daemon."),
    "status": ("status", "What runs, what does not, and why."),
    "call": ("call", "Call a plugin's method."),
    "hook": ("hook", "Ask every plugin that implements an extension point."),
    "hooks": ("hook", "The extension points, and who is asked in what order, and why."),
    "contract": ("contract", "What a plugin promises to its callers, and what a change of it breaks."),
    "metrics": ("metrics", "What is counted, as OpenMetrics text."),
    "logs": ("logs", "What plugins said, and what became of them."),
    "why": ("why", "Why a plugin is as it is, and what to do about it."),
    "events": ("events", "What has happened, and with -f what happens."),
    "start": ("lifecycle", "Start a plugin."),
    "stop": ("lifecycle", "Stop a plugin; it stays stopped."),
    "restart": ("lifecycle", "Give a plugin a new process."),
    "release": ("lifecycle", "Give a plugin that is held back another chance."),
    "enable": ("lifecycle", "Let a plugin run again."),
    "disable": ("lifecycle", "Keep a plugin from running, until it is enabled."),
    "reload": ("reload", "Read configuration and manifests again."),
    "config": ("config", "The configuration: what holds, who says so, and changing it."),
    "store": ("store", "What a plugin keeps: list, get, set, delete."),
    "add": ("lifecycle", "Register a plugin's folder or file, and start it."),
    "remove": ("lifecycle", "Stop a plugin and forget it."),
    "install": ("install", "Copy a plugin into the host's data folder, and start it."),
    "uninstall": ("install", "Stop an installed plugin, and remove its files."),
    "new": ("new", "Begin a plugin: code that runs, a manifest and a test."),
    "check": ("check", "Everything about a plugin that can be known before it is used."),
    "test": ("testing", "Run a plugin's tests, on the Python that it runs on."),
    "dev": ("dev", "Run plugins here, and again whenever you save."),
    "conformance": ("conformance", "Whether a plugin in any language keeps to the protocol."),
    "pack": ("pack", "Make one file of a plugin, to hand on and to install."),
    "explain": ("explain", "What an error code means, and what to do."),
    "doctor": ("doctor", "Whether this machine has what outboard needs."),
    "completion": ("completion", "Completion of all this for bash, zsh or fish."),
    "demo": ("demo", "An application whose plugins are killed while it works; then a daemon."),
}
GROUPS: dict[str, tuple[str, ...]] = {
    "Write plugins": ("new", "dev", "test", "check", "conformance", "pack"),
    "Run them": ("run", "systemd", "demo"),
    "Use them": ("call", "hook"),
    "Look": ("status", "why", "logs", "events", "metrics", "hooks", "contract", "doctor", "explain"),
    "Come and go": ("install", "uninstall", "add", "remove", "reload"),
    "Operate": ("start", "stop", "restart", "release", "enable", "disable"),
    "What is kept": ("config", "store"),
    "Your shell": ("completion",),
}
"""In the order of what a reader is up to; every command is in one of them."""


class Commands(click.Group):
    """Commands by name, loaded when needed, with the one that was probably meant."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        row = COMMANDS.get(cmd_name)
        if row is None:
            return None
        command: click.Command = getattr(import_module(f"host.cli.{row[0]}"), cmd_name)
        lean.settle()
        if signal.getsignal(signal.SIGINT) == signal.SIG_DFL:  # see `host.cli.main`
            signal.signal(signal.SIGINT, signal.default_int_handler)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS:
            close = nearest(args[0], COMMANDS)
            hint = f" Did you mean `{close}`?" if close else " Try `outboard --help`."
            raise click.UsageError(f"There is no command `{args[0]}`.{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        widest = max(map(len, COMMANDS))
        for heading, names in GROUPS.items():
            with formatter.section(heading):
                formatter.write_dl([(name.ljust(widest), COMMANDS[name][1]) for name in names])


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="outboard", message="outboard %(version)s")
def app() -> None:
    """Run plugins outside the hull: each in a process of its own, supervised.

    Exit codes: 0 ok, 1 failed, 2 usage, 3 a plugin that ought to run does not, 4 no such plugin,
    5 deadline passed, 6 invalid configuration or manifest, 7 refused, 8 no daemon.
    """


def run(arguments: list[str] | None = None) -> Any:
    """Runs a command and exits with its code. No error of a user's is a traceback."""
    words = sys.argv[1:] if arguments is None else arguments
    as_json = "--json" in words
    _prepare_output()
    if "_OUTBOARD_COMPLETE" in os.environ:  # a shell asks
        import_module("host.cli.completion").prepare()
    try:
        _check_text(words)
        sys.exit(app.main(words, prog_name="outboard", standalone_mode=False) or 0)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        sys.exit(2)
    except click.ClickException as error:
        if as_json:
            print_error(UsageProblem(error.format_message()), as_json=True)
        else:
            error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        sys.exit(130)
    except OutboardError as error:
        print_error(error, as_json=as_json)
        sys.exit(error.exit_code)
    except OSError as error:  # of our own output: what others did is translated where it was seen
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        click.echo(f"error: the output cannot be written: {error.strerror}", err=True)
        sys.exit(1)


def _check_text(words: list[str]) -> None:
    """JSON carries nothing else, so neither does the control socket."""
    for word in words:
        try:
            word.encode()
        except UnicodeEncodeError:
            raise click.UsageError(f"{word[:40]!r} is not UTF-8.") from None


def _prepare_output() -> None:
    """Whatever we are given to write to, and in whatever encoding: a command does its work."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by whoever started us
            nothing = open(os.devnull, "w")  # noqa: SIM115
            atexit.register(nothing.close)
            setattr(sys, name, nothing)
        else:
            stream.reconfigure(errors="backslashreplace")
