"""What the peer does that is odd and harmless."""

from __future__ import annotations

import msgspec


class Counts(msgspec.Struct):
    """Harmless irregularities of the peer, counted for whoever looks after it."""

    late_replies: int = 0
    unknown_replies: int = 0
    bad_replies: int = 0
    bad_messages: int = 0
    unknown_cancels: int = 0
    stray_items: int = 0
    """Batches of streams that nobody waits for (any more)."""
    noise_bytes: int = 0
