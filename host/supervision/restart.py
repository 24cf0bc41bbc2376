"""When a plugin that crashed is started again, or that it is not. Pure: times come in, a decision goes out.

The window is Erlang's: a list of restart times, of which those inside `period_s` count, whatever the
backoff does. So a plugin that crashes every 20 s for ever ends in quarantine although its backoff is
reset in between.
"""

from __future__ import annotations

import msgspec

from host.config.effective import PluginPolicy, backoff_delay_s

JITTER = 0.2
MIN_HEALTHY_S = 60.0
MAX_PROBATION_S = 5.0


class History(msgspec.Struct, frozen=True, kw_only=True):
    """What restarts have been so far. Lives outside the process it is about."""

    restarts: tuple[float, ...] = ()
    """When; only as many as can matter."""
    streak: int = 0
    """Crashes in a row, for the backoff."""
    last_delay_s: float = 0.0


class Again(msgspec.Struct, frozen=True):
    """Start again after `delay_s`."""

    delay_s: float
    history: History


class TooMany(msgspec.Struct, frozen=True):
    """More restarts than `intensity` in `period_s`: no more."""

    count: int
    span_s: float


def after_crash(
    history: History, policy: PluginPolicy, *, now: float, up_s: float, luck: float
) -> Again | TooMany:
    """What to do after a crash at `now`, `up_s` after it was running (0 if it never was).

    `luck`, from 0 to 1, spreads the delays of plugins that crash together.
    """
    recent = tuple(at for at in history.restarts if now - at < policy.period_s)
    if len(recent) >= policy.intensity:
        return TooMany(len(recent), now - recent[0])
    healthy = up_s >= max(MIN_HEALTHY_S, 2 * history.last_delay_s)
    streak = 0 if healthy else history.streak
    delay = backoff_delay_s(policy, streak) * (1 - JITTER + 2 * JITTER * luck)
    return Again(delay, History(restarts=(*recent, now + delay), streak=streak + 1, last_delay_s=delay))


def probation_s(history: History, *, is_probe: bool) -> float:
    """How long a start has to stay up before it counts as running: a second for each crash in a row.

    So a plugin that starts and dies, again and again, is not called running in between. The idea is
    supervisord's `startsecs`, a constant, to which a plugin that dies a little later is invisible.
    """
    return MIN_HEALTHY_S if is_probe else min(MAX_PROBATION_S, float(history.streak))


def probe_delay_s(policy: PluginPolicy, probes: int) -> float:
    """How long a quarantined plugin is left alone after so many probes: 10 min, doubling to 6 h."""
    return float(min(policy.probe_max_s, policy.probe_min_s * 2.0 ** min(probes, 64)))
