"""For every test: the asynchronous ones run on asyncio, unless a test or its folder says otherwise.

What hosts remember of plugins is each test's own.
"""

import gc
import importlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# Where a shell forbids it, each process of a test compiles outboard anew, and each worker all tests.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        # Begun in the background of a shell, or by nohup: what a test starts would inherit that.
        signal.signal(number, usual)

if os.environ.get("OUTBOARD__HOST__WARM_START") == "true":  # a daemon takes it from there by itself
    from host import BlockingHost, Host

    for each in (Host, BlockingHost):
        assert each.__init__.__kwdefaults__ is not None
        each.__init__.__kwdefaults__["warm_start"] = True


def pytest_collection_finish() -> None:
    """Seven thousand tests are not looked through again with each collection of garbage."""
    importlib.import_module("hypothesis")  # as its plugin does later; it asks who refers to whom
    gc.collect()
    gc.freeze()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True, scope="session")
def _caches_of_shared_hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A host that the tests of a file share is made before the cache of any of them."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("caches")))
        yield


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No host knows from an earlier test, or an earlier day, what a plugin provides."""
    cache = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    return cache
