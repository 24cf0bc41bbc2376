"""What holds for one plugin: precedence, ceilings, and values that cannot be meant together."""

from __future__ import annotations

import msgspec
import pytest

from host.config.effective import POLICY_KEYS, PluginPolicy, backoff_delay_s, effective, policy_problems
from host.config.model import HostConfig
from host.config.read import read_toml
from protocol.manifest import HealthTable, LimitsTable, Manifest, RestartTable, StartTable

MIB = 1024**2
BASE = '[plugin]\nname = "hello"\nversion = "1"\n[run]\npython = "main.py"\n'


def policy(manifest: str = "", config: str = "") -> PluginPolicy:
    read, problems = read_toml("plugin.toml", Manifest, source=BASE + manifest)
    settings, more = read_toml("outboard.toml", HostConfig, source=config)
    assert problems == more == []
    assert read is not None
    assert settings is not None
    return effective(read, settings)


def test_nothing_said_is_the_built_in_policy() -> None:
    assert policy() == PluginPolicy()
    assert policy_problems(PluginPolicy()) == []


def test_the_built_in_policy_is_the_documented_one() -> None:
    built_in = PluginPolicy()
    assert (built_in.memory_bytes, built_in.file_size_bytes) == (512 * MIB, 1024 * MIB)
    assert (built_in.processes, built_in.threads, built_in.open_files) == (64, 256, 1024)
    assert (built_in.restart_policy, built_in.intensity, built_in.period_s) == ("on-failure", 5, 300)
    assert (built_in.backoff_min_s, built_in.backoff_max_s) == (0.1, 30)
    assert (built_in.ping_interval_s, built_in.ping_timeout_s, built_in.ping_misses) == (5, 5, 3)
    assert (built_in.blocked_after_s, built_in.blocked, built_in.critical) == (60, None, False)
    assert (built_in.start_mode, built_in.start_timeout_s, built_in.stop_timeout_s) == ("eager", 30, 4)


@pytest.mark.parametrize(
    ("manifest", "config", "period_s"),
    [
        ("", "[defaults.restart]\nperiod = 10", 10),
        ("[restart]\nperiod = '20s'", "[defaults.restart]\nperiod = 10", 20),
        (
            "[restart]\nperiod = '20s'",
            "[defaults.restart]\nperiod=10\n[plugins.hello.restart]\nperiod=30",
            30,
        ),
        ("[restart]\nperiod = '20s'", "[plugins.other.restart]\nperiod = 30", 20),
    ],
)
def test_the_manifest_beats_defaults_and_the_operator_beats_the_manifest(
    manifest: str, config: str, period_s: float
) -> None:
    assert policy(manifest, config).period_s == period_s


@pytest.mark.parametrize(
    ("manifest", "config", "mib"),
    [
        ("", "", 512),
        ("[limits]\nmemory = '2GiB'", "", 2048),
        ("[limits]\nmemory = '64MiB'", "", 64),
        ("", "[defaults.limits]\nmemory = '1GiB'", 1024),
        ("[limits]\nmemory = '2GiB'", "[defaults.limits]\nmemory = '1GiB'", 1024),
        ("[limits]\nmemory = '64MiB'", "[defaults.limits]\nmemory = '1GiB'", 64),
        ("", "[defaults.limits]\nmemory = '1GiB'\n[plugins.hello.limits]\nmemory = '4GiB'", 4096),
        ("[limits]\nmemory = '64MiB'", "[plugins.hello.limits]\nmemory = '4GiB'", 4096),
    ],
)
def test_a_default_limit_is_a_ceiling_for_the_manifest_and_not_for_the_operator(
    manifest: str, config: str, mib: int
) -> None:
    assert policy(manifest, config).memory_bytes == mib * MIB


def test_no_key_of_any_table_is_forgotten() -> None:
    tables = {"limits": LimitsTable, "restart": RestartTable, "health": HealthTable, "start": StartTable}
    written = {(name, key) for name, table in tables.items() for key in table.__struct_fields__}
    assert set(POLICY_KEYS.values()) == written
    assert {*POLICY_KEYS, "enabled", "critical", "settings"} == set(PluginPolicy.__struct_fields__)


def test_settings_are_merged_table_by_table_and_lists_are_replaced() -> None:
    manifest = "[settings]\na = 1\nlist = [1, 2]\n[settings.deep]\nb = 2\nc = 3\n"
    config = "[plugins.hello.settings]\nlist = [3]\nnew = true\n[plugins.hello.settings.deep]\nc = 4\n"
    assert policy(manifest, config).settings == {
        "a": 1,
        "list": [3],
        "deep": {"b": 2, "c": 4},
        "new": True,
    }


def test_a_table_and_a_value_of_one_name_are_not_merged() -> None:
    assert policy("[settings.x]\na = 1", "[plugins.hello.settings]\nx = 2").settings == {"x": 2}
    assert policy("[settings]\nx = 2", "[plugins.hello.settings.x]\na = 1").settings == {"x": {"a": 1}}


def test_a_policy_does_not_share_tables_with_what_it_was_made_of() -> None:
    manifest, _ = read_toml("plugin.toml", Manifest, source=BASE + "[settings.x]\na = 1")
    assert manifest is not None
    effective(manifest, HostConfig()).settings["x"]["a"] = 2
    assert manifest.settings == {"x": {"a": 1}}


def test_what_a_plugin_requires_is_said_by_the_manifest_or_replaced_by_the_operator() -> None:
    manifest = '[start]\nrequires = ["a", "b"]'
    assert policy(manifest).requires == ("a", "b")
    assert policy(manifest, "[plugins.hello.start]\nrequires = []").requires == ()


def test_an_operator_can_disable_a_plugin() -> None:
    assert not policy("", "[plugins.hello]\nenabled = false").enabled


def test_a_policy_is_plain_values_that_any_encoder_takes() -> None:
    settled = policy("[limits]\nmemory = '64MiB'\n[restart]\nperiod = '2m'\n[start]\nrequires = ['a']")
    assert msgspec.json.decode(msgspec.json.encode(settled), type=PluginPolicy) == settled
    assert type(settled.memory_bytes) is int
    assert type(settled.period_s) is float


def test_backoff_grows_to_its_maximum_in_six_steps() -> None:
    delays = [round(backoff_delay_s(PluginPolicy(), restarts), 2) for restarts in range(9)]
    assert delays == [0.1, 0.26, 0.67, 1.73, 4.48, 11.59, 30.0, 30.0, 30.0]


@pytest.mark.parametrize(
    "wrong",
    [
        PluginPolicy(backoff_min_s=30.0, period_s=60.0),
        PluginPolicy(intensity=100),
        PluginPolicy(intensity=10**400),
        PluginPolicy(backoff_max_s=float("inf")),
        PluginPolicy(backoff_min_s=float("inf"), backoff_max_s=float("inf")),
    ],
)
def test_an_intensity_that_backoff_keeps_out_of_reach_is_refused(wrong: PluginPolicy) -> None:
    [problem] = policy_problems(wrong)
    assert "never be quarantined" in problem


def test_backoff_that_just_fits_the_window_is_accepted() -> None:
    fits = PluginPolicy(intensity=5, backoff_min_s=60.0, backoff_max_s=60.0, period_s=300.0)
    assert policy_problems(fits) == []
    assert policy_problems(msgspec.structs.replace(fits, period_s=299.9)) != []


def test_a_plugin_that_is_never_restarted_needs_no_window() -> None:
    assert policy_problems(PluginPolicy(restart_policy="never", intensity=10**6)) == []


def test_all_problems_of_a_policy_are_told_by_the_keys_of_the_file() -> None:
    wrong = PluginPolicy(
        backoff_min_s=0.0,
        period_s=0.0,
        ping_timeout_s=0.0,
        memory_bytes=0,
        processes=2**64,
        backoff_max_s=-1.0,
    )
    told = " | ".join(policy_problems(wrong))
    for key in (
        "restart.backoff_min",
        "restart.period",
        "health.timeout",
        "limits.memory",
        "limits.processes",
    ):
        assert key in told


def test_a_shortest_backoff_longer_than_the_longest_is_refused() -> None:
    assert policy_problems(PluginPolicy(backoff_min_s=2.0, backoff_max_s=1.0)) != []


def test_only_the_operator_says_what_is_critical() -> None:
    assert policy("", "[plugins.hello]\ncritical = true\n").critical
    assert not policy().critical
