# /// script
# [tool.outboard]
# name = "archive"
# version = "1.0.0"
# description = "Keeps the document itself, byte for byte."
# [tool.outboard.limits]
# memory = "256MiB"
# processes = 2
# ///
"""Delivers to a folder, like a maildir: a file is there as a whole, or not at all.

Twice is once: the file's name is made of the document's id, and putting it there again changes nothing.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from plugin_sdk import Context, Plugin
from sample_plugins.mailroom.letters import Parcel

plugin = Plugin()


@plugin.on_start
def sweep(ctx: Context) -> None:
    """Drafts that an earlier process was killed over."""
    for draft in Path(ctx.data_dir).glob(".*.draft"):
        draft.unlink()


@plugin.hook("document.deliver", when={"receipts.archive": None}, idempotent=True)
def deliver(parcel: Parcel, ctx: Context) -> str:
    document = parcel.document
    target = Path(ctx.data_dir, f"{document.id}-{Path(document.name).name}")
    if not target.exists():
        draft = target.with_name(f".{document.id}.draft")
        shutil.copyfile(document.path, draft)
        os.replace(draft, target)
    return target.name


if __name__ == "__main__":
    plugin.run()
