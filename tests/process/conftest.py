"""The link and what is below it do the same on every loop."""

from typing import Any

import pytest

from tests.support.loops import LOOPS


@pytest.fixture(params=LOOPS.values(), ids=LOOPS.keys())
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param
