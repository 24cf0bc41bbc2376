"""What an author's code may raise to say something precise to the caller."""

from __future__ import annotations

from typing import Any


class PluginError(Exception):
    """An error of your own: the caller gets `code`, `message` and `data` as they are.

    Codes above zero are yours; the protocol's are all below.
    """

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        if code <= 0:
            raise ValueError(f"the code of a PluginError is above zero, not {code}")
        super().__init__(code, message)
        self.code = code
        self.message = message
        self.data = data


class NotReady(Exception):
    """Raised by start code: not a crash, try again in `retry_after` seconds (default 5)."""

    def __init__(self, reason: str, retry_after: float = 5.0) -> None:
        if not 0 <= retry_after < float("inf"):
            raise ValueError(f"retry_after is a number of seconds, not {retry_after}")
        super().__init__(reason)
        self.reason = reason
        self.retry_after = retry_after


class AuthorMistake(Exception):
    """The plugin is put together in a way that cannot work; says which function, and what to do."""
