"""What the numbers of a running plugin mean, under a clock that is a number."""

from __future__ import annotations

from typing import Any

import pytest

from host.config.effective import PluginPolicy
from host.supervision.life_events import Concern, Eased, Idle
from host.supervision.vitals import EASE_S, Blocked, Finding, Reading, Vitals, look_again_s

EAGER = PluginPolicy(blocked_after_s=60.0)
LAZY = PluginPolicy(start_mode="lazy", idle_stop_s=300.0)


class Patient:
    def __init__(self, policy: PluginPolicy, idempotent: tuple[str, ...] = ()) -> None:
        self.policy = policy
        self.now = 0.0
        self.reading: dict[str, Any] = {}
        self.vitals = Vitals(1, idempotent, Reading(), now=0.0)

    def after(self, seconds: float, **reading: Any) -> list[Finding]:
        self.now += seconds
        self.reading |= reading
        return self.vitals.look(Reading(**self.reading), self.policy, now=self.now)


def names(findings: list[Finding]) -> list[tuple[type, str]]:
    return [(type(each), getattr(each, "name", "")) for each in findings]


def test_a_missed_ping_is_a_concern_until_none_was_missed_for_half_a_minute() -> None:
    patient = Patient(EAGER)
    assert names(patient.after(5, missed_pings=1)) == [(Concern, "pings")]
    assert patient.after(EASE_S - 1) == []
    assert names(patient.after(0.5, missed_pings=2)) == []
    assert patient.after(EASE_S - 1) == []
    assert names(patient.after(1)) == [(Eased, "pings")]
    assert patient.after(100) == []


def test_dropped_records_are_a_concern_with_how_many() -> None:
    (concern,) = Patient(EAGER).after(5, dropped=17)
    assert isinstance(concern, Concern)
    assert "17" in concern.text


def test_seven_abandoned_calls_are_borne_and_eight_are_not() -> None:
    patient = Patient(EAGER)
    assert patient.after(5, abandoned=["m"] * 7) == []
    assert names(patient.after(5, abandoned=["m"] * 8)) == [(Concern, "abandoned")]
    assert patient.after(EASE_S - 1, abandoned=[], finished=8) == []
    assert names(patient.after(1)) == [(Eased, "abandoned")]


def test_one_that_finishes_nothing_with_calls_in_flight_is_blocked_after_its_time() -> None:
    patient = Patient(EAGER)
    assert patient.after(100, in_flight=["work"]) == []
    assert patient.after(59) == []
    assert names(patient.after(1)) == [(Concern, "blocked")]
    assert patient.after(10) == []
    assert patient.after(1, in_flight=[], finished=1) == []
    assert names(patient.after(EASE_S)) == [(Eased, "blocked")]


@pytest.mark.parametrize("then", [{"finished": 1}, {"in_flight": []}])
def test_whoever_finishes_something_or_has_nothing_to_do_is_not_blocked(then: dict[str, Any]) -> None:
    patient = Patient(EAGER)
    patient.after(1, in_flight=["work"])
    patient.after(59, **then)
    assert patient.after(59, in_flight=["work"]) == []


def test_a_stream_may_be_open_for_as_long_as_it_likes() -> None:
    patient = Patient(EAGER)
    patient.after(1, streams=1)
    assert patient.after(1000) == []
    patient.after(1, in_flight=["work"])
    assert patient.after(59, finished=5) == []  # something has come of it
    assert names(patient.after(60)) == [(Concern, "blocked")]
    lazy = Patient(LAZY)
    assert lazy.after(1000, streams=1) == []
    assert names(lazy.after(300, streams=0)) == [(Idle, "")]


def test_calls_that_were_given_up_count_as_work_too() -> None:
    patient = Patient(EAGER)
    patient.after(1, abandoned=["work"])
    assert names(patient.after(60)) == [(Concern, "blocked")]


@pytest.mark.parametrize(
    ("policy", "methods", "restarted"),
    [
        ({}, ["work"], False),
        ({}, ["read"], True),
        ({}, ["read", "work"], False),
        ({"start_mode": "lazy"}, ["work"], True),
        ({"blocked": "restart"}, ["work"], True),
        ({"blocked": "degrade", "start_mode": "lazy"}, ["read"], False),
    ],
)
def test_a_restart_costs_nobody_what_cannot_be_done_twice_unless_the_terms_say_so(
    policy: dict[str, Any], methods: list[str], restarted: bool
) -> None:
    patient = Patient(PluginPolicy(**policy), idempotent=("read",))
    patient.after(1, in_flight=methods)
    (finding,) = patient.after(60)
    assert isinstance(finding, Blocked) is restarted


def test_a_time_in_which_nobody_could_look_counts_for_nothing() -> None:
    patient = Patient(LAZY)
    patient.after(1, in_flight=["work"])
    patient.vitals.skip(1000)
    assert patient.after(1010) == []
    patient.after(1, in_flight=[], finished=1)
    patient.vitals.skip(1000)
    assert patient.after(1010) == []


def test_a_lazy_plugin_is_idle_once_nobody_has_called_for_its_time() -> None:
    patient = Patient(LAZY)
    assert patient.after(200, finished=1) == []
    assert patient.after(299, in_flight=["work"]) == []
    assert patient.after(20, in_flight=[], finished=2) == []
    assert patient.after(299) == []
    assert names(patient.after(1)) == [(Idle, "")]


@pytest.mark.parametrize("policy", [PluginPolicy(start_mode="lazy"), PluginPolicy(idle_stop_s=1.0)])
def test_an_eager_plugin_and_one_without_a_time_are_never_idle(policy: PluginPolicy) -> None:
    assert Patient(policy).after(1_000_000) == []


def test_looks_are_close_enough_for_whatever_is_timed() -> None:
    assert look_again_s(EAGER) == 5.0
    assert look_again_s(PluginPolicy(blocked_after_s=6.0)) == 1.0
    assert look_again_s(PluginPolicy(idle_stop_s=2.0)) == 0.5
    assert look_again_s(PluginPolicy(idle_stop_s=0.001)) == 0.02
