"""The app's own settings: the sections that it has declared, as instances of its structs.

They change like everything else: a change is checked whole, also by the struct's own `__post_init__`, and
is committed and then announced, or nothing has changed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from host.config.load import Configuration
from host.config.problems import FileProblem, dotted
from host.config.read import decode
from host.config.sections import Sections
from host.config.words import same
from host.process.secrets import SecretProblem, resolved
from protocol.contract import Problem, schema_of

Values = dict[str, msgspec.Struct]
"""By the name of the section."""
Subscriber = Callable[[Any, Any], None]
"""Gets the section as it was, and as it is."""


class AppSettings:
    def __init__(self, sections: Sections, on_fault: Callable[[str], None]) -> None:
        self.sections = sections
        self.values: Values = {}
        self._subscribers: list[tuple[str, Subscriber]] = []
        self._on_fault = on_fault
        """Gets a line about a subscriber that raises: what is committed stays so."""

    async def read(self, told: Configuration) -> tuple[Values, list[FileProblem]]:
        """All sections, or what is wrong with them. Fetches secrets."""
        values: Values = {}
        problems: list[FileProblem] = []
        for name, type_ in self.sections.types.items():
            value = self.sections.value(name, told.tree)
            try:
                whole = await resolved(value, schema_of(type_))
            except SecretProblem as problem:
                wrong = [Problem((name, *problem.path), problem.reason)]
            else:
                wrong = self.sections.wrong_with(name, whole)
                if not wrong:
                    values[name] = msgspec.convert(whole, type_, dec_hook=decode)
            problems += [self.sections.placed(each, told.tree) for each in wrong]
        return values, problems

    def changed(self, values: Values) -> list[str]:
        """Dotted keys that differ, and never a value."""
        return [
            dotted((name, field.encode_name))
            for name in sorted(values.keys() & self.values.keys())
            for field in msgspec.structs.fields(values[name])
            if not same(getattr(self.values[name], field.name), getattr(values[name], field.name))
        ]

    def hold(self, values: Values) -> None:
        """They hold from now on; whoever wants to know is told."""
        before, self.values = self.values, values
        for name, subscriber in list(self._subscribers):
            old, new = before.get(name), values.get(name)
            if old is not None and new is not None and not same(old, new):
                try:
                    subscriber(old, new)
                except Exception as error:  # the app's code: what it raises is its own affair
                    self._on_fault(f"[{name}]: on_config_change raises {type(error).__name__}: {error}")

    def subscribe(self, name: str, subscriber: Subscriber) -> Callable[[], None]:
        """Has it called, on the loop, with the section before and after; returns what ends that."""
        entry = (name, subscriber)
        self._subscribers.append(entry)

        def end() -> None:
            if entry in self._subscribers:
                self._subscribers.remove(entry)

        return end
