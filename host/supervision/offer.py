"""What a plugin provides, as the host looks it up for every call."""

from __future__ import annotations

from host.contracts.held import Contract
from protocol.lifecycle import Provides

LONGEST_TIMEOUT_S = 86400.0


class Offer:
    def __init__(self, provides: Provides, contract: Contract) -> None:
        self.provides = provides
        self.contract = contract
        """What its methods are held to."""
        self.uploads = {info.name: next(iter(info.takes)) for info in provides.methods if info.takes}
        """Methods that take items, and the parameter that does."""
        self.idempotent = provides.idempotent - self.uploads.keys()
        """Methods that may be called twice, as they say; what goes with a call in items goes once."""
        self.streams = frozenset(info.name for info in provides.methods if info.stream)
        """Methods that answer in items."""
        self.in_items = self.streams | self.uploads.keys()
        self.timeouts = {
            info.name: info.timeout_s
            for info in provides.methods
            if info.timeout_s is not None and 0 < info.timeout_s <= LONGEST_TIMEOUT_S
        }
        """What its methods say they need, for callers who do not say; seconds."""

    def has_method(self, name: str) -> bool:
        return any(info.name == name for info in self.provides.methods)

    @property
    def names(self) -> list[str]:
        """What is counted by name: methods, and hooks as `hook/POINT`."""
        hooks = [f"hook/{info.point}" for info in self.provides.hooks]
        return [*(info.name for info in self.provides.methods), *hooks]
