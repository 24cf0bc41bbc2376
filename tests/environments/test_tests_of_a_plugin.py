"""`outboard test` of a plugin with dependencies: on the Python that the host would give it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from host.authoring.examine import examine
from host.authoring.interpreter import python_with
from host.discovery.validate import Candidate, load_manifest
from host.errors import PluginUnavailable
from tests.support.daemon import outboard
from tests.support.dependents import write_dependent

pytestmark = [pytest.mark.slow, pytest.mark.anyio]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


TESTS = """
import unittest
from pathlib import Path

import shade
from plugin_sdk.testing import running


class Tests(unittest.TestCase):
    def test_it_has_what_it_depends_on(self):
        with running(Path(__file__).parent) as plugin:
            self.assertEqual(plugin.call("version"), shade.VERSION)
        with self.assertRaises(ImportError):
            import click
"""


def test_they_find_what_it_depends_on_and_nothing_of_the_hosts(tmp_path: Path, pip: Path) -> None:
    folder = write_dependent(tmp_path, "one", "shade==1.0")
    (folder / "test_one.py").write_text(TESTS)
    done = outboard("test", folder, "--json", env=dict(os.environ))
    assert (done.code, done.json["runner"]) == (0, "unittest"), done.err
    assert done.json["python"].startswith(str(tmp_path))
    assert "building (pip install shade==1.0) ..." in done.err


async def test_an_environment_that_cannot_be_built_is_told_of_as_such(tmp_path: Path, pip: Path) -> None:
    folder = write_dependent(tmp_path, "one", "shade==3.0")
    candidate = load_manifest(folder)
    assert isinstance(candidate, Candidate)
    with pytest.raises(PluginUnavailable, match=r"shade==3\.0"):
        await python_with(candidate, lambda text: None)
    report = await examine(folder)
    assert report.is_misconfigured
    assert [each.key for each in report.findings] == ["run.dependencies"]
