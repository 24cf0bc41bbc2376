"""Real control groups of a real systemd, or a skip that says what is not here."""

from pathlib import Path

import pytest

from tests.support.systemd import why_not


@pytest.fixture(autouse=True, scope="session")
def _real() -> None:
    if reason := why_not():
        pytest.skip(reason)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir(mode=0o700)
    return tmp_path
