"""What an embedding program relies on holds on every loop that it may run on."""

from typing import Any

import pytest

from tests.support.loops import LOOPS


@pytest.fixture(params=LOOPS.values(), ids=LOOPS.keys())
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param
