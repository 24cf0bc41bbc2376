"""Is it still there, and does it get anything done? Pings while a plugin runs, and a look at its numbers.

Any byte counts as life, so a busy plugin is not pinged at all. If our own tick came late by more than
an interval (the host was stopped, the machine slept), the round is skipped: the plugin had no chance.
"""

from __future__ import annotations

from collections.abc import Callable

import anyio

from host.config.effective import PluginPolicy
from host.observability.metrics import PluginStats
from host.process.driver import Driver
from host.process.link import Expired, Link, Lost
from host.supervision.life_events import LifeEvent
from host.supervision.verdict import Verdict
from host.supervision.vitals import Blocked, Reading, Vitals, look_again_s
from protocol.errors import Refused, RpcError
from protocol.lifecycle import Provides

LOOK_S = 1.0
PING = "lifecycle/ping"


class Pulse:
    """What the pings have shown so far."""

    def __init__(self) -> None:
        self.missed = 0
        """Of all pings, not in a row."""


async def is_alive(link: Link, driver: Driver) -> bool:
    """Whether there is still somebody behind a link: one who is slow to answer is."""
    try:
        await link.request(PING, {}, deadline=driver.now() + LOOK_S)
    except (Lost, Refused):
        return False
    except (Expired, RpcError):
        return True
    link.pongs += 1
    return True


async def wait_unresponsive(
    link: Link, driver: Driver, policy: Callable[[], PluginPolicy], pulse: Pulse
) -> str:
    """Returns the reason once the plugin has missed too many pings in a row; runs until then.

    A ping is due an interval after the last byte, and after the last ping: the wait for an answer counts. So
    a hang is found after 20 s at most, if a ping may take 5 s, and 3 may be missed, one each 5 s. `policy` is
    asked each round: it may change while the plugin runs.
    """
    missed = 0
    asked_at = driver.now()
    while True:
        terms = policy()
        due = max(link.heard_at, asked_at) + terms.ping_interval_s
        if (wait_s := due - driver.now()) > 0:
            await anyio.sleep(wait_s)
            now = driver.now()
            if now - due > terms.ping_interval_s:
                asked_at = now  # we were asleep, not the plugin
                continue
            if link.heard_at > asked_at:
                missed = 0
            if link.heard_at + terms.ping_interval_s > now:
                continue
        asked_at = driver.now()
        try:
            await link.request(PING, {}, deadline=asked_at + terms.ping_timeout_s)
            link.pongs += 1
            missed = 0
        except Expired:
            if driver.now() - asked_at > terms.ping_timeout_s + terms.ping_interval_s:
                continue  # asleep again
            missed += 1
            pulse.missed += 1
            if missed >= terms.ping_misses:
                silent = driver.now() - link.heard_at
                return f"unresponsive: {missed} pings unanswered, silent for {silent:.0f} s"
        except (RpcError, Refused):
            missed = 0  # not a good answer, but an answer
            link.pongs += 1
        except Lost:
            await anyio.sleep_forever()  # the process watcher has the better reason


async def wait_blocked(
    vitals: Vitals,
    read: Callable[[], Reading],
    post: Callable[[LifeEvent], None],
    driver: Driver,
    policy: Callable[[], PluginPolicy],
) -> str:
    """Posts what the numbers mean, and returns the reason once the plugin has to be killed for it."""
    while True:
        terms = policy()
        wait_s = look_again_s(terms)
        due = driver.now() + wait_s
        await anyio.sleep(wait_s)
        now = driver.now()
        if now - due > max(wait_s, terms.ping_interval_s):
            vitals.skip(now - due)  # we were asleep, not the plugin
            continue
        for finding in vitals.look(read(), policy(), now=now):
            if isinstance(finding, Blocked):
                return finding.reason
            post(finding)


async def wait_hung(
    link: Link,
    generation: int,
    provides: Provides,
    stats: PluginStats,
    post: Callable[[LifeEvent], None],
    driver: Driver,
    policy: Callable[[], PluginPolicy],
) -> Verdict:
    """Returns why it has to be killed: it does not answer, or gets nothing done. Runs until then."""
    hangs: list[Verdict] = []
    pulse = Pulse()

    def read() -> Reading:
        return reading(link, pulse, dropped=stats.dropped_records)

    vitals = Vitals(generation, provides.idempotent, read(), now=driver.now())
    async with anyio.create_task_group() as tasks:

        async def until_unresponsive() -> None:
            reason = await wait_unresponsive(link, driver, policy, pulse)
            hangs.append(Verdict(kind="unresponsive", text=reason))
            tasks.cancel_scope.cancel()

        async def until_blocked() -> None:
            reason = await wait_blocked(vitals, read, post, driver, policy)
            hangs.append(Verdict(kind="blocked", text=reason))
            tasks.cancel_scope.cancel()

        tasks.start_soon(until_unresponsive)
        tasks.start_soon(until_blocked)
    return hangs[0]


def reading(link: Link, pulse: Pulse, *, dropped: int) -> Reading:
    outgoing = link.session.outgoing
    calls = [call for call in outgoing.calls.values() if call.method != PING]
    plain = [call.method for call in calls if call.stream is None and call.up is None]
    return Reading(
        in_flight=plain,
        streams=len(calls) - len(plain),
        abandoned=[call.method for call in outgoing.abandoned.values() if call.method != PING],
        finished=link.replies - link.pongs + link.batches + link.session.counts.late_replies,
        missed_pings=pulse.missed,
        dropped=dropped,
    )
