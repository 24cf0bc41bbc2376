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
    folder = tmp_path / "wheels"
    for version in ("1.0", "2.0"):
        write_wheel(folder, "shade", version, {"shade.py": f"VERSION = {version!r}\n"})
    monkeypatch.delenv("PIP_CONSTRAINT", raising=False)
    for tool in ("PIP", "UV"):
        monkeypatch.setenv(f"{tool}_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("UV_NO_CONFIG", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv-cache"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return folder


@pytest.fixture
def pip(wheels: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`wheels`, and no uv anywhere on the PATH."""
    folders = os.environ["PATH"].split(os.pathsep)
    without = [folder for folder in folders if not os.path.exists(os.path.join(folder, "uv"))]
    monkeypatch.setenv("PATH", os.pathsep.join(without))
    return wheels


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
