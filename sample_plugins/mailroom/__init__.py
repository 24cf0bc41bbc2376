"""An application that embeds a host: a folder of documents is accepted, extracted, enriched and delivered.

    python -m sample_plugins.mailroom INBOX OUTBOX

Whatever is killed, one of the plugins or the mailroom itself, no document is lost and none delivered twice.
docs/mailroom.md walks through it.
"""
