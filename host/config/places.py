"""Where the user's own files are, by the rules of XDG."""

from __future__ import annotations

import os
from urllib.parse import quote


def default_plugin_folder() -> str:
    return os.path.join(_base("XDG_DATA_HOME", ".local/share"), "outboard", "plugins")


def default_log_file() -> str:
    return os.path.join(_base("XDG_STATE_HOME", ".local/state"), "outboard", "log", "outboard.jsonl")


def default_state_file(socket: str) -> str:
    """What outlives a daemon, of each socket's own: two daemons of one user are not one."""
    name = quote(os.path.abspath(socket), safe="")[-200:]
    return os.path.join(_base("XDG_STATE_HOME", ".local/state"), "outboard", f"plugins-{name}.json")


def _base(variable: str, otherwise: str) -> str:
    return os.environ.get(variable) or os.path.join(os.path.expanduser("~"), otherwise)
