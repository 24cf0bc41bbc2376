"""The process that plugins are forked from: it has the SDK imported, and does nothing else.

    host  --- Order, and the plugin's stdin, stdout and stderr --->  zygote
    host  <-------------------- Forked ----------------------------  zygote

It stays without threads, imports none of an author's code, and holds no plugin's descriptor longer than the
fork takes: one that stayed open in a sibling would keep the host from seeing a plugin's end. What comes out
of `serve` is a plugin's process that goes on as if it had been executed with its own command, folder and
environment (`plugin_sdk/__main__.py`), as a child of the host (`forking.py`).

A forked process does nothing until the host has said its first word to it. Until then it is in the session of
the zygote and bears its mark, which is how the host knows it from somebody else's orphan.
"""

from __future__ import annotations

import gc
import os
import select
import site
import socket
import sys
import threading
import time
from typing import Annotated

import msgspec

from plugin_sdk import boot
from plugin_sdk.forking import CannotFork, Fork
from plugin_sdk.title import Title

MAX_ORDER = 1 << 17
READY = 0
"""The number of the first word, which answers no order."""


class Order(msgspec.Struct, frozen=True):
    """What is to be forked: which the host will know by `number`."""

    number: int
    name: str
    """For people who look at the table of processes."""
    argv: list[str]
    """As if it were executed; what follows `-m plugin_sdk` is for us."""
    folder: str
    environment: dict[str, str]


class Forked(msgspec.Struct, frozen=True):
    """The answer to the order of that number: a pid, or the number of an error and 0."""

    number: int
    pid: int
    errno: Annotated[int, msgspec.Meta(ge=0, le=4095)] = 0  # those that a kernel has


def serve(control_fd: int = 0) -> list[str]:
    """Forks what is ordered over `control_fd`, until the host has closed it; then the process ends.

    Returns in each process that was forked, as its plugin, with the arguments that it has to be run with.
    """
    boot.tie_to_host(os.environ["OUTBOARD_HOST_PID"])
    _import_all()
    decoder = msgspec.json.Decoder(Order)
    try:
        fork = Fork()
        fork.rehearse()
    except (CannotFork, OSError) as error:
        print(f"there can be no warm starts: {error}", file=sys.stderr)
        sys.exit(1)
    control = socket.socket(fileno=os.dup(control_fd))
    control.set_inheritable(False)
    title, mark = Title(), {"OUTBOARD_INSTANCE": os.environ["OUTBOARD_INSTANCE"]}
    zone = os.environ.get("TZ")
    os.environ.clear()
    title.show("outboard-zygote", "outboard: where Python plugins are forked", mark)
    gc.collect()  # the last: another would write to memory that all of them share; see `lean`
    gc.freeze()
    _answer(control, Forked(READY, os.getpid()))
    while True:
        data, fds, _, _ = socket.recv_fds(control, MAX_ORDER, 3, socket.MSG_CMSG_CLOEXEC)
        if not data:
            sys.exit(0)
        order = decoder.decode(data)
        try:
            pid = fork.beside()
        except OSError as error:
            _answer(control, Forked(order.number, 0, error.errno or 0))
        else:
            if pid == 0:
                control.close()
                _become(order, fds, title)
                if order.environment.get("TZ") != zone:
                    time.tzset()
                return order.argv[order.argv.index("plugin_sdk") + 1 :]
            _answer(control, Forked(order.number, pid))
        for fd in fds:
            os.close(fd)


def _answer(control: socket.socket, word: Forked) -> None:
    control.send(msgspec.json.encode(word))


def _import_all() -> None:
    """Whatever a plugin may need of us, that it need not be imported once for each; and what is made at its
    first use is made."""
    import faulthandler  # noqa: F401
    import resource  # noqa: F401

    from plugin_sdk import Plugin, load, log_handler, loop, runtime, stdio  # noqa: F401
    from protocol.events import Request
    from protocol.lifecycle import FEATURES, InitializeParams, InitializeResult, PluginInfo
    from protocol.session import Session

    plugin = Plugin()

    @plugin.method
    def rehearsal(text: str, number: int = 0) -> str:
        """A method as they are."""
        return text * number

    host, ours = Session("host"), Session("plugin")
    asked = {"protocol": [1], "plugin": {"name": "rehearsal"}, "features": list(FEATURES)}
    host.request("initialize", asked)
    for event in ours.receive(host.outbox.take(), 0.0):
        assert isinstance(event, Request)
        params = msgspec.json.decode(event.params, type=InitializeParams)
        info = PluginInfo(name=params.plugin.name, sdk="")
        ours.reply(event.id, InitializeResult(protocol=1, plugin=info, provides=plugin.provides()))
    host.receive(ours.outbox.take(), 0.0)


def _become(order: Order, fds: list[int], title: Title) -> None:
    """In the child. Nothing here may fail but for the folder, which the author may have moved away."""
    for number, fd in enumerate(fds):
        os.dup2(fd, number)
        os.close(fd)
    boot.tie_to_host(order.environment["OUTBOARD_HOST_PID"])
    select.select([0], [], [])  # the host's first word, or that it has let go
    os.setsid()
    threading.main_thread()._set_native_id()  # type: ignore[attr-defined]  # else the zygote's
    os.environ.update(order.environment)
    what = " ".join(order.argv[order.argv.index("plugin_sdk") :])
    title.show(order.name, f"outboard plugin {order.name}: {what}", order.environment)
    try:
        os.chdir(order.folder)
    except OSError as error:
        print(f"outboard: {order.folder}: {error.strerror}", file=sys.stderr)
        os._exit(126)
    if site.ENABLE_USER_SITE:  # of another HOME
        site.USER_BASE = site.USER_SITE = None
        site.addusersitepackages(set(sys.path))
    sys.orig_argv[:] = order.argv
