"""Whatever is killed, no document is lost and none delivered twice."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.samples.mailroom_kills import under_fire


def survive(folder: Path, *, documents: int, app_kills: int) -> None:
    seed = random.SystemRandom().randrange(1 << 31)
    fire = under_fire(folder, documents=documents, seed=seed, app_kills=app_kills, every_s=0.2)
    told = "\n".join([f"seed {seed}", *fire.lines(), fire.said[-2000:]])
    print(told)
    assert fire.exit_code == 0, told
    assert fire.audit.documents == documents
    assert (fire.audit.lost, fire.audit.doubled, fire.left) == ([], [], []), told
    assert fire.plugin_kills.total() > 0
    assert f"{documents} documents: {documents} delivered" in fire.said


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_hundred_documents_arrive_once_while_plugins_and_the_mailroom_itself_are_killed(
    tmp_path: Path,
) -> None:
    survive(tmp_path, documents=100, app_kills=2)


@pytest.mark.chaos
@pytest.mark.timeout(1200)
def test_a_thousand_documents_arrive_once_while_plugins_and_the_mailroom_itself_are_killed(
    tmp_path: Path,
) -> None:
    survive(tmp_path, documents=1000, app_kills=10)
