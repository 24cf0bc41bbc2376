# /// script
# [tool.outboard]
# name = "mail"
# version = "1.0.0"
# description = "Mail, as programs save it: .eml."
# [tool.outboard.start]
# mode = "lazy"
# idle_stop = "5m"
# [tool.outboard.limits]
# memory = "256MiB"
# processes = 2
# ///
"""Accepts mail, and unwraps it: headers, and the body that is best to read."""

from __future__ import annotations

from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path

from plugin_sdk import Context, Plugin
from sample_plugins.mailroom.letters import Document, Letter

HEADERS = ("From", "To", "Date")

plugin = Plugin()


@plugin.hook("document.accept", when={"letter.name": {"glob": "*.eml"}}, idempotent=True)
def accept(letter: Letter) -> str | None:
    mail = message_from_bytes(Path(letter.path).read_bytes(), policy=default)
    return "message/rfc822" if mail["From"] or mail["Subject"] else None


@plugin.hook(
    "document.extract",
    before=["web", "tidy"],  # the body may be a web page, which is for somebody else to strip
    when={"document.media": "message/rfc822"},
    idempotent=True,
)
def unwrap(document: Document, ctx: Context) -> Document:
    mail = message_from_bytes(Path(document.path).read_bytes(), policy=default)
    document.headers = {name.lower(): str(mail[name]) for name in HEADERS if mail[name]}
    document.title = str(mail["Subject"] or "")
    body = mail.get_body(("plain", "html"))
    document.media, document.text = "text/plain", ""
    if isinstance(body, EmailMessage):
        document.media, document.text = body.get_content_type(), body.get_content()
    for attachment in mail.iter_attachments():
        ctx.log.info("%s: %s stays in the envelope", document.name, attachment.get_filename() or "something")
    return document


if __name__ == "__main__":
    plugin.run()
