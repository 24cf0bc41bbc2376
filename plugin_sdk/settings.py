"""Settings as the author has declared them: out of what the host sends, or every reason why not."""

from __future__ import annotations

from typing import Any

import msgspec

from plugin_sdk.declarations import Declarations
from plugin_sdk.dispatch import text_of
from protocol.contract import problems_of, schema_of
from protocol.errors import ErrorCode, RpcError
from protocol.lifecycle import ParamProblem
from protocol.secrets import is_reference, secret_paths, value_at


def read_settings(plugin: Declarations, config: dict[str, Any]) -> Any:
    """An instance of the author's struct, or the dict as it is where there is none.

    Raises:
        RpcError: with every problem.
    """
    if plugin.settings_type is None:
        return config
    if problems := problems_of(config, plugin.settings_type):
        text = "settings: " + "; ".join(map(str, problems))
        raise RpcError(ErrorCode.INVALID_PARAMS, text, [problem.as_data() for problem in problems])
    return msgspec.convert(config, plugin.settings_type)


def objections(plugin: Declarations, config: dict[str, Any]) -> list[ParamProblem]:
    """What the types, and then the author, have against these settings. Runs author code."""
    try:
        settings = read_settings(plugin, config)
    except RpcError as error:
        return msgspec.convert(error.data, list[ParamProblem])
    reason = objection(plugin, settings)
    return [ParamProblem(path="$", reason=reason)] if reason else []


def objection(plugin: Declarations, settings: Any) -> str:
    """Why the author's validator refuses these settings; "" if it does not."""
    if plugin.validator is None:
        return ""
    try:
        plugin.validator(settings)
    except Exception as error:  # author code: whatever it raises is the reason
        return text_of(error) or type(error).__name__
    return ""


def waits_for_secrets(plugin: Declarations, config: dict[str, Any]) -> bool:
    """Whether something in here only says where a secret is to be had from."""
    if plugin.settings_type is None:
        return False
    secrets = secret_paths(schema_of(plugin.settings_type))
    return any(is_reference(value_at(config, path)) for path in secrets)
