"""`python -P -m plugin_sdk run main.py`: how the host starts a Python plugin.

`zygote` in place of `run …` is a process that such plugins are forked from: see `plugin_sdk/zygote.py`.
"""

from __future__ import annotations

import sys

from plugin_sdk import boot, lean

if sys.argv[1:2] == ["zygote"]:
    lean.begin()
    from plugin_sdk import zygote

    sys.argv[1:] = zygote.serve()  # in each plugin that it has forked
if len(sys.argv) == 3 and sys.argv[1] == "run":
    lean.begin()
    sys.exit(boot.run(sys.argv[2]))
print("usage: python -P -m plugin_sdk run FILE.py | package.module", file=sys.stderr)
sys.exit(2)
