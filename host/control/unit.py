"""The systemd unit of a daemon. Pure: options in, text out.

What is hardened is what no plugin needs: a plugin is somebody's program, and may want the network, a
home folder, or memory that is writable and executable (a just-in-time compiler).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

__all__ = ["Unit", "quoted", "unit_text"]

_SYSTEM_HEAD = """\
# outboard systemd --system | sudo tee /etc/systemd/system/outboard.service
# sudo useradd --system {account}     (if there is no such account yet)
# sudo systemctl daemon-reload
# sudo systemctl enable --now outboard
# Commands of that account, and of root:  export OUTBOARD_SOCKET=/run/outboard/control.sock
"""

_USER_HEAD = """\
# outboard systemd --user > ~/.config/systemd/user/outboard.service
# systemctl --user daemon-reload
# systemctl --user enable --now outboard
# loginctl enable-linger     (to have it run while you are not logged in)
"""

_SERVICE = """\
Type=notify
# With host.guardian it is not the main process that reports.
NotifyAccess=all
Restart=on-failure
# Not for a wrong configuration, nor if another daemon has the socket.
RestartPreventExitStatus=6 7
# A plugin may extend its start to 300 s. The end takes 12 s at most.
TimeoutStartSec=330
TimeoutStopSec=20
WatchdogSec=30
# The daemon ends its plugins itself. What is left then is killed.
KillMode=mixed
# So that limits of plugins can be control groups below the daemon's own. One that is killed for memory
# there is no reason to stop the others.
Delegate=yes
OOMPolicy=continue
RuntimeDirectory=outboard
RuntimeDirectoryMode=0700
NoNewPrivileges=yes
RestrictSUIDSGID=yes
LockPersonality=yes
"""

_SYSTEM = """\
StateDirectory=outboard
StateDirectoryMode=0700
LogsDirectory=outboard
LogsDirectoryMode=0700
CacheDirectory=outboard
CacheDirectoryMode=0700
ConfigurationDirectory=outboard
ProtectSystem=full
PrivateTmp=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectClock=yes
ProtectHostname=yes
RestrictRealtime=yes
"""


class Unit(msgspec.Struct, frozen=True, kw_only=True):
    command: Sequence[str]
    """The daemon's, with absolute paths."""
    reload: Sequence[str]
    """Has the daemon read everything again, and fails if that fails, which a signal could not."""
    environment: Mapping[str, str]
    account: str | None
    """Who runs it for the machine; None for a unit of a user's own, which keeps things where XDG says,
    so that commands in the user's shell find them."""


def unit_text(unit: Unit) -> str:
    """As it is to be written to `outboard.service`."""
    own = [f"ExecStart={_command(unit.command)}", f"ExecReload={_command(unit.reload)}"]
    own += [f"Environment={quoted(f'{name}={value}')}" for name, value in unit.environment.items()]
    is_system = unit.account is not None
    if is_system:
        own.append(f"User={unit.account}")
    return (
        (_SYSTEM_HEAD.format(account=unit.account) if is_system else _USER_HEAD)
        + "\n[Unit]\nDescription=Outboard plugin host\n"
        + ("After=network.target\n" if is_system else "")
        + "\n[Service]\n"
        + "\n".join(own)
        + "\n"
        + _SERVICE
        + (_SYSTEM if is_system else "")
        + f"\n[Install]\nWantedBy={'multi-user' if is_system else 'default'}.target\n"
    )


def _command(command: Sequence[str]) -> str:
    program, *words = command
    if not program.isprintable() or set(program) & set("\"'\\"):  # systemd wants it as an argument alone
        program, words = "/usr/bin/env", [program, *words]
    return " ".join([quoted(program), *(quoted(word, dollar="$$") for word in words)])


def quoted(word: str, *, dollar: str = "$") -> str:
    """One word, of which nothing means anything to systemd.

    `dollar` is how a `$` is written there: twice in arguments, where it would be a variable.
    """
    if word and not set(word) - _PLAIN:
        return word
    text = "".join(char if char.isprintable() else _bytes(char) for char in word.replace("\\", "\\\\"))
    return '"' + text.replace('"', '\\"').replace("%", "%%").replace("$", dollar) + '"'


_PLAIN = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-=:,+")


def _bytes(char: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in char.encode(errors="surrogateescape"))
