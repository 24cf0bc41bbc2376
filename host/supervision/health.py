"""Is it still there? Pings while a plugin runs, and says so when it has gone silent.

Any byte counts as life, so a busy plugin is not pinged at all. If our own tick came late by more than
an interval (the host was stopped, the machine slept), the round is skipped: the plugin had no chance.
"""

from __future__ import annotations

from collections.abc import Callable

import anyio

from host.config.effective import PluginPolicy
from host.process.driver import Driver
from host.process.link import Expired, Link, Lost
from protocol.errors import Refused, RpcError

LOOK_S = 1.0


async def is_alive(link: Link, driver: Driver) -> bool:
    """Whether there is still somebody behind a link: one who is slow to answer is."""
    try:
        await link.request("lifecycle/ping", {}, deadline=driver.now() + LOOK_S)
    except (Lost, Refused):
        return False
    except (Expired, RpcError):
        return True
    return True


async def wait_unresponsive(link: Link, driver: Driver, policy: Callable[[], PluginPolicy]) -> str:
    """Returns the reason once the plugin has missed too many pings in a row; runs until then.

    `policy` is asked each round: it may change while the plugin runs.
    """
    missed = 0
    while True:
        terms = policy()
        due = driver.now() + terms.ping_interval_s
        await anyio.sleep(terms.ping_interval_s)
        now = driver.now()
        if now - due > terms.ping_interval_s:
            continue  # we were asleep, not the plugin
        if now - link.heard_at < terms.ping_interval_s:
            missed = 0
            continue
        try:
            await link.request("lifecycle/ping", {}, deadline=now + terms.ping_timeout_s)
            missed = 0
        except Expired:
            missed += 1
            if missed >= terms.ping_misses:
                silent = driver.now() - link.heard_at
                return f"unresponsive: {missed} pings unanswered, silent for {silent:.0f} s"
        except (RpcError, Refused):
            missed = 0  # not a good answer, but an answer
        except Lost:
            await anyio.sleep_forever()  # the process watcher has the better reason
