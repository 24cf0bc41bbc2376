"""Everything that one plugin keeps: its store, and its folder; and the end of both."""

from __future__ import annotations

import os
import shutil

import anyio.to_thread

from host.errors import HostMisuse, StoreUnavailable
from host.store.stores import Stores


class Data:
    """Raises HostMisuse if the plugin's own code is in the folder: it would be removed with it."""

    def __init__(self, stores: Stores, plugin: str, folder: str, code: str) -> None:
        if os.path.abspath(code).startswith(f"{os.path.abspath(folder)}{os.sep}"):
            text = f"the code of `{plugin}` is in the folder for its data, {folder}"
            raise HostMisuse(text, hint="remove it without purging", plugin=plugin)
        self._stores = stores
        self._plugin = plugin
        self._folder = folder

    async def purge(self) -> None:
        """For good. Raises StoreUnavailable: not all of it is gone."""
        await self._stores.purge(self._plugin)
        try:
            await anyio.to_thread.run_sync(shutil.rmtree, self._folder)
        except FileNotFoundError:
            pass
        except OSError as error:
            text = f"{error.filename}: {error.strerror}"
            raise StoreUnavailable(text, hint=f"remove {self._folder}", plugin=self._plugin) from None
