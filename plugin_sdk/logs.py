"""The author's standard `logging`, on its way to the host.

`logging` is a seventh of what it costs to start a plugin that never logs. So it is bridged when it is there:
at once if the author has imported it, else when anybody does.
"""

from __future__ import annotations

import sys
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import logging
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

    from plugin_sdk.channel import Channel


class Logs:
    """The logging of one plugin, whose name is the name of its logger."""

    def __init__(self, channel: Channel, name: str) -> None:
        self._channel = channel
        self._name = name
        self._level = "INFO"
        if "logging" in sys.modules:
            self._bridge()
        else:
            sys.meta_path.insert(0, _WhenImported("logging", self._bridge))

    @cached_property
    def logger(self) -> logging.Logger:
        """The plugin's own."""
        from logging import getLogger

        return getLogger(self._name or "plugin")

    def set_level(self, level: str) -> None:
        """Of the root logger, by a name of `logging`'s; another one changes nothing."""
        self._level = level
        if "logging" in sys.modules:
            self._apply_level()

    def _apply_level(self) -> None:
        import logging

        if self._level in logging.getLevelNamesMapping():
            logging.getLogger().setLevel(self._level)

    def _bridge(self) -> None:
        from logging import getLogger

        from plugin_sdk.log_handler import HostHandler

        getLogger().addHandler(HostHandler(self._channel))
        getLogger().setLevel("INFO")
        self._apply_level()


class _WhenImported:
    """Finds one module as it would be found without this, and calls `then` once it has been executed.

    As nobody else can use the module before, what it logs first is not lost.
    """

    def __init__(self, name: str, then: Any) -> None:
        self._name = name
        self._then = then

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != self._name:
            return None
        sys.meta_path.remove(self)
        for finder in sys.meta_path:
            spec = finder.find_spec(name, path, target)
            if spec is not None and spec.loader is not None:
                spec.loader = _Loader(spec.loader, self._then)  # type: ignore[assignment]  # as far as one is
                return spec
        return None


class _Loader:
    """The module's own loader, which is in its place again before the module's code runs."""

    def __init__(self, own: Any, then: Any) -> None:
        self._own = own
        self._then = then

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._own.create_module(spec)  # type: ignore[no-any-return]

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        module.__loader__ = module.__spec__.loader = self._own
        self._own.exec_module(module)
        self._then()
