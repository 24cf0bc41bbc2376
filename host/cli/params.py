"""Parameters on a command line: KEY=VALUE words, or one JSON object; and how long they may take."""

from __future__ import annotations

from functools import partial

import click
import msgspec

LONGEST_S = 10_000_000.0

arguments_argument = partial(click.argument, "arguments", nargs=-1, metavar="[KEY=VALUE]...")
params_option = click.option("--params", help="All parameters as one JSON object, instead of KEY=VALUE.")


def asked(
    arguments: tuple[str, ...], params: str | None, timeout: float | None
) -> dict[str, msgspec.Raw | dict[str, str] | float | None]:
    """What a command of the control socket takes: `params` or `arguments`, and `timeout` if it was given."""
    asked: dict[str, msgspec.Raw | dict[str, str] | float | None] = {}
    if timeout is not None:
        if not 0 <= timeout <= LONGEST_S:  # also if it is no number
            raise click.BadParameter(
                f"a number of seconds, from 0 to {LONGEST_S:.0f}.", param_hint="--timeout"
            )
        asked["timeout"] = timeout or None
    if params is None:
        asked["arguments"] = _pairs(arguments)
    elif arguments:
        raise click.UsageError("Give --params or KEY=VALUE, not both.")
    else:
        asked["params"] = _object(params)
    return asked


def _pairs(words: tuple[str, ...]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise click.UsageError(f"`{word}` is not KEY=VALUE.")
        if key in pairs:
            raise click.UsageError(f"`{key}` is given twice.")
        pairs[key] = value
    return pairs


def _object(text: str) -> msgspec.Raw:
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise click.UsageError(f"--params is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise click.UsageError("--params must be a JSON object.")
    return msgspec.Raw(text.encode())
