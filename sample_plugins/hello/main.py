"""Greets people, in two ways. `outboard new` begins a plugin of your own."""

import msgspec

from plugin_sdk import Context, Plugin

plugin = Plugin()


class Settings(msgspec.Struct):
    greeting: str = "Hello"


plugin.settings(Settings)


@plugin.method
def greet(name: str, ctx: Context, excited: bool = False) -> str:
    """Greets somebody by name."""
    return f"{ctx.settings.greeting}, {name}{'!' if excited else '.'}"


@plugin.hook("text.decorate")
def decorate(text: str) -> str:
    """Puts a wave in front of the text."""
    return f"\N{WAVING HAND SIGN} {text}"


if __name__ == "__main__":
    plugin.run()
