"""`outboard test`."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import click

from host.cli.output import json_option, print_json
from host.discovery.validate import Candidate, load_manifest
from host.errors import ManifestError

HAS_PYTEST = "import importlib.util, sys; sys.exit(importlib.util.find_spec('pytest') is None)"
PATTERNS = ("test_*.py", "*_test.py", "tests/test_*.py", "tests/*_test.py")
LOOK_S = 30.0


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("path", type=click.Path(exists=True))
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[-- ARGUMENTS]...")
@json_option
def test(path: str, arguments: tuple[str, ...], as_json: bool) -> None:
    """Run the tests of the plugin at PATH, on the Python that the plugin runs on.

    With pytest if that Python has it, else with unittest; ARGUMENTS are handed on to whichever it is. The
    tests are files called `test_*.py` beside the plugin, or in its folder `tests`. They run in the plugin's
    folder, and find its modules and `plugin_sdk.testing` by name.

    Exits with what the test runner says.
    """
    candidate = load_manifest(Path(path))
    if isinstance(candidate, list):
        raise ManifestError(candidate)
    python = sys.executable
    if candidate.manifest.run.dependencies:
        import anyio

        from host.authoring.interpreter import python_with

        python = anyio.run(python_with, candidate, lambda text: click.echo(f"{text} ...", err=True))
    runner = "pytest" if _has_pytest(python) else "unittest"
    command = [python, "-m", runner, *_what(candidate, runner, arguments)]
    if as_json:
        done = subprocess.run(command, cwd=candidate.folder, stdout=sys.stderr.fileno())
        print_json(
            {"ok": done.returncode == 0, "exit_code": done.returncode, "runner": runner, "python": python}
        )
        sys.exit(done.returncode)
    os.chdir(candidate.folder)
    sys.stdout.flush()
    os.execv(python, command)


def _has_pytest(python: str) -> bool:
    if python == sys.executable:
        return find_spec("pytest") is not None
    return subprocess.run([python, "-c", HAS_PYTEST], timeout=LOOK_S).returncode == 0


def _what(candidate: Candidate, runner: str, arguments: tuple[str, ...]) -> list[str]:
    """What the runner is told to run. A one-file plugin has neighbours, whose tests are theirs."""
    folder = Path(candidate.folder)
    if candidate.single_file:
        stem = Path(candidate.file).stem
        found = [name for name in (f"test_{stem}.py", f"{stem}_test.py") if (folder / name).exists()]
    else:
        found = [
            str(path.relative_to(folder)) for pattern in PATTERNS for path in sorted(folder.glob(pattern))
        ]
    if not found and not arguments:
        raise click.ClickException(
            f"{candidate.name} has no tests: they are files called test_*.py beside it. "
            "`outboard new` begins with one."
        )
    return [*arguments, *found]
