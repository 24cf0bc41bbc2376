"""An app's own sections of the configuration: typed, in layers, checked with the rest, changed live."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import jsonschema_rs
import msgspec
import pytest

from host import BlockingHost, ConfigError, Host, HostMisuse
from host.config.load import LayerFile, Layers
from tests.support.plugins import Events, make_host, write_plugin

pytestmark = pytest.mark.anyio


class Smtp(msgspec.Struct, frozen=True):
    host: str = "localhost"
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 25


class Mailroom(msgspec.Struct, kw_only=True):
    folder: str
    subject: Annotated[str, msgspec.Meta(description="Of each answer.")] = "Re:"
    at_most: int = 10
    at_least: int = 0
    smtp: Smtp = Smtp()
    password: Annotated[str, msgspec.Meta(extra_json_schema={"secret": True}, min_length=3)] = "none"

    def __post_init__(self) -> None:
        if self.at_least > self.at_most:
            raise ValueError("`at_least` is more than `at_most`")


SECTIONS: dict[str, type[msgspec.Struct]] = {"mailroom": Mailroom}


def app(tmp_path: Path, text: str, **more: Any) -> Host:
    (tmp_path / "app.toml").write_text(text)
    plugin = tmp_path / "plugins" / "echo"
    if not plugin.exists():
        write_plugin(tmp_path / "plugins", "echo")
    more = {"overrides": tmp_path / "overrides.toml", "config": tmp_path / "app.toml"} | more
    return make_host(tmp_path, plugin, sections=SECTIONS, **more)


async def wrong_at_entry(tmp_path: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        async with app(tmp_path, text):
            pass
    return [line.removeprefix(f"{tmp_path}/") for line in caught.value.data]


async def test_an_app_has_its_section_as_its_own_struct(tmp_path: Path) -> None:
    text = "[mailroom]\nfolder = '/mail'\nsmtp.port = 587\n[host]\nmax_starts = 1\n"
    async with app(tmp_path, text) as host:
        mailroom = host.settings(Mailroom)
        assert mailroom == Mailroom(folder="/mail", smtp=Smtp(port=587))
        assert host.settings("mailroom") is mailroom


async def test_everything_that_is_wrong_is_said_at_once_with_file_line_value_and_nearest_key(
    tmp_path: Path,
) -> None:
    text = (
        "[mailroom]\nsubjct = 'Hi'\nat_most = 'lots'\n[mailroom.smtp]\nport = 99999\nhots = 'x'\n"
        "[host]\nlog_levl = 'info'\n"
    )
    assert await wrong_at_entry(tmp_path, text) == [
        "app.toml:8: host.log_levl: unknown key; did you mean `log_level`?",
        "app.toml:1: mailroom.folder: required, and missing",
        "app.toml:2: mailroom.subjct: unknown key; did you mean `subject`?",
        'app.toml:3: mailroom.at_most: expected `int`, got `str`: "lots"',
        "app.toml:5: mailroom.smtp.port: expected `int` <= 65535: 99999",
        "app.toml:6: mailroom.smtp.hots: unknown key; did you mean `host`?",
    ]
    assert await wrong_at_entry(tmp_path, "") == ["mailroom.folder: required, and missing"]
    assert await wrong_at_entry(tmp_path, "mailroom = 5\n") != []
    text = "[mailroom]\nfolder = ''\nat_least = 50\n"
    assert await wrong_at_entry(tmp_path, text) == ["app.toml:1: mailroom: `at_least` is more than `at_most`"]
    assert await wrong_at_entry(tmp_path, "[mailrom]\nfolder = ''\n[mailroom]\nfolder = ''\n") == [
        "app.toml:1: mailrom: unknown key; did you mean `mailroom`?"
    ]


async def test_layers_say_it_together_and_the_struct_has_the_last_word(tmp_path: Path) -> None:
    (tmp_path / "low.toml").write_text("[mailroom]\nfolder = '/low'\nat_most = 100\n")
    (tmp_path / "high.toml").write_text("[mailroom]\nat_least = 50\n")
    layers = Layers(
        files=(LayerFile("user", tmp_path / "low.toml"), LayerFile("config", tmp_path / "high.toml")),
        environ={"OUTBOARD__MAILROOM__SMTP__HOST": "mail.example"},
        overrides=tmp_path / "overrides.toml",
    )
    async with app(tmp_path, "", config=layers) as host:
        mailroom = host.settings(Mailroom)
        assert (mailroom.folder, mailroom.at_most, mailroom.at_least) == ("/low", 100, 50)
        assert mailroom.smtp.host == "mail.example"
        rows = {row.key: (row.layer, row.line) for row in host.configuration("mailroom")}
        assert rows["mailroom.folder"] == ("user", 2)
        assert rows["mailroom.at_least"] == ("config", 2)
        assert rows["mailroom.smtp.host"] == ("environment", None)
        assert rows["mailroom.subject"] == ("app", None)
        with pytest.raises(ConfigError):
            await host.configure({"mailroom.at_most": 20})


async def test_a_file_alone_counts_and_no_variable_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUTBOARD__MAILROOM__SUBJECT", "from outside")
    async with app(tmp_path, "[mailroom]\nfolder = ''\n") as host:
        assert host.settings(Mailroom).subject == "Re:"


async def test_a_change_is_checked_kept_and_told_with_what_was_and_what_is(tmp_path: Path) -> None:
    heard: list[tuple[str, str]] = []

    def hear(old: Mailroom, new: Mailroom) -> None:
        heard.append((old.subject, new.subject))

    async with app(tmp_path, "[mailroom]\nfolder = ''\n") as host:
        end = host.on_config_change(Mailroom, hear)
        plan = await host.configure({"mailroom.subject": "Hi", "mailroom.smtp.port": 587})
        assert plan.app == ["mailroom.subject", "mailroom.smtp"]
        assert plan.lines() == ["live       mailroom.subject", "live       mailroom.smtp"]
        assert (host.settings(Mailroom).subject, host.settings(Mailroom).smtp.port) == ("Hi", 587)
        for changes in (
            {"mailroom.smtp.port": 0},
            {"mailroom.sbject": "x"},
            {"mailroom.at_least": 11},
            {"mailroom.subject": "Ho", "plugins.nobody.settings.x": 1},
        ):
            with pytest.raises(ConfigError):
                await host.configure(changes)
        assert (await host.configure({"host.log_level": "debug"})).app == []
        assert heard == [("Re:", "Hi")]
        (tmp_path / "app.toml").write_text("[mailroom]\nfolder = '/new'\nsubject = 'hidden'\n")
        assert (await host.reload(dry_run=True)).app == ["mailroom.folder"]
        assert host.settings(Mailroom).folder == ""
        await host.reload()
        assert (host.settings(Mailroom).folder, heard[1:]) == ("/new", [("Hi", "Hi")])
        end()
        await host.configure({"mailroom.subject": msgspec.UNSET})
        assert (host.settings(Mailroom).subject, len(heard)) == ("hidden", 2)
        (tmp_path / "app.toml").write_text("[mailroom]\nfolder = 5\n")
        with pytest.raises(ConfigError):
            await host.reload()
        assert host.settings(Mailroom).folder == "/new"


async def test_a_subscriber_that_raises_costs_nobody_anything(tmp_path: Path) -> None:
    async with app(tmp_path, "[mailroom]\nfolder = ''\n") as host:
        heard: list[str] = []
        events = Events(host)

        def fail(old: Mailroom, new: Mailroom) -> None:
            raise RuntimeError("indigestible")

        host.on_config_change(Mailroom, fail)
        host.on_config_change("mailroom", lambda _, new: heard.append(new.subject))
        await host.configure({"mailroom.subject": "Hi"})
        assert (heard, host.settings(Mailroom).subject) == (["Hi"], "Hi")
        assert any("indigestible" in getattr(event, "message", "") for event in events.seen)


async def test_a_secret_of_the_app_is_fetched_and_shown_nowhere(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("s3cret\n")
    secret.chmod(0o600)
    text = f"[mailroom]\nfolder = ''\npassword = {{ file = '{secret}' }}\n"
    async with app(tmp_path, text) as host:
        events = Events(host)
        assert host.settings(Mailroom).password == "s3cret"
        await host.configure({"mailroom.password": {"command": ["printf", "an0%s", "ther"]}})
        assert host.settings(Mailroom).password == "an0ther"
        shown = repr([host.configuration(), events.seen, host.status(), host.configuration_schema()])
        assert "s3cret" not in shown
        assert "an0ther" not in shown
        with pytest.raises(ConfigError) as caught:
            await host.configure({"mailroom.password": "pl4in"})
        assert "pl4in" not in str(caught.value)
        assert "must not stand here" in str(caught.value)
    (tmp_path / "overrides.toml").unlink()
    said = await wrong_at_entry(tmp_path, "[mailroom]\nfolder = ''\npassword = 12345\n")
    assert len(said) == 1
    assert "12345" not in said[0]
    secret.chmod(0o644)
    [line] = await wrong_at_entry(tmp_path, text)
    assert line.startswith("app.toml:3: mailroom.password: others may read")


async def test_the_schema_for_editors_has_the_section_and_its_descriptions(tmp_path: Path) -> None:
    async with app(tmp_path, "[mailroom]\nfolder = ''\n") as host:
        schema = host.configuration_schema()
        validator = jsonschema_rs.Draft202012Validator(schema)
        assert validator.is_valid({"mailroom": {"subject": "x", "smtp": {"port": 1}}})
        assert not validator.is_valid({"mailroom": {"smtp": {"port": 0}}})
        assert not validator.is_valid({"mailroom": {"password": "plain"}})
        assert "Of each answer." in msgspec.json.encode(schema).decode()


@pytest.mark.parametrize(
    "sections",
    [
        {"plugins": Mailroom},
        {"Mail Room": Mailroom},
        {"mailroom": dict},
        {"mailroom": Mailroom, "other": Mailroom},
    ],
)
def test_sections_that_cannot_be_are_refused_at_once(sections: Any) -> None:
    with pytest.raises(HostMisuse):
        Host(sections=sections)


async def test_a_section_that_nobody_has_declared_is_a_mistake_of_the_app(tmp_path: Path) -> None:
    async with app(tmp_path, "[mailroom]\nfolder = ''\n") as host:
        with pytest.raises(HostMisuse, match="no section `Smtp`"):
            host.settings(Smtp)
        with pytest.raises(HostMisuse):
            host.on_config_change("mailrom", lambda old, new: None)
    with pytest.raises(HostMisuse):
        host.settings(Mailroom)


def test_a_blocking_host_has_it_too(tmp_path: Path) -> None:
    (tmp_path / "app.toml").write_text("[mailroom]\nfolder = '/mail'\n")
    heard: list[str] = []
    with BlockingHost(config=tmp_path / "app.toml", sections=SECTIONS, data_dir=tmp_path) as host:
        host.on_config_change(Mailroom, lambda _, new: heard.append(new.subject))
        assert host.settings(Mailroom).folder == "/mail"
        host.configure({"mailroom.subject": "Hi"})
        assert (host.settings("mailroom").subject, heard) == ("Hi", ["Hi"])
