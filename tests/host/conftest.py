"""What an embedding program relies on holds on every loop that it may run on.

What a loop has a hand in runs on each of them. Of everything else a test runs on one, which its name draws;
on the others it is marked `chaos`, and runs with `make test-chaos`.
"""

import zlib
from collections.abc import Iterator
from typing import Any

import pytest
import sniffio

from tests.support.loops import LOOPS

_THE_LOOPS_OWN = {
    "test_blocking",
    "test_cancellation",
    "test_embedding_app",
    "test_host",
    "test_host_streams",
    "test_host_uploads",
    "test_misuse",
    "test_side_effects",
}


@pytest.fixture(params=LOOPS.values(), ids=LOOPS.keys(), scope="module")
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def no_loop() -> Iterator[None]:
    """For a test without a loop: the one that its file shares is named in this thread's context."""
    token = sniffio.current_async_library_cvar.set(None)
    yield
    sniffio.current_async_library_cvar.reset(token)


@pytest.hookimpl(tryfirst=True)  # before those with the mark are left out
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    loops = list(LOOPS)
    for item in items:
        is_here = isinstance(item, pytest.Function) and item.path.parent.name == "host"
        if not is_here or item.path.stem in _THE_LOOPS_OWN or not hasattr(item, "callspec"):
            continue
        params = item.callspec.params
        if "anyio_backend" in params:
            drawn = LOOPS[loops[zlib.crc32(item.originalname.encode()) % len(loops)]]
            if params["anyio_backend"] != drawn and "anyio_backend" not in _said_by(item):
                item.add_marker(pytest.mark.chaos)


def _said_by(item: pytest.Function) -> set[str]:
    """The names that a test's own `parametrize` marks decide about."""
    marks = item.iter_markers("parametrize")
    return {name.strip() for mark in marks for name in str(mark.args[0]).split(",")}
