"""Eighty steps of the random walk; `make test-chaos` goes ten thousand."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.faulty.walk import FAULTS, faults_of, plan, walk


@pytest.mark.anyio
@pytest.mark.timeout(180)
async def test_a_random_walk_over_faults_costs_the_sibling_no_call_and_leaves_nothing(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(1 << 31)
    print(f"seed {seed}")  # also in every failure
    summary = await walk(seed, 80, tmp_path, print)
    assert summary.faults == 80
    assert summary.sibling_failures == summary.leaked_processes == 0
    assert summary.sibling_calls > 200
    assert summary.restarts > 20


def test_a_seed_is_a_walk() -> None:
    names = ["raw", "serial"]
    assert plan(1, 500, names) == plan(1, 500, names)
    assert plan(1, 500, names) != plan(2, 500, names)
    steps = [step for together in plan(3, 2000, names) for step in together]
    assert len(steps) == 2000
    assert {step.fault for step in steps} == {*faults_of("raw"), *faults_of("serial")} == set(FAULTS)
