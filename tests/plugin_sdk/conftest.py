"""`serve`: writes a plugin's source into a folder of its own and starts it."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.raw_host import RawHost

Launch = Callable[..., RawHost]

PREAMBLE = """\
import ctypes, logging, os, subprocess, sys, threading, time
from typing import Any, Optional
import msgspec
from plugin_sdk import AsyncContext, Context, NotReady, Plugin, PluginError
plugin = Plugin({options})
"""


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launch]:
    """Starts a plugin whose main.py is `source`, after a preamble that imports and makes `plugin`."""
    with ExitStack() as stack:

        def start(source: str, *, options: str = "", preamble: str = PREAMBLE, **more: object) -> RawHost:
            text = preamble.replace("{options}", options) + textwrap.dedent(source)
            (tmp_path / "main.py").write_text(text, encoding="utf-8")
            return stack.enter_context(RawHost(tmp_path, **more))  # type: ignore[arg-type]

        yield start


@pytest.fixture
def serve(launch: Launch) -> Launch:
    """The same, and the handshake is done."""

    def start(source: str, **more: object) -> RawHost:
        return launch(source, **more).begin()

    return start
