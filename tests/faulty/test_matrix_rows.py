"""The fault matrix has 43 rows, and each is somewhere: `pytest -k row_17` runs one."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROWS = set(range(1, 44))
_ROW = re.compile(r"^(?:async )?def test_row_(\d\d)_\w+\(", re.MULTILINE)


def rows_of(file: Path) -> set[int]:
    return {int(number) for number in _ROW.findall(file.read_text())}


def test_every_row_of_the_matrix_is_tested_and_in_one_file_only() -> None:
    files = {file.name: rows_of(file) for file in Path(__file__).parent.glob("test_*.py")}
    assert set.union(*files.values()) == ROWS
    assert sum(map(len, files.values())) == len(ROWS)


def test_every_row_is_fought_out_where_the_invariants_are_held() -> None:
    for file in Path(__file__).parent.glob("test_matrix_*.py"):
        for node in ast.parse(text := file.read_text()).body:
            source = ast.get_source_segment(text, node) or ""
            if _ROW.match(source):
                assert re.search(r"with (arena|besieged)\(", source), source.splitlines()[0]
