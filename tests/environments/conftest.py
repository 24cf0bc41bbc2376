"""Every test here installs from a folder of wheels, with pip and, where it is installed, with uv."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.support.dependents import HangingInstaller
from tests.support.wheels import write_wheel


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only place that an installer looks at: two versions of `shade`, which exclude each other."""
    return only_wheels(tmp_path, monkeypatch)


def only_wheels(home: Path, patch: pytest.MonkeyPatch) -> Path:
    folder = home / "wheels"
    for version in ("1.0", "2.0"):
        write_wheel(folder, "shade", version, {"shade.py": f"VERSION = {version!r}\n"})
    patch.delenv("PIP_CONSTRAINT", raising=False)
    for tool in ("PIP", "UV"):
        patch.setenv(f"{tool}_FIND_LINKS", str(folder))
    patch.setenv("PIP_NO_INDEX", "1")
    patch.setenv("UV_OFFLINE", "1")
    patch.setenv("PIP_CONFIG_FILE", os.devnull)
    patch.setenv("UV_NO_CONFIG", "1")
    patch.setenv("UV_CACHE_DIR", str(home / "uv-cache"))
    patch.setenv("XDG_CACHE_HOME", str(home / "cache"))
    return folder


@pytest.fixture
def pip(wheels: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`wheels`, and no uv anywhere on the PATH."""
    without_uv(monkeypatch)
    return wheels


def without_uv(patch: pytest.MonkeyPatch) -> None:
    folders = os.environ["PATH"].split(os.pathsep)
    without = [folder for folder in folders if not os.path.exists(os.path.join(folder, "uv"))]
    patch.setenv("PATH", os.pathsep.join(without))


@pytest.fixture(params=["pip", "uv"])
def installer(request: pytest.FixtureRequest) -> str:
    """The name of the one that builds."""
    name: str = request.param
    if name == "uv" and shutil.which("uv") is None:
        pytest.skip("uv is not installed")
    request.getfixturevalue("pip" if name == "pip" else "wheels")
    return name


@pytest.fixture
def hanging(wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HangingInstaller:
    """The only installer there is."""
    made = HangingInstaller(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    return made


@pytest.fixture
def refusing(wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The only installer there is has nothing for anybody."""
    program = tmp_path / "bin" / "uv"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho there is no such thing >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
