"""`python -P -m plugin_sdk run main.py`: how the host starts a Python plugin."""

from __future__ import annotations

import sys

from plugin_sdk import boot, lean

if len(sys.argv) == 3 and sys.argv[1] == "run":
    lean.begin()
    sys.exit(boot.run(sys.argv[2]))
print("usage: python -P -m plugin_sdk run FILE.py | package.module", file=sys.stderr)
sys.exit(2)
