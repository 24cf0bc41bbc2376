"""What `outboard` and `python FILE` are in a shell of the tests: it has them forked (forks.py), and ends
as they do. Imports what costs nothing to import. If it is killed, so is the fork.
"""

import _signal
import _socket
import marshal
import os
import sys

name, *words = [os.path.basename(sys.argv[0]), *sys.argv[1:]]
if name == "python" and (not words or words[0].startswith("-")):
    os.execv(sys.executable, [sys.executable, *words])
control = _socket.socket(fileno=int(os.environ.pop("OUTBOARD_FORKS")))
ours, theirs = _socket.socketpair()
given = b"".join(fd.to_bytes(4, sys.byteorder) for fd in (0, 1, 2, theirs.fileno()))
control.sendmsg([b"\0"], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, given)])
theirs.close()
request = marshal.dumps(([name, *words], dict(os.environ), os.getcwd(), False))
ours.sendall(len(request).to_bytes(4, "big") + request)


def hear() -> int:
    data = ours.recv(4)
    if len(data) < 4:
        os._exit(70)  # the process that forks has let go: a failure, and never a 0
    return int.from_bytes(data, "big", signed=True)


pid = hear()
for number in (_signal.SIGHUP, _signal.SIGINT, _signal.SIGTERM):
    _signal.signal(number, lambda number, _: os.kill(pid, number))
status = hear()
if status < 0:
    _signal.signal(-status, _signal.SIG_DFL)
    os.kill(os.getpid(), -status)
os._exit(status)
