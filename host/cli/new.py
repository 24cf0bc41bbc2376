"""`outboard new`."""

from __future__ import annotations

from pathlib import Path

import click

from host.authoring.scaffold import TEMPLATES, scaffold, write
from host.cli.choices import Word
from host.cli.output import json_option, print_json, print_next, table
from host.discovery.names import name_fault


def _name(ctx: click.Context, param: click.Parameter, value: str) -> str:
    if fault := name_fault(value):
        reason, better = fault
        raise click.BadParameter(reason + (f". Did you mean `{better}`?" if better else "."))
    return value


@click.command()
@click.argument("name", callback=_name)
@click.option(
    "--template",
    type=Word(list(TEMPLATES)),
    default="method",
    show_default=True,
    help="What it is to begin with.",
)
@click.option("--one-file", is_flag=True, help="One Python file instead of a folder.")
@click.option(
    "--into", default="", type=click.Path(file_okay=False), help="Where to make it.  [default: here]"
)
@json_option
def new(name: str, template: str, one_file: bool, into: str, as_json: bool) -> None:
    """Begin a plugin called NAME: a folder with code that runs, a manifest and a test.

    \b
    method    a function that is called by its own name
    hook      an implementation of an extension point
    async     an `async def` method, many at once, with progress
    stream    a method that answers in items
    settings  typed settings, and a store that survives restarts
    node      a method in JavaScript
    """
    if one_file and not TEMPLATES[template].may_be_one_file:
        raise click.UsageError(f"A plugin of the template `{template}` cannot be one Python file.")
    made = scaffold(name, template, one_file=one_file, into=into)
    try:
        write(made, Path(into))
    except OSError as error:
        raise click.FileError(into or ".", error.strerror or str(error)) from None
    files = [str(Path(into, file)) for file in made.files]
    if as_json:
        print_json({"ok": True, "name": name, "path": str(Path(into, made.path)), "files": files})
        return
    click.echo(table([(file, made.about[key]) for file, key in zip(files, made.files, strict=True)]))
    print_next(made.commands[0])
