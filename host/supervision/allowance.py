"""What one process tree may use, and what it was seen to use: concerns are posted, a breach is for ever."""

from __future__ import annotations

from collections.abc import Callable

from host.config.effective import PluginPolicy
from host.process.usage import Bounds, Usage
from host.supervision.life_events import Concern, Eased, LifeEvent
from host.supervision.limits import Breach, Watches, judge


class Allowance:
    """Of the generation of that number. `now` is the host's clock."""

    def __init__(
        self,
        generation: int,
        policy: PluginPolicy,
        post: Callable[[LifeEvent], None],
        now: Callable[[], float],
    ) -> None:
        self._group: str | None = None
        self.change(policy)
        self.usage: Usage | None = None
        """At the last look."""
        self.breach: Breach | None = None
        """The limit that was reached, and has to be paid for."""
        self._generation = generation
        self._post = post
        self._now = now
        self._watches: Watches = {}

    def change(self, policy: PluginPolicy) -> None:
        """What holds from the next look on."""
        self._policy = policy
        self.bounds = Bounds(policy.memory_bytes, policy.processes, policy.threads, self._group)

    def count_in(self, group: str) -> None:
        """The control group, by its folder, in which the kernel counts its memory."""
        self._group = group
        self.change(self._policy)

    @property
    def is_watched(self) -> bool:
        """Whether a look that shows nothing new may mean something nevertheless: time passes."""
        return bool(self._watches)

    def note(self, usage: Usage) -> None:
        """Takes a look at it, and posts what follows; after it there may be a breach."""
        self.usage = usage
        judged = judge(self._policy, usage, self._watches, self._now())
        self._watches = judged.watches
        for name, text in judged.concerns.items():
            self._post(Concern(self._generation, name, text))
        for name in judged.eased:
            self._post(Eased(self._generation, name))
        self.breach = judged.breach
