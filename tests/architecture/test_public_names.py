"""What an embedder's type checker sees of `host`."""

from __future__ import annotations

from pathlib import Path

from mypy import api

import host


def test_every_public_name_is_there_and_no_other(tmp_path: Path) -> None:
    app = tmp_path / "app.py"
    app.write_text("\n".join(["import host", *(f"host.{name}" for name in host.__all__), "host.Nonsense"]))
    said, wrong, _ = api.run(["--strict", "--no-error-summary", "--cache-dir", str(tmp_path), str(app)])
    assert wrong == ""
    assert [line.split("error: ")[1] for line in said.splitlines()] == [
        'Module has no attribute "Nonsense"  [attr-defined]'
    ]
