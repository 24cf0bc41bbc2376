"""Row 10 of the fault matrix: an endless loop in an `async def` handler, of a plugin with the SDK.

Start it with `[run] python = "spin.py"`.
"""

from plugin_sdk import Plugin

plugin = Plugin()


@plugin.method
async def spin() -> None:
    """Never gives the event loop back."""
    while True:
        pass


@plugin.method
async def echo(text: str) -> str:
    """Gives back what it is given: the healthy one."""
    return text


if __name__ == "__main__":
    plugin.run()
