"""Imports an author's module and finds the `Plugin` in it."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys

from plugin_sdk.declarations import Declarations
from plugin_sdk.errors import AuthorMistake

_LATER = ("copy", "inspect", "logging", "pathlib", "traceback")
"""Of the standard library, what the SDK imports when it is needed first, which may be never."""


def load_plugin(target: str, folder: str = "") -> Declarations:
    """The plugin in `target`: a file ("main.py") or a module ("package.module").

    `folder` is the plugin's own, else the working directory, and becomes importable only now, so that a
    file of the author's cannot stand in for one of ours.
    """
    folder = os.path.abspath(folder)
    if target.endswith(".py"):
        path = os.path.join(folder, target)
        folder = os.path.dirname(path)
        _put_first(folder)
        name = os.path.basename(path).removesuffix(".py").replace("-", "_")
        if name in sys.modules:  # never put an author's file in the place of a module that is in use
            name = f"outboard_plugin_{name}"
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise AuthorMistake(f"{path} cannot be imported")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    else:
        _put_first(folder)
        module = importlib.import_module(target)
    found = {id(value): value for value in vars(module).values() if isinstance(value, Declarations)}
    if len(found) != 1:
        raise AuthorMistake(
            f"{target} has {'no' if not found else len(found)} Plugin at its top level: "
            "it needs exactly one, like `plugin = Plugin()`"
        )
    plugin = next(iter(found.values()))
    if not (plugin.methods or plugin.hooks or plugin.subscriptions):
        raise AuthorMistake(f"{target} provides nothing: decorate a function with @plugin.method")
    return plugin


def _put_first(folder: str) -> None:
    """Makes `folder` importable. Where something in it has a name of the standard library's, what we need of
    that is imported before: an author's `inspect.py` is no `inspect` to us.
    """
    try:
        names = {entry.partition(".")[0] for entry in os.listdir(folder)}
    except OSError:  # nobody may list it
        names = set(_LATER)
    if names & sys.stdlib_module_names:
        for name in _LATER:
            importlib.import_module(name)
    sys.path.insert(0, folder)
