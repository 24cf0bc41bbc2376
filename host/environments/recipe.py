"""From a list of dependencies to what has to be done for it: names, places, commands. Pure.

An environment is named after everything that decides what is in it, so plugins that ask for the same
share one, and an upgrade of Python or of outboard makes others. It is an ordinary virtual environment
of the host's Python. Three packages are in it as links, not as copies: `plugin_sdk` and `protocol`,
which come before whatever is installed, and `msgspec`, which comes after, so that an author's own wins.
The reasons are in docs/design/decisions/0004-environments.md.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence

import msgspec

from host.discovery.dependencies import normalised

MSGSPEC = "msgspec>=0.20"
"""As in pyproject.toml: what an author's own msgspec must be."""
MARKER = "outboard.json"
"""In an environment that is whole, and in no other."""

_INHERITED = (
    *("PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "TMPDIR"),
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
    *("NETRC", "SSH_AUTH_SOCK", "GIT_SSH", "GIT_SSH_COMMAND"),
    *("CC", "CXX", "CFLAGS", "CXXFLAGS", "CPPFLAGS", "LDFLAGS", "PKG_CONFIG_PATH", "LD_LIBRARY_PATH"),
)
_INHERITED_PREFIXES = ("LC_", "PIP_", "UV_", "XDG_", "SSL_CERT_", "GIT_SSL_", "CARGO_", "RUSTUP_")
_NOT_INHERITED = (  # they say what to install and where to, and that is ours to say
    *("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_PYTHON", "PIP_USER", "PIP_DRY_RUN"),
    *("PIP_REQUIREMENT", "PIP_EDITABLE"),
    *("UV_PYTHON", "UV_SYSTEM_PYTHON", "UV_TARGET", "UV_PREFIX", "UV_PROJECT_ENVIRONMENT", "UV_DRY_RUN"),
)
_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]+(?=@)")


class Toolchain(msgspec.Struct, frozen=True, kw_only=True):
    """What the host builds with and for."""

    python: str
    python_tag: str
    """Version, ABI and platform, like `3.11.7 cpython-311-x86_64-linux-gnu linux-x86_64`."""
    outboard: str
    ours: dict[str, str]
    """Folders of the packages that come first, by import name."""
    spare: dict[str, str]
    """Folders of the packages that come last, by import name."""


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """One environment, and how to build it."""

    folder: str
    dependencies: list[str]
    constraints: list[str]
    make: list[str]
    """The command that makes an empty environment."""
    install: list[str]
    """The command that installs what `requirements` lists."""
    requirements: str
    """The file for it, which is written in between."""
    ours: dict[str, str]
    spare: dict[str, str]
    marker: str
    holds: dict[str, str | list[str]]
    """What the marker says."""

    @property
    def summary(self) -> str:
        """`pip install x y`, for people; without the credentials that a URL may have."""
        return f"{self.holds['installer']} install {_CREDENTIALS.sub('***', ' '.join(self.dependencies))}"


def folder_of(root: str, dependencies: Sequence[str], tools: Toolchain) -> str:
    """Where the environment for `dependencies` is, or will be."""
    content = msgspec.json.encode((normalised(dependencies), tools), order="sorted")
    return os.path.join(root, hashlib.sha256(content).hexdigest()[:32])


def recipe(
    root: str, dependencies: Sequence[str], tools: Toolchain, *, uv: str | None, has_pip: bool
) -> Recipe:
    """`uv`: its path, if it is installed. Without `has_pip`, each environment gets a pip of its own."""
    folder = folder_of(root, dependencies, tools)
    requirements = os.path.join(folder, "requirements.txt")
    python = python_of(folder)
    if uv is not None:
        make = [uv, "venv", "--quiet", "--no-project", "--python", tools.python, folder]
        install = [uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", python]
    else:
        # An empty environment is made in 0.05 s. A pip in each of them would be 3 s and 25 MiB more.
        make = [tools.python, "-I", "-m", "venv", *(["--without-pip"] if has_pip else []), folder]
        pip = [tools.python, "-P", "-m", "pip", "--python", python] if has_pip else [python, "-m", "pip"]
        install = [*pip, "--quiet", "--disable-pip-version-check", "--no-input", "install", "--no-user"]
    return Recipe(
        folder=folder,
        dependencies=list(dependencies),
        constraints=[MSGSPEC],
        make=make,
        install=[*install, "-r", requirements],
        requirements=requirements,
        ours=tools.ours,
        spare=tools.spare,
        marker=os.path.join(folder, MARKER),
        holds={
            "dependencies": normalised(dependencies),
            "installer": "uv pip" if uv is not None else "pip",
            "python": tools.python_tag,
            "outboard": tools.outboard,
        },
    )


def python_of(folder: str) -> str:
    """The interpreter of an environment."""
    return os.path.join(folder, "bin", "python")


def build_environment(inherited: Mapping[str, str]) -> dict[str, str]:
    """The variables that an installer gets: how to reach an index, a compiler or a proxy, and no others."""
    chosen = {
        name: value
        for name, value in inherited.items()
        if (name.upper() in _INHERITED or name.startswith(_INHERITED_PREFIXES)) and name not in _NOT_INHERITED
    }
    return chosen | {"PYTHONUTF8": "1", "NO_COLOR": "1"}
