"""Whether a control group (cgroup v2) is ours to divide: what the kernel shows, and what the manager says.

Detected, and never assumed: being able to write is no permission. Root can write everywhere, and a user in
every unit of the user's own manager. A group is ours if it is the root of our own namespace (a
container's), or if the service manager has delegated it (`Delegate=yes`): the system's marks it as such;
that of a user marks nothing before systemd 254, and is asked.
"""

from __future__ import annotations

import os
import re
import subprocess
from functools import cache

MOUNT = "/sys/fs/cgroup"
OWN = "/proc/self/cgroup"
ASK_S = 2.0
_GROUP = re.compile(r"^0::(/.*)$", re.MULTILINE)
_UNIT = re.compile(r".+\.(?:service|scope)$")
_OF_A_USER = re.compile(r"/user@\d+\.service/")


class NotDelegated(Exception):
    """There are no control groups for us. The text says why."""


def delegated(*, mount: str = MOUNT, own: str = OWN) -> tuple[str, bool]:
    """The group that is ours to divide, and whether this process is in a leaf below it already.

    Blocks for the 10 ms of a `systemctl` if only the manager knows. Raises NotDelegated.
    """
    try:
        with open(own) as file:
            found = _GROUP.search(file.read(65536))
    except OSError as error:
        raise NotDelegated(f"{own}: {error.strerror}") from None
    if found is None:
        raise NotDelegated("this system has no cgroup v2")
    path = found.group(1)
    here = os.path.normpath(os.path.join(mount, path.lstrip("/")))
    if not os.path.exists(os.path.join(here, "cgroup.controllers")):
        raise NotDelegated(f"no cgroup v2 at {here}")
    above = os.path.dirname(here)
    if path != "/" and _is_ours(above, is_root=above == os.path.normpath(mount)):
        return above, True
    if _is_ours(here, is_root=path == "/"):
        return here, False
    raise NotDelegated(f"{here} is not delegated to this process")


def _is_ours(folder: str, *, is_root: bool) -> bool:
    if not os.access(folder, os.W_OK) or not os.access(os.path.join(folder, "cgroup.procs"), os.W_OK):
        return False
    # The root of the whole machine has no type; that of a namespace has, and is for who is in it.
    if is_root:
        return os.path.exists(os.path.join(folder, "cgroup.type"))
    for name in ("user.delegate", "trusted.delegate"):
        try:
            if os.getxattr(folder, name) == b"1":
                return True
        except (AttributeError, OSError):
            pass
    return _manager_says_so(folder)


@cache
def _manager_says_so(folder: str) -> bool:
    """Asked only about a unit, and where its mark could be missing though it is delegated."""
    unit = os.path.basename(folder)
    of_a_user = _OF_A_USER.search(folder) is not None
    if _UNIT.match(unit) is None or (os.geteuid() == 0 and not of_a_user):
        return False
    words = ["systemctl", *(["--user"] if of_a_user else []), "show", "--property=Delegate", "--value"]
    try:
        said = subprocess.run(
            [*words, "--", unit],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=ASK_S,
            env={"XDG_RUNTIME_DIR": f"/run/user/{os.geteuid()}"} | os.environ,
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return said.stdout.strip() == b"yes"
