"""The reference against the code: what one of them has, the other has too."""

from __future__ import annotations

import re
import typing
from typing import Any

import msgspec

from host import errors
from host.cli.app import COMMANDS, GROUPS
from host.config.model import HostConfig
from host.observability.events import HostEvent
from host.observability.logs import LogLine
from host.observability.metrics import Latency, PluginStats
from host.observability.openmetrics import Measures, families
from host.observability.snapshot import HostStatus, PluginStatus, Status, StoreStatus
from host.supervision.states import State
from protocol.errors import ErrorCode, Fault
from protocol.manifest import Manifest
from protocol.methods import METHODS
from tests.docs import write_api, write_states
from tests.docs.engine import ROOT
from tests.docs.write_schema import FILE, text

REFERENCE = ROOT / "docs/reference"
CODES = {
    kind.code
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, errors.OutboardError)
} | {"OB104"}
"""OB104 is a line of an OB101."""


def first_cells(page: str, *, heading: str, level: str = "##") -> list[str]:
    """The first column of the tables below a heading, without backticks."""
    source = (ROOT / page).read_text(encoding="utf-8")
    found = re.search(
        rf"^{level} {re.escape(heading)}\n(.*?)(?=^#{{2,{len(level)}}} |\Z)", source, re.M | re.S
    )
    assert found, f"{page} has no heading {heading!r}"
    rows = re.findall(r"^\| (.*?) \|", found.group(1), re.M)
    return [row.replace("`", "") for row in rows if not row.startswith("--")]


def keys_of(struct: Any) -> set[str]:
    """Dotted keys of a struct of tables; a free table is one key."""
    keys = set()
    for table in msgspec.structs.fields(struct):
        if isinstance(table.type, type) and issubclass(table.type, msgspec.Struct):
            keys |= {f"{table.encode_name}.{key.encode_name}" for key in msgspec.structs.fields(table.type)}
        else:
            keys.add(table.encode_name)
    return keys


def test_the_manifest_page_lists_every_key_and_no_other() -> None:
    listed = first_cells("docs/reference/manifest.md", heading="plugin.toml")
    assert sorted(listed) == sorted({"key"} | keys_of(Manifest))


def test_the_manifest_page_lists_every_key_of_outboard_toml() -> None:
    listed = first_cells("docs/reference/manifest.md", heading="outboard.toml")
    keys = {part.split(".")[0] for part in listed} - {"key"}
    assert keys == {field.encode_name for field in msgspec.structs.fields(HostConfig)}
    for table in ("host.", "watch."):
        table_keys = {key for key in keys_of(HostConfig) if key.startswith(table)}
        assert table_keys == {part for part in listed if part.startswith(table)}


def test_the_schema_file_is_current() -> None:
    assert FILE.read_text(encoding="utf-8") == text(), "run: python -m tests.docs.write_schema"


def test_the_pages_of_the_api_are_what_the_docstrings_say() -> None:
    for file, text_ in write_api.pages().items():
        assert file.read_text(encoding="utf-8") == text_, "run: python -m tests.docs.write_api"


def test_everything_that_is_public_says_what_it_is() -> None:
    assert write_api.undocumented() == []


def test_the_page_of_states_is_what_the_machine_has() -> None:
    assert write_states.FILE.read_text(encoding="utf-8") == write_states.text(), (
        "run: python -m tests.docs.write_states"
    )


def test_every_error_code_has_a_page_and_every_page_a_code() -> None:
    assert {page.stem for page in (ROOT / "docs/errors").iterdir()} == CODES


def test_the_index_of_errors_lists_every_code() -> None:
    source = (REFERENCE / "errors.md").read_text(encoding="utf-8")
    assert set(re.findall(r"errors/(OB\d+)\.md", source)) == CODES


def test_the_index_of_errors_gives_the_exit_codes() -> None:
    source = (REFERENCE / "errors.md").read_text(encoding="utf-8")
    listed = dict(re.findall(r"^\| \[(OB\d+)\].* \| (\d+) \|$", source, re.M))
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, errors.OutboardError):
            assert listed[kind.code] == str(kind.exit_code), kind.code


def test_the_protocol_page_lists_every_method_with_its_sender_and_kind() -> None:
    source = (REFERENCE / "protocol.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `([^`]+)` \| (\w+) \| (request|notification) \|", source, re.M)
    expected = [
        (name, row.sender, "notification" if row.result is None else "request")
        for name, row in METHODS.items()
    ]
    assert sorted(listed) == sorted(expected)


def test_the_protocol_page_lists_every_error_code() -> None:
    source = (REFERENCE / "protocol.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| \N{MINUS SIGN}(\d+) \| ([A-Z_]+) \|", source, re.M)
    assert {(-int(code), name) for code, name in listed} == {(code.value, code.name) for code in ErrorCode}


def test_the_protocol_page_lists_every_fault() -> None:
    listed = first_cells("docs/reference/protocol.md", heading="Faults", level="###")
    assert set(listed) - {"fault"} == {fault.value for fault in Fault}


def test_the_page_of_the_command_line_lists_every_command() -> None:
    source = (REFERENCE / "cli.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `outboard (\w+)", source, re.M)) == set(COMMANDS)


def test_every_command_is_in_one_group_of_the_help() -> None:
    assert sorted(name for names in GROUPS.values() for name in names) == sorted(COMMANDS)


def test_the_page_of_the_log_lists_every_key_of_a_record() -> None:
    listed = first_cells("docs/reference/logs.md", heading="Records")
    keys = [field.encode_name for field in msgspec.structs.fields(LogLine)]
    assert listed[: listed.index("event", 4)] == ["key", *keys]


def test_the_page_of_the_log_lists_every_event_with_its_keys() -> None:
    source = (REFERENCE / "logs.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (`[^|]*`) \|", source.split("\n## Events\n")[1], re.M)
    listed = {event: set(re.findall(r"`(\w+)`", keys)) for event, keys in rows}
    for kind in typing.get_args(HostEvent):
        assert kind.__struct_config__.tag_field == "event"
        keys = {field.encode_name for field in msgspec.structs.fields(kind)} - {"at"}
        assert listed.pop(kind.__struct_config__.tag) == keys
    assert set(listed) == {"snapshot", "dropped"}


def test_the_operating_page_lists_every_state() -> None:
    cells = first_cells("docs/restarts.md", heading="States")
    listed = {state for cell in cells for state in cell.split(", ")} - {"state"}
    assert listed == {state.value for state in State}


def test_the_page_of_metrics_lists_every_metric_with_its_type_and_labels() -> None:
    source = (REFERENCE / "metrics.md").read_text(encoding="utf-8")
    listed = {
        name: (kind, set(re.findall(r"`(\w+)`", labels)))
        for name, kind, labels in re.findall(r"^\| `(outboard_\w+)` \| (\w+) \| (.*?) ?\| ", source, re.M)
    }
    stats = PluginStats()
    stats.announce(["greet"])
    stats.of("greet").latency.record(1.0)
    stats.note_end("asked")
    unread: dict[str, Any] = dict.fromkeys(PluginStatus.__struct_fields__)
    numbers = dict.fromkeys(("generation", "uptime_s", "processes", "memory_bytes", "memory_limit_bytes"), 1)
    store = StoreStatus(keys=1, bytes=1, limit_bytes=1, set_aside=None)
    more = {"name": "hello", "expected": True, "cpu_percent": 1.0, "store": store}
    plugin = PluginStatus(**unread | numbers | more)
    host = HostStatus(**dict.fromkeys(HostStatus.__struct_fields__, "") | {"problems": []})
    measures = Measures(
        status=Status(host=host, plugins=[plugin]),
        plugins={"hello": stats},
        loop_lag=Latency(),
        states=["running"],
        serving=["running"],
    )
    there = {
        family.name: (family.type, {label for sample in family.samples for label in sample.labels} - {"le"})
        for family in families(measures)
    }
    assert listed == there
