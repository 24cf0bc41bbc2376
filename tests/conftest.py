"""For every test: the asynchronous ones run on asyncio, which is what the host runs on."""

import pytest


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
