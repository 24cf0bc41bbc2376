"""The first lines of a process that is ours alone, a plugin's or a command's: imports that cost less.

Nothing is done by importing this. What an author's code sees of Python afterwards is as it always is.
"""

from __future__ import annotations

import gc
import sys

_UNUSED = "typing_extensions"


def begin() -> None:
    """Before anything else is imported, and while there is one thread.

    msgspec imports `typing_extensions` where it is installed, and with it `inspect`: a fifth of a plugin's
    start, for three names that Python has had itself since 3.11, and which are the same objects. A None in
    `sys.modules` is Python's own word for a module that is not there, which msgspec is fit for. Whoever
    imports `typing_extensions` afterwards gets it.

    What modules are made of is no garbage, so until `settle` nobody looks for any.
    """
    gc.disable()
    if "msgspec" in sys.modules or _UNUSED in sys.modules:
        return
    sys.modules[_UNUSED] = None  # type: ignore[assignment]
    try:
        import msgspec  # noqa: F401
    finally:
        del sys.modules[_UNUSED]


def settle() -> None:
    """Once the imports are done: garbage is collected again, and what there is so far is not looked at."""
    if gc.isenabled():  # nobody has begun
        return
    gc.freeze()
    gc.enable()
