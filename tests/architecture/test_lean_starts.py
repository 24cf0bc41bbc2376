"""What a process imports before it has done anything: each of these costs everybody who starts one.

What a plugin's process imports is in `tests/plugin_sdk/test_sdk_start.py`. `make bench-starts` has the times.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

HEAVY = {
    *(
        "anyio",
        "asyncio",
        "bz2",
        "concurrent",
        "dataclasses",
        "h11",
        "jsonschema_rs",
        "loguru",
        "lzma",
        "pathlib",
    ),
    *("psutil", "rich", "shutil", "subprocess", "tomllib", "traceback", "typing_extensions", "uvloop"),
}
LOOK = """import sys
sys.argv = {argv}
{code}
names = sorted(sys.modules)
import json
print(json.dumps(names))"""


def loaded(code: str, *argv: str, **environment: str) -> set[str]:
    """The modules that there are after `code`, in an interpreter that has imported nothing."""
    done = subprocess.run(
        [sys.executable, "-c", LOOK.format(argv=list(argv), code=code)],
        capture_output=True,
        text=True,
        timeout=30,
        env=os.environ | environment,
    )
    modules: set[str] = set(json.loads(done.stdout.splitlines()[-1]))
    return modules


def command(*words: str) -> set[str]:
    """After a command of the command line, as a process runs it."""
    return loaded("import host.cli\ntry: host.cli.main()\nexcept SystemExit: pass", "outboard", *words)


def test_status_imports_what_it_shows_and_no_more(tmp_path: Path) -> None:
    modules = command("status", "--socket", str(tmp_path / "none"))
    assert "host.cli.status" in modules
    assert "host.control.client" in modules
    assert not HEAVY & modules
    assert not {"host.observability.logs", "host.host", "plugin_sdk.plugin"} & modules


def test_the_packages_themselves_import_next_to_nothing() -> None:
    code = "import host, plugin_sdk, protocol, host.cli, plugin_sdk.boot, plugin_sdk.lean"
    modules = loaded(code)
    assert not (HEAVY | {"inspect", "logging", "msgspec"}) & modules
    assert not [
        name for name in modules if name.startswith("plugin_sdk.") and name[11:] not in ("boot", "lean")
    ]


def test_the_wrapper_of_plugins_in_other_languages_imports_what_is_built_in() -> None:
    boot = Path(__file__).parents[2] / "plugin_sdk" / "boot.py"
    """And hardening, which is what it is for, needs no `ctypes`."""
    source = boot.read_text(encoding="utf-8")
    code = f"names = {{'__name__': 'boot'}}\nexec({source!r}, names)\nnames['harden']()"
    host = {"OUTBOARD_HOST_PID": str(os.getpid()), "OUTBOARD_RLIMITS": "NOFILE=1024"}
    assert not {"collections", "ctypes", "enum", "re", "typing"} & loaded(code, **host)


def test_a_host_on_linux_reads_the_kernels_own_tables() -> None:
    assert "psutil" not in loaded("import host.control.daemon")
