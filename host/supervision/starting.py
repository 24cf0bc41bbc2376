"""How a plugin's process comes to serve: it is introduced, told its settings, and runs its start code.

The code that an author has for its start may take its time, as long as it tells of its progress.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from host.config.effective import PluginPolicy
from host.discovery.validate import Candidate
from host.process import handshake
from host.process.driver import Driver
from host.process.handshake import HandshakeRefused
from host.process.link import Expired, Link, Lost
from host.process.secrets import SecretProblem, resolved
from host.supervision.life_events import Ended, Unfit
from host.supervision.verdict import Verdict, refused_to_start
from host.supervision.voice import Voice
from protocol.errors import Refusal, Refused, RpcError
from protocol.events import Progressed
from protocol.lifecycle import ConfigTold, InitializeResult, PluginIdentity
from protocol.secrets import secret_paths, secret_values

LONGEST_START_S = 300.0
"""However much progress it makes with its start."""


class Starting:
    """The start of the process behind `link`. `policy` is asked each time: it may change meanwhile.

    `on_introduced` is called between the introduction and the author's start code.
    """

    def __init__(
        self,
        link: Link,
        candidate: Candidate,
        policy: Callable[[], PluginPolicy],
        settings_revision: Callable[[], int],
        driver: Driver,
        voice: Voice,
        *,
        on_introduced: Callable[[InitializeResult], None],
    ) -> None:
        self.doing = "answered initialize"
        """What it has not done yet, to go on after `it had not`."""
        self.is_done = False
        """Whether it serves."""
        self._link = link
        self._candidate = candidate
        self.told = ConfigTold()
        """Its settings as it has been told them."""
        self._policy = policy
        self._settings_revision = settings_revision
        self._driver = driver
        self._voice = voice
        self._on_introduced = on_introduced
        self._began_at = driver.now()
        self._deadline = self._began_at + policy().start_timeout_s

    async def run(self, identity: PluginIdentity) -> Verdict | None:
        """Until it serves, or does not. None without being done: it ended, and its exit says why."""
        try:
            await self._run(identity)
            self.is_done = True
            return None
        except HandshakeRefused as refused:
            return Verdict(
                becomes=Ended if refused.retry else Unfit,
                kind=refused.kind,
                text=refused.reason,
                fix=refused.fix,
                traceback=refused.traceback,
            )
        except RpcError as error:
            return refused_to_start(error)
        except SecretProblem as problem:
            text = f"configuration refused: {problem}"
            return Verdict(becomes=Unfit, kind="refused", text=text)
        except Expired:
            text = f"it had not {self.doing} after {self._deadline - self._began_at:.3g} s"
            return Verdict(kind="start-timeout", text=text)
        except Lost:
            return None
        except Refused as refused:
            # CLOSED: it ended between two of our words. Else its settings are what cannot be sent.
            if refused.reason is Refusal.CLOSED:
                return None
            text = f"it cannot be told its settings: {refused}"
            return Verdict(becomes=Unfit, kind="refused", text=text)

    async def _run(self, identity: PluginIdentity) -> None:
        link, deadline = self._link, self._deadline
        told = self.told = ConfigTold(
            config=self._policy().settings, config_revision=self._settings_revision()
        )
        result = await handshake.initialize(link, self._candidate, identity, told, deadline=deadline)
        link.tells_deadlines = "deadline" in result.features
        link.tells_traces = "trace" in result.features
        link.tells_parents = "parent" in result.features
        link.tells_progress = "progress" in result.features
        link.knows_streams = "stream" in result.features
        link.takes_items = "up" in result.features
        self._on_introduced(result)
        self.doing = "finished starting"
        tells_progress = "progress" in result.features
        complete = await self._with_secrets(result)
        if complete is not None:
            told.config = complete
        await handshake.start(link, deadline=deadline, tells_progress=tells_progress, settings=complete)

    def extend(self, said: Progressed) -> None:
        """It gets on with its start: from now on it has its time again, up to a bound."""
        timeout_s = self._policy().start_timeout_s
        longest = max(LONGEST_START_S, timeout_s)
        self._deadline = min(self._driver.now() + timeout_s, self._began_at + longest)
        self._link.extend(said.call.id, handshake.START, self._deadline)

    async def _with_secrets(self, introduced: InitializeResult) -> dict[str, Any] | None:
        """Its settings, if there are secrets among them; None if `initialize` has told it everything.

        Raises SecretProblem.
        """
        schema = introduced.provides.config_schema
        if schema is None or not secret_paths(schema) or "secrets" not in introduced.features:
            return None
        told = self.told.config
        settings = await resolved(told, schema)
        self._voice.secrets |= secret_values(settings, schema)
        return settings if settings != told else None


def own_folder(data_root: str, name: str) -> str:
    """The folder of a plugin of that name, made if it is not there. Raises OSError."""
    folder = os.path.join(data_root, name)
    os.makedirs(folder, mode=0o700, exist_ok=True)
    return folder
