"""The `outboard` command. This file only sees to it that what it needs is installed."""

from __future__ import annotations

import sys


def main() -> None:
    """The console script's entry."""
    try:
        import click  # noqa: F401
    except ImportError:
        print(
            "outboard: the command line needs the host's own packages, which are not installed.\n"
            'Install them with:  pip install "outboard[host]"',
            file=sys.stderr,
        )
        sys.exit(1)
    try:
        from host.cli.app import run

        run()
    except KeyboardInterrupt:  # so early that no command has begun
        sys.exit(130)
