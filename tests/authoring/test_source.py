"""What source shows without being run."""

from __future__ import annotations

import pytest

from host.authoring.findings import place_in, readable
from host.authoring.source import Shown, read_source


def uses(code: str) -> list[tuple[str, str, int]]:
    shown = Shown()
    read_source(code, "main.py", shown)
    return [(use.key, use.wanted, use.place.line) for use in shown.uses]


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("ctx.call('a', 'm')", [("plugins", "a", 1)]),
        ("\nctx.stream('a', 'm')", [("plugins", "a", 2)]),
        ("ctx.publish('t.x', 1)", [("events", "t.x", 1)]),
        ("ctx.host.mail.send(to=1)", [("host", "mail.send", 1)]),
        ("def f(c: Context): c.call('a', 'm')", [("plugins", "a", 1)]),
        ("def f(c: plugin_sdk.AsyncContext): c.call('a', 'm')", [("plugins", "a", 1)]),
        ("def f(c: 'Context'): c.call('a', 'm')", [("plugins", "a", 1)]),
        ("@plugin.on_event('t.x')\ndef f(v): ...", [("events", "t.x", 1)]),
        ("ctx.call(name, 'm')", []),
        ("phone.call('a', 'm')", []),
        ("ctx.store.get('a')", []),
        ("ctx.host", []),
        ("x().host.mail.send()", []),
    ],
)
def test_what_takes_a_permission_is_found_where_it_is_written_out(
    code: str, found: list[tuple[str, str, int]]
) -> None:
    assert uses(code) == found


def test_a_traceback_points_at_the_innermost_line_of_the_plugins_own() -> None:
    trace = [
        '  File "<frozen importlib._bootstrap>", line 1, in x',
        '  File "/p/main.py", line 3, in <module>',
    ]
    trace += ['  File "/p/inner/part.py", line 7, in f', '  File "/lib/json.py", line 9, in g', "ValueError"]
    assert place_in(trace, "/p") == ("/p/inner/part.py", 7)
    assert place_in(trace, "/q") is None
    assert readable(trace) == trace[1:]
