"""`sample`: starts one of the plugins that ship with the project, as its manifest says."""

from __future__ import annotations

import shutil
import sys
import tomllib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

import sample_plugins
from tests.support.raw_host import SDK, RawHost

SAMPLES = Path(next(iter(sample_plugins.__path__)))
Start = Callable[..., RawHost]


@pytest.fixture
def sample(tmp_path: Path) -> Iterator[Start]:
    """Takes a name, and arguments for the command behind those of the manifest."""
    with ExitStack() as stack:

        def start(name: str, *arguments: str, command: list[str] | None = None) -> RawHost:
            run = tomllib.loads((SAMPLES / name / "plugin.toml").read_text())["run"]
            if command is None and "python" in run:
                command = [*SDK, run["python"]]
            elif command is None:
                program = (
                    sys.executable if run["command"][0] == "python3" else shutil.which(run["command"][0])
                )
                if program is None:
                    pytest.skip(f"{run['command'][0]} is not installed")
                command = [program, *run["command"][1:]]
            return stack.enter_context(
                RawHost(SAMPLES / name, command=[*command, *arguments], log_folder=tmp_path)
            )

        yield start
