"""Arguments whose values the daemon or the code knows: what a shell completes, and what was meant.

A shell asks while a person types: a daemon that is not there, or slow, is no answer, silently.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click
import msgspec

from host.config.places import default_socket
from host.control.client import Client
from host.errors import OutboardError
from protocol.contract import nearest

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

PATIENCE_S = 0.5

Completions = list["CompletionItem[str]"]


class Word(click.Choice[str]):
    """One of a few words; a slip is told which one was probably meant."""

    def get_invalid_choice_message(self, value: Any, ctx: click.Context | None) -> str:
        close = nearest(str(value), self.choices)
        return super().get_invalid_choice_message(value, ctx) + (f" Did you mean `{close}`?" if close else "")


def plugins(ctx: click.Context, param: click.Parameter, incomplete: str) -> Completions:
    return [_item(name["name"], name) for name in _names(ctx, incomplete, of="plugins")]


def points(ctx: click.Context, param: click.Parameter, incomplete: str) -> Completions:
    return [_item(name["name"], name) for name in _names(ctx, incomplete, of="points")]


def contracts(ctx: click.Context, param: click.Parameter, incomplete: str) -> Completions:
    """Of plugins and of points; for files, the shell's own completion has a key of its own."""
    return [*plugins(ctx, param, incomplete), *points(ctx, param, incomplete)]


def methods(ctx: click.Context, param: click.Parameter, incomplete: str) -> Completions:
    plugin = ctx.params.get("plugin")
    return [_item(name["name"], name) for name in _names(ctx, incomplete, of="methods", plugin=plugin)]


def parameters(ctx: click.Context, param: click.Parameter, incomplete: str) -> Completions:
    """`key=` of the method's parameters; behind the `=` the values, where they are few."""
    key, equals, value = incomplete.partition("=")
    given = {word.partition("=")[0] for word in ctx.params.get("arguments") or ()}
    where = {"plugin": ctx.params.get("plugin"), "method": ctx.params.get("method")}
    names = [name for name in _names(ctx, key, of="parameters", **where) if name["name"] not in given]
    if not equals:
        return [_item(f"{name['name']}=", name) for name in names]
    values = [choice for name in names if name["name"] == key for choice in name["values"]]
    return [_item(f"{key}={choice}", {}) for choice in values if choice.startswith(value)]


def _names(ctx: click.Context, begin: str, **asked: Any) -> list[dict[str, Any]]:
    try:
        with Client(ctx.params.get("socket") or default_socket(), slack_s=PATIENCE_S) as daemon:
            names = msgspec.json.decode(daemon.ask("names", asked))
    except OutboardError:
        return []
    return [name for name in names if name["name"].startswith(begin)]


def _item(value: str, name: dict[str, Any]) -> CompletionItem[str]:
    from click.shell_completion import CompletionItem

    return CompletionItem(value, help=name.get("about") or None)


def plugin_argument(
    *, name: str = "name", required: bool = True
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return click.argument(name, required=required, shell_complete=plugins)


def words(choices: Sequence[str]) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    """Completes a free argument with words that are known."""
    return lambda ctx, param, incomplete: [word for word in choices if word.startswith(incomplete)]
