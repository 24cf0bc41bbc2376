"""Runs a command in a leaf of the control group that was delegated to this process.

    systemd-run --user --scope -p Delegate=yes python -m tests.cgroup.aside COMMAND…

So what it starts, a pytest with hosts in it, finds the group above it free to be divided. With `--again`
first, the command is run once more after it was killed, in the same group.
"""

import subprocess
import sys

from host.process.cgroup import step_aside

if __name__ == "__main__":
    command = sys.argv[1:]
    again = command[0] == "--again"
    step_aside()
    code = subprocess.call(command[again:])
    if again and code < 0:
        code = subprocess.call(command[again:])
    sys.exit(code if code >= 0 else 128 - code)
