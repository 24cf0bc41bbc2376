"""What a plugin provides, as the host looks it up for every call."""

from __future__ import annotations

from host.contracts.held import Contract, Held
from host.observability.metrics import CallStats, PluginStats
from protocol.lifecycle import Provides
from protocol.methods import belongs_to_protocol

LONGEST_TIMEOUT_S = 86400.0
DEFAULT_TIMEOUT_S = 30.0


class Offered:
    """One method, or one hook: everything that a call of it asks for, in one look."""

    __slots__ = ("held", "in_items", "is_own", "stats", "timeout_s")

    def __init__(
        self, held: Held, stats: CallStats, *, timeout_s: float, in_items: bool, is_own: bool
    ) -> None:
        self.held = held
        """What its params and its result are held to."""
        self.stats = stats
        self.timeout_s = timeout_s
        """For callers who do not say."""
        self.in_items = in_items
        """Whether it takes items, or answers in items."""
        self.is_own = is_own
        """Whether the name is one that a plugin's own method can have."""


class Offer:
    """Of one generation, and `stats` of them all."""

    def __init__(self, provides: Provides, contract: Contract, stats: PluginStats) -> None:
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
        self.methods = Methods(self, stats)

    def has_method(self, name: str) -> bool:
        return any(info.name == name for info in self.provides.methods)

    @property
    def names(self) -> list[str]:
        """What is counted by name: methods, and hooks as `hook/POINT`."""
        hooks = [f"hook/{info.point}" for info in self.provides.hooks]
        return [*(info.name for info in self.provides.methods), *hooks]


class Methods(dict[str, Offered]):
    """By name, for any name. Made when it is first asked for; kept for what the plugin has announced."""

    def __init__(self, offer: Offer, stats: PluginStats) -> None:
        super().__init__()
        self._offer = offer
        self._stats = stats
        self._kept = frozenset(offer.names)

    def __missing__(self, method: str) -> Offered:
        offer = self._offer
        offered = Offered(
            offer.contract[method],
            self._stats.of(method),
            timeout_s=offer.timeouts.get(method, DEFAULT_TIMEOUT_S),
            in_items=method in offer.in_items,
            is_own=not belongs_to_protocol(method),
        )
        if method in self._kept:
            self[method] = offered
        return offered
