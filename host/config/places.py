"""Where a host keeps what: one module that owns all places. Pure: environment in, paths out.

First what a person says (`--socket`, which is the caller's, then OUTBOARD_SOCKET), then the folders that a
service manager made, then XDG, then what is left. Imports nothing that a command would have to wait for.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

import msgspec

__all__ = ["Places", "default_socket", "log_file", "overrides_file", "places", "state_file", "user_places"]


class Places(msgspec.Struct, frozen=True, kw_only=True):
    """Folders, and the one socket. Nothing in here need exist."""

    socket: str
    plugins: str
    """Those that are installed: looked through by every daemon, after the folders that it is told of."""
    data: str
    """Each plugin has a folder of its own in it."""
    state: str
    logs: str
    cache: str
    configuration: str


def user_places(environ: Mapping[str, str], uid: int) -> Places:
    """By the XDG base directory specification, which has us ignore relative paths."""
    runtime = _absolute(environ, "XDG_RUNTIME_DIR") or f"/tmp/outboard-{uid}"
    home = _absolute(environ, "HOME") or _home_of(uid) or f"/tmp/outboard-{uid}"

    def base(name: str, *default: str) -> str:
        return os.path.join(_absolute(environ, name) or os.path.join(home, *default), "outboard")

    data, state = base("XDG_DATA_HOME", ".local", "share"), base("XDG_STATE_HOME", ".local", "state")
    return Places(
        socket=os.path.join(runtime, "outboard", "control.sock"),
        plugins=os.path.join(data, "plugins"),
        data=os.path.join(data, "data"),
        state=state,
        logs=os.path.join(state, "log"),
        cache=base("XDG_CACHE_HOME", ".cache"),
        configuration=base("XDG_CONFIG_HOME", ".config"),
    )


def places(environ: Mapping[str, str], uid: int) -> Places:
    """Of a daemon: the folders that a service manager made for it go before the user's own.

    systemd may name several in one variable, with colons between; the first is ours.
    """
    own = user_places(environ, uid)
    runtime, state = _given(environ, "RUNTIME_DIRECTORY"), _given(environ, "STATE_DIRECTORY")
    return Places(
        socket=environ.get("OUTBOARD_SOCKET")
        or (os.path.join(runtime, "control.sock") if runtime else own.socket),
        plugins=os.path.join(state, "plugins") if state else own.plugins,
        data=os.path.join(state, "data") if state else own.data,
        state=state or own.state,
        logs=_given(environ, "LOGS_DIRECTORY") or (os.path.join(state, "log") if state else own.logs),
        cache=_given(environ, "CACHE_DIRECTORY") or own.cache,
        configuration=_given(environ, "CONFIGURATION_DIRECTORY") or own.configuration,
    )


def default_socket() -> str:
    """Where the daemon of this user listens, unless told otherwise."""
    return places(os.environ, os.getuid()).socket


def log_file(environ: Mapping[str, str], uid: int, socket: str) -> str:
    """Of the daemon at `socket`: no two daemons of a user write to one."""
    suffix = _suffix(environ, uid, socket)
    return os.path.join(places(environ, uid).logs, f"outboard{suffix}.jsonl")


def state_file(environ: Mapping[str, str], uid: int, socket: str) -> str:
    """What outlives the daemon at `socket`, its own as the log file is."""
    return os.path.join(places(environ, uid).state, f"plugins{_suffix(environ, uid, socket)}.json")


def overrides_file(environ: Mapping[str, str], uid: int, socket: str) -> str:
    """What `config set` and plugins have changed under the daemon at `socket`."""
    return os.path.join(places(environ, uid).state, f"overrides{_suffix(environ, uid, socket)}.toml")


def _suffix(environ: Mapping[str, str], uid: int, socket: str) -> str:
    """Nothing for the usual socket; for another its name, and a number made from its whole path.

    The number is last so that no name is the beginning of another: the rotated files of one daemon are
    found, and removed, by how their names begin.
    """
    usual = places({name: value for name, value in environ.items() if name != "OUTBOARD_SOCKET"}, uid).socket
    path = os.path.abspath(socket)
    if path == usual:
        return ""
    import hashlib  # for the daemon, and for whoever looks for its files

    number = hashlib.blake2s(os.fsencode(path), digest_size=4).hexdigest()
    return f"-{os.path.basename(path).split('.')[0][:64] or 'socket'}-{number}"


def _absolute(environ: Mapping[str, str], name: str) -> str | None:
    value = environ.get(name, "")
    return value if os.path.isabs(value) else None


def _given(environ: Mapping[str, str], name: str) -> str | None:
    first = environ.get(name, "").split(":")[0]
    return first if os.path.isabs(first) else None


def _home_of(uid: int) -> str | None:
    import pwd  # in a container there may be no such user

    try:
        return pwd.getpwuid(uid).pw_dir
    except KeyError:
        return None
