"""`outboard pack`."""

from __future__ import annotations

import os
from pathlib import Path

import click

from host.cli.output import json_option, print_json, print_next, size
from host.observability.escape import escaped

MOST_SHOWN = 8


@click.command()
@click.argument("path", type=click.Path(exists=True))
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False), help="The file to make.  [default: NAME-VERSION.zip]"
)
@json_option
def pack(path: str, output: str | None, as_json: bool) -> None:
    """Make one file of the plugin at PATH, to hand on and to install.

    It has the same bytes wherever and whenever it is made of the same files. What begins with a dot stays
    out, and so do __pycache__ and virtual environments; a file .outboardignore, written like a .gitignore,
    says what else, and what not.

    PATH is a folder, a plugin.toml or a one-file plugin. Exits with 6 if its manifest cannot be used, or if a
    file cannot travel.
    """
    from host.packing.source import what_to_pack
    from host.packing.write import digest_of, write_pack

    candidate, contents = what_to_pack(Path(path))
    version = candidate.manifest.plugin.version
    file = output or f"{candidate.name}-{version}.zip".replace("/", "_")  # a version may have any letter
    if any(os.path.realpath(file) == entry.source for entry in contents.entries):
        raise click.UsageError(f"{file} is one of the files that are to be packed.")
    try:
        write_pack(contents.entries, file)
        digest, length = digest_of(file), os.path.getsize(file)
    except OSError as error:
        raise click.FileError(str(error.filename or file), error.strerror or str(error)) from None
    if as_json:
        print_json(
            {
                "ok": True,
                "name": candidate.name,
                "version": version,
                "file": file,
                "bytes": length,
                "sha256": digest,
                "files": [entry.path for entry in contents.entries],
                "left_out": contents.left_out,
            }
        )
        return
    count = len(contents.entries)
    click.echo(f"{file}  {size(length)}, {count} file{'' if count == 1 else 's'}")
    click.echo(f"sha256 {digest}")
    if contents.left_out:
        names = contents.left_out
        more = f" and {len(names) - MOST_SHOWN} more" if len(names) > MOST_SHOWN else ""
        click.echo(f"left out: {escaped(', '.join(names[:MOST_SHOWN]))}{more}", err=True)
    print_next(f"outboard install {file}")
