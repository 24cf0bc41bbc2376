"""`Plugin`: what an author makes one of. Declares, like its base, and can be run."""

from __future__ import annotations

from plugin_sdk import boot
from plugin_sdk.declarations import Declarations


class Plugin(Declarations):
    """A plugin: declare with its decorators, and serve a host with `run`."""

    def run(self) -> None:
        """Serves the host until it says goodbye. For `if __name__ == "__main__": plugin.run()`."""
        raise SystemExit(boot.serve(lambda: self))
