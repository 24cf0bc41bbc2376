"""What an embedder's type checker sees of `host`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest
from mypy import api

import host

Check = Callable[[Path], tuple[str, str, int]]


@pytest.fixture(scope="module")
def check(tmp_path_factory: pytest.TempPathFactory) -> Check:
    """mypy, strictly: what it says, what went wrong, its exit code. It reads outboard once."""
    cache = tmp_path_factory.mktemp("mypy")
    return lambda app: api.run(["--strict", "--no-error-summary", "--cache-dir", str(cache), str(app)])


def test_every_public_name_is_there_and_no_other(tmp_path: Path, check: Check) -> None:
    app = tmp_path / "app.py"
    app.write_text("\n".join(["import host", *(f"host.{name}" for name in host.__all__), "host.Nonsense"]))
    said, wrong, _ = check(app)
    assert wrong == ""
    assert [line.split("error: ")[1] for line in said.splitlines()] == [
        'Module has no attribute "Nonsense"  [attr-defined]'
    ]


APP = """
from host import Cause, Host, HostEvent, HostStatus, Plan, PluginStatus, StateChanged, Status, Why


def note(event: HostEvent) -> None:
    if isinstance(event, StateChanged):
        cause: Cause | None = event.cause
        print(event.plugin, event.state, cause)


async def look(host: Host) -> list[str]:
    host.on_event(note)
    status: Status = host.status()
    about: HostStatus = status.host
    plugins: list[PluginStatus] = status.plugins
    why: Why = host.why(plugins[0].name)
    plan: Plan = await host.reload()
    return [about.version, why.state, *plan.added]
"""


def test_what_a_host_returns_and_tells_can_be_typed_strictly(tmp_path: Path, check: Check) -> None:
    app = tmp_path / "app.py"
    app.write_text(APP)
    assert check(app) == ("", "", 0)


def test_every_event_that_a_host_tells_is_public() -> None:
    assert {event.__name__ for event in get_args(host.HostEvent)} <= set(host.__all__)


def test_every_public_name_can_be_had() -> None:
    assert all(getattr(host, name) is not None for name in host.__all__)
