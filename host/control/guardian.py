"""A parent for the daemon, which ends what the daemon's plugins have left if the daemon is killed.

    guardian (the pid that was started)  ->  daemon  ->  plugins  ->  whatever they start

It is a subreaper above the daemon. So when the daemon is gone, everybody below it is a child of the
guardian, whatever session, group or environment they have made for themselves, and a child's pid is
nobody else's before its parent has reaped it. It hands signals on to the daemon and ends as the daemon
did. If it is itself killed, the daemon, which holds a pipe of its, takes everybody along.

Becomes small by exec (`python -I -S guardian.py`), so the top of this file imports what every Python has.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import NoReturn

HANDED_ON = {
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGABRT,
    signal.SIGUSR1,
    signal.SIGUSR2,
}
SWEEP_S = 2.0
PACE_S = 0.0005
_PR_SET_CHILD_SUBREAPER = 36


def is_possible() -> bool:
    """Whether this system has what it takes: subreapers, and a list of one's children."""
    return sys.platform == "linux" and os.path.exists(_children_file())


def stand_guard() -> None:
    """Returns in a new process, which is to be the daemon; the one that called has become its guardian.

    To be called before there are threads. Raises OSError if there can be no new process.
    """
    import ctypes

    # From now on a signal waits for the guardian, which hands it on.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, HANDED_ON | {signal.SIGCHLD})
    strangers = ",".join(map(str, _children()))
    alive, held = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    daemon = os.fork()
    if daemon == 0:
        os.close(held)
        os.setpgid(0, 0)  # Ctrl-C is for the guardian, which hands it on, and must not come twice
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        _end_with(alive)
        return
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    os.set_inheritable(held, True)
    words = [sys.executable, "-I", "-S", os.path.abspath(__file__), str(daemon), str(held), strangers]
    try:
        os.execv(sys.executable, words)
    finally:  # never without the one whose work it is
        os.kill(daemon, signal.SIGKILL)
        os._exit(1)


def _end_with(alive: int) -> None:
    """Has this process, and everybody below it, end when the other end of a pipe does."""
    from threading import Thread

    from host.process.adopted import kill_descendants

    def wait() -> None:
        os.read(alive, 1)  # on a thread, so that a loop that is stuck makes no difference
        kill_descendants()
        os._exit(128 + signal.SIGKILL)

    Thread(target=wait, name="guardian", daemon=True).start()


# -- the guardian ------------------------------------------------------------------------------------


def guard(daemon: int, strangers: set[int]) -> NoReturn:
    """Until the daemon has ended, and everybody below it."""
    ended = None
    while ended is None:
        came = signal.sigwaitinfo(HANDED_ON | {signal.SIGCHLD})
        if came.si_signo == signal.SIGCHLD:
            ended = _reap(daemon)
        else:
            os.kill(daemon, came.si_signo)  # not reaped yet, so nobody else has its pid
    killed = _sweep(strangers | {daemon})
    if killed:
        _say(f"the daemon is gone; killed what its plugins had left: {len(killed)}")
    if ended.si_code == os.CLD_EXITED:
        os._exit(ended.si_status)
    _end_by(ended.si_status)


def _reap(daemon: int) -> os.waitid_result | None:
    """Whoever has ended, but for the daemon; how it ended, if it has."""
    while (dead := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
        if dead.si_pid == daemon:
            return dead
        os.waitid(os.P_PID, dead.si_pid, os.WEXITED | os.WNOHANG)
    return None


def _sweep(spared: set[int]) -> set[int]:
    """Kills children until there are none: whoever was below one of them is a child next."""
    killed: set[int] = set()
    ends_at = time.monotonic() + SWEEP_S
    while left := [pid for pid in _children() if pid not in spared]:
        if time.monotonic() > ends_at:
            _say(f"cannot end what plugins had left: pid {', '.join(map(str, left[:20]))}")
            break
        for pid in left:
            dead = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG)
            if dead is None:
                killed.add(pid)
                os.kill(pid, signal.SIGKILL)
        time.sleep(PACE_S)
    return killed


def _children_file() -> str:
    return f"/proc/self/task/{os.getpid()}/children"


def _children() -> list[int]:
    with open(_children_file()) as listed:
        return [int(pid) for pid in listed.read().split()]


def _say(text: str) -> None:
    try:
        os.write(2, f"outboard: {text}\n".encode())
    except OSError:
        pass


def _end_by(number: int) -> NoReturn:
    """As the daemon did, so that whoever waits for us sees what there was to see."""
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # there is nothing in ours to look at
    if number not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    os.kill(os.getpid(), number)
    os._exit(128 + number)  # pid 1 of a container is spared by its own signals


if __name__ == "__main__":
    _, pid, _held, before_us = sys.argv
    guard(int(pid), {int(each) for each in before_us.split(",") if each})
