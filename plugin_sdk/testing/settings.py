"""The settings of a plugin in a test: what it was given, and what has been changed since, by whomever."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import UNSET

from plugin_sdk.testing.life import Life
from protocol import values
from protocol.errors import ErrorCode, RpcError
from protocol.lifecycle import ConfigParams, ConfigTold, ConfigUpdate, ConfigVerdict


class Settings:
    """`life` is the plugin's as it is now. Whatever is refused changes nothing."""

    def __init__(self, own: Mapping[str, Any], given: Mapping[str, Any], life: Callable[[], Life]) -> None:
        self._given = _merged(own, given)
        self._changed: dict[str, Any] = {}
        self._revision = 0
        self._life = life

    @property
    def value(self) -> dict[str, Any]:
        return _merged(self._given, self._changed)

    def told(self) -> ConfigTold:
        return ConfigTold(config=self.value, config_revision=self._revision)

    def change(self, changes: Mapping[str, Any], *, tell: bool) -> bool:
        """Whether anything is other than it was. `tell` has the plugin told. Raises RpcError."""
        after = {**self._changed, **changes}
        changed = {key: value for key, value in after.items() if value is not UNSET}
        asked = ConfigParams(config=_merged(self._given, changed))
        verdict = msgspec.convert(self._life().ask("config/validate", asked), ConfigVerdict)
        if verdict.problems:
            text = "; ".join(f"{each.path}: {each.reason}" for each in verdict.problems)
            raise RpcError(ErrorCode.INVALID_PARAMS, text, msgspec.to_builtins(verdict.problems))
        if changed == self._changed:
            return False
        self._changed = changed
        self._revision += 1
        if tell:
            self._life().channel.notify("config/changed", self.told())
        return True

    def update(self, params: msgspec.Raw) -> ConfigTold:
        """What `ctx.update_settings` asks for: it is told before it is answered. Raises RpcError."""
        wanted = msgspec.json.decode(values.as_json(params), type=ConfigUpdate)
        if wanted.config_revision is not None and wanted.config_revision != self._revision:
            text = f"the settings have changed since revision {wanted.config_revision}"
            raise RpcError(ErrorCode.INVALID_STATE, text, {"config_revision": self._revision})
        self.change({**wanted.set, **dict.fromkeys(wanted.unset, UNSET)}, tell=True)
        return self.told()


def _merged(low: Mapping[str, Any], high: Mapping[str, Any]) -> dict[str, Any]:
    """Tables key by key; all else is replaced whole."""
    merged = dict(low)
    for key, value in high.items():
        below = merged.get(key)
        both = isinstance(value, Mapping) and isinstance(below, Mapping)
        merged[key] = _merged(below, value) if both else value  # type: ignore[arg-type]
    return merged
