"""Where things are: what a person says, then the service manager, then XDG, then what is left."""

from __future__ import annotations

import os

import pytest

from host.config.places import places, user_places

HOME = {"HOME": "/home/ada"}
XDG = {
    "XDG_RUNTIME_DIR": "/run/user/7",
    "XDG_DATA_HOME": "/xdg/data",
    "XDG_STATE_HOME": "/xdg/state",
    "XDG_CACHE_HOME": "/xdg/cache",
    "XDG_CONFIG_HOME": "/xdg/config",
}
SYSTEMD = {
    "RUNTIME_DIRECTORY": "/run/outboard",
    "STATE_DIRECTORY": "/var/lib/outboard:/var/lib/other",
    "LOGS_DIRECTORY": "/var/log/outboard",
    "CACHE_DIRECTORY": "/var/cache/outboard",
    "CONFIGURATION_DIRECTORY": "/etc/outboard",
}
TOLD = {"OUTBOARD_SOCKET": "/told.sock"}


@pytest.mark.parametrize(
    ("environ", "socket"),
    [
        (HOME, "/tmp/outboard-7/outboard/control.sock"),
        (HOME | XDG, "/run/user/7/outboard/control.sock"),
        (HOME | XDG | SYSTEMD, "/run/outboard/control.sock"),
        (HOME | XDG | SYSTEMD | TOLD, "/told.sock"),
        (HOME | {"OUTBOARD_SOCKET": ""}, "/tmp/outboard-7/outboard/control.sock"),
        (HOME | {"RUNTIME_DIRECTORY": "/run/a:/run/b"}, "/run/a/control.sock"),
        (HOME | {"RUNTIME_DIRECTORY": ""}, "/tmp/outboard-7/outboard/control.sock"),
        (HOME | {"XDG_RUNTIME_DIR": "relative"}, "/tmp/outboard-7/outboard/control.sock"),
    ],
)
def test_the_socket(environ: dict[str, str], socket: str) -> None:
    assert places(environ, 7).socket == socket


def test_the_folders_of_a_user() -> None:
    found = places(HOME, 7)
    assert found.plugins == "/home/ada/.local/share/outboard/plugins"
    assert found.data == "/home/ada/.local/share/outboard/data"
    assert found.state == "/home/ada/.local/state/outboard"
    assert found.logs == "/home/ada/.local/state/outboard/log"
    assert found.cache == "/home/ada/.cache/outboard"
    assert found.configuration == "/home/ada/.config/outboard"


def test_the_folders_of_xdg() -> None:
    found = places(HOME | XDG, 7)
    assert (found.data, found.state) == ("/xdg/data/outboard/data", "/xdg/state/outboard")
    assert (found.cache, found.configuration) == ("/xdg/cache/outboard", "/xdg/config/outboard")


def test_the_folders_of_systemd_go_first_and_of_several_the_first() -> None:
    found = places(HOME | XDG | SYSTEMD, 7)
    assert (found.plugins, found.data) == ("/var/lib/outboard/plugins", "/var/lib/outboard/data")
    assert (found.state, found.logs) == ("/var/lib/outboard", "/var/log/outboard")
    assert (found.cache, found.configuration) == ("/var/cache/outboard", "/etc/outboard")


def test_a_program_that_embeds_a_host_keeps_its_own_state_folder_for_itself() -> None:
    assert user_places(HOME | SYSTEMD, 7) == user_places(HOME, 7)


@pytest.mark.parametrize("environ", [{}, {"HOME": ""}, {"HOME": "relative"}])
def test_whoever_has_no_home_still_has_places(environ: dict[str, str]) -> None:
    nobody = 2**31 - 7
    found = places(environ, nobody)
    for name in found.__struct_fields__:
        assert os.path.isabs(getattr(found, name)), name
    assert found.data == f"/tmp/outboard-{nobody}/.local/share/outboard/data"
