"""How many examples a property is tried on: all of them where the machine is the test's own.

Each run draws others, so a third of them in everyday tests finds over three days what all find in one.
"""

from __future__ import annotations

import os

from hypothesis import settings


def examples(number: int) -> settings:
    """`number` under `make test-chaos`, a third of it otherwise; either takes as long as it takes."""
    is_strict = os.environ.get("OUTBOARD_STRICT") == "1"
    return settings(max_examples=number if is_strict else -(-number // 3), deadline=None)
