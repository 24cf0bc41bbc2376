"""For every test: the asynchronous ones run on asyncio, unless a test or its folder says otherwise."""

import pytest


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
