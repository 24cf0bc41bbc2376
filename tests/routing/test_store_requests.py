"""What a plugin in any language is told of keys that cannot be keys."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from host.routing.store_requests import MAX_TOLD, _asked
from protocol.errors import RpcError
from protocol.store import MAX_CHANGES, StoreGetParams, StoreSetParams

LONG = "a key has 1 to 512 characters, and this one has 600"


@pytest.mark.parametrize(
    ("type_", "params", "said"),
    [
        (StoreGetParams, {"key": "k" * 600}, f"$.key: {LONG}"),
        (
            StoreGetParams,
            {"key": 5},
            "$.key: a key is a text of 1 to 512 characters, and not of the type `int`",
        ),
        (
            StoreSetParams,
            {"values": {"k" * 600: 1}, "delete": ["k" * 600]},
            f"$.values: {LONG}; $.delete: {LONG}",
        ),
        (
            StoreSetParams,
            {"delete": ["k"] * (MAX_CHANGES + 1)},
            "$.delete: a transaction has at most 1,000 of them, and this one has 1,001",
        ),
        (StoreGetParams, {}, "Object missing required field `key`"),
    ],
)
def test_a_key_that_cannot_be_one_is_told_in_words(type_: Any, params: Any, said: str) -> None:
    with pytest.raises(RpcError) as error:
        _asked(msgspec.Raw(msgspec.json.encode(params)), type_)
    assert error.value.message == said


def test_no_more_faults_are_told_than_a_person_reads() -> None:
    with pytest.raises(RpcError) as error:
        _asked(msgspec.Raw(msgspec.json.encode({"delete": [""] * 900})), StoreSetParams)
    assert len(error.value.data) == MAX_TOLD
