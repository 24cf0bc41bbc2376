"""Whether a plugin's code is newer than its process.

Told from the files' change times, which a copy that keeps the old modification time cannot turn back,
and which need nothing to be remembered from the start. Only files that are code count: a plugin may
keep a database in its folder.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from host.discovery.validate import Candidate

CODE = (
    *(".py", ".js", ".mjs", ".cjs", ".ts", ".pl", ".pm", ".rb", ".lua", ".php", ".sh"),
    *(".so", ".jar", ".wasm"),
)
MAX_FILES = 2000
"""More than that of a plugin's files are not looked at."""
_NEVER_CODE = ("__pycache__", "node_modules", "site-packages")


def changed_since(candidate: Candidate, unix_time: float) -> str | None:
    """The first file of the plugin's code that changed after `unix_time`; None if none did. Never raises."""
    for path in code_files(candidate):
        try:
            if os.stat(path).st_ctime > unix_time:
                return os.path.relpath(path, candidate.folder)
        except OSError:
            continue  # it went away since it was listed
    return None


def code_files(candidate: Candidate) -> Iterator[str]:
    """Absolute paths of its code, at most `MAX_FILES`."""
    if candidate.single_file:
        yield candidate.file
        return
    command = candidate.manifest.run.command or []
    named = {os.path.normpath(os.path.join(candidate.folder, word)) for word in command if word}
    seen = 0
    for folder, folders, files in os.walk(candidate.folder):
        folders[:] = sorted(name for name in folders if name not in _NEVER_CODE and not name.startswith("."))
        for name in sorted(files):
            path = os.path.join(folder, name)
            if name.endswith(CODE) or path in named:
                seen += 1
                if seen > MAX_FILES:
                    return
                yield path
