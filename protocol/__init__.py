"""Outboard's wire protocol without any I/O: framing, messages, tables, and the session of both sides.

Rooms, from the ground up: `errors`, `guard`, `framing` (bytes to frames), `envelope` (frames to
messages), `lifecycle` and `methods` (what the messages mean), `phases`, `pending`, `outbox`, `events`,
`writing` (messages to bytes), `stream_table`, `speaking` (what one end says), `session` (that, and what it
hears). `manifest` and `contract` describe plugins. Nothing here reads a clock, logs or awaits.
"""

__version__ = "0.1.0"

OUTBOARD_PROTOCOL = True
"""Tells this package from another one that happens to be called `protocol`."""
