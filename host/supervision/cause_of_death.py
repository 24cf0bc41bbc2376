"""Why a process is gone, once it is: the limit that it broke, its own end, or what it said on the wire."""

from __future__ import annotations

from host.config.effective import PluginPolicy
from host.discovery.validate import Candidate
from host.process.diagnose import diagnose
from host.supervision.allowance import Allowance
from host.supervision.limits import Breach, killed_by_kernel
from host.supervision.plugin_process import PluginProcess
from host.supervision.verdict import Verdict, from_exit
from host.supervision.voice import Voice


def cause_of_death(
    process: PluginProcess,
    candidate: Candidate,
    policy: PluginPolicy,
    allowance: Allowance,
    voice: Voice,
    *,
    by_itself: bool,
    before: str,
) -> Verdict:
    """Of a process that was not asked to end. `before`: what it has ended without doing; "" if it served.

    `by_itself`: whether it had ended before it was killed.
    """
    if breach := _breach_of(process, policy, allowance):
        return Verdict(kind="limit", text=breach.text, fix=breach.fix)
    if by_itself and not voice.fault:
        exit = process.child.exit
        found = diagnose(
            exit,
            voice.masked(process.stderr_tail),
            before=before,
            runs_sdk=candidate.manifest.run.python is not None,
            oom_killed=process.was_oom_killed,
        )
        return from_exit(exit, found)
    return Verdict(kind="broken-wire", text=voice.fault or "it closed its output and went on running")


def _breach_of(process: PluginProcess, policy: PluginPolicy, allowance: Allowance) -> Breach | None:
    """The limit that it was killed for, by us or by its control group."""
    exit = process.child.exit
    if exit is not None and exit.signal != "SIGKILL":
        return None  # it was faster
    group = process.group
    if allowance.breach is None and group is not None and group.oom_kills() and group.is_over_its_own_limit():
        return killed_by_kernel(policy)
    return allowance.breach
