"""Events between plugins, and between them and the app.

A topic is declared by whoever publishes it: the app, in `Host(topics=[...])`, or a plugin, in what it
provides; where both do, the app's word counts. A value that does not fit is the publisher's error, and
nobody hears of it. Publishing waits for nobody: each subscriber has a `Mailbox`, and who is slow loses
events of its own. Who starts later hears what is published later.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec

from host import errors
from host.contracts import held
from host.observability.bus import Bus
from host.observability.events import HostEvent, PluginProblem, StateChanged
from host.process.link import Link
from host.routing import permissions
from host.routing.listeners import Listeners, Published
from host.routing.mailbox import Event, Mailbox
from host.supervision.supervisor import Supervisor
from host.supervision.voice import one_line
from protocol import values
from protocol.contract import Problem, nearest, problems_of, schema_of
from protocol.errors import ErrorCode, Refused
from protocol.lifecycle import Provides
from protocol.methods import is_own_name
from protocol.topics import MAX_EVENT_BYTES, AckParams, EventParams

MAX_SUBSCRIPTIONS = 256
"""Of one plugin, and topics that it may declare."""


@dataclass(frozen=True)
class Topic:
    """A topic of the app's. `type` is what its values are, a msgspec.Struct for instance; None is anything.

    Raises HostMisuse for what cannot be one.
    """

    name: str
    type: Any = None

    def __post_init__(self) -> None:
        wrong = None
        if not is_own_name(self.name):
            wrong = 'a name is like "mail.received": lower case letters, digits and _, joined by dots'
        elif self.type is not None:
            try:
                schema_of(self.type)
            except TypeError as error:
                wrong = f"type: {str(error).splitlines()[-1]}"
        if wrong is not None:
            raise errors.HostMisuse(f"Topic({self.name!r}): {wrong}", hint="mend the program")


def by_name(topics: Sequence[Topic]) -> dict[str, Topic]:
    """Raises HostMisuse if one is declared twice."""
    found = {topic.name: topic for topic in topics}
    if len(found) < len(topics):
        raise errors.HostMisuse("a topic is declared twice", hint="drop one of them")
    return found


class _Party:
    """A process of a plugin that hears events."""

    __slots__ = ("link", "mailbox", "supervisor", "was_told_off")

    def __init__(self, supervisor: Supervisor, link: Link) -> None:
        self.supervisor = supervisor
        self.link = link
        self.mailbox = Mailbox()
        self.was_told_off = False


class Topics:
    """Of one host. `plugins` is the host's own table, read and never changed here."""

    def __init__(
        self,
        declared: Mapping[str, Topic],
        listeners: Listeners,
        plugins: Mapping[str, Supervisor],
        bus: Bus,
    ) -> None:
        self._declared = declared
        self._decoders = {name: msgspec.json.Decoder(topic.type or Any) for name, topic in declared.items()}
        self._listeners = listeners
        self._plugins = plugins
        self._bus = bus
        self._parties: dict[str, _Party] = {}
        self._hearers: defaultdict[str, dict[str, _Party]] = defaultdict(dict)
        """By topic, and by plugin."""
        self._topics: dict[str, tuple[Provides, held.Topics]] = {}
        """By plugin: of the topics that it declares itself, for as long as it provides the same."""
        bus.subscribe(self._look)

    # -- publishing ----------------------------------------------------------------------------

    def publish(self, topic: str, value: msgspec.Raw, publisher: str | None) -> None:
        """Hands a value to whoever hears of `topic`. Waits for nobody.

        Raises:
            PermissionDenied, UnknownTopic, ContractError, PayloadTooLarge: nobody has heard of it.
        """
        caller = None
        if publisher is not None:
            caller = self._plugins.get(publisher)
            if not permissions.permits(caller, "events", topic):
                raise permissions.refusal(publisher, caller, "events", topic)
        size = len(memoryview(value))
        if size > MAX_EVENT_BYTES:
            text = f"the value has {size:,} bytes, and an event may have {MAX_EVENT_BYTES:,}"
            raise errors.PayloadTooLarge(text, hint="put it into a file, and publish its name")
        decoded = self._held(topic, value, publisher, caller)
        if caller is not None:
            caller.stats.events.published += 1
        params = msgspec.Raw(msgspec.json.encode(EventParams(value=value, publisher=publisher)))
        event = Event(topic, params, size)
        for name, party in list(self._hearers.get(topic, {}).items()):
            if name != publisher and permissions.permits(party.supervisor, "events", topic):
                self._note_dropped(party, event, party.mailbox.put(event))
                self._send(party)
        self._listeners.tell(Published(topic, decoded, publisher))

    def _held(self, topic: str, value: msgspec.Raw, publisher: str | None, caller: Supervisor | None) -> Any:
        """The value, decoded. Raises what `publish` raises."""
        if topic in self._declared:
            try:
                return self._decoders[topic].decode(value)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                found = problems_of(msgspec.json.decode(value), self._declared[topic].type)
                raise _unfit(topic, found or [Problem((), str(error))]) from None
        declared = None if publisher is None or caller is None else self._declared_by(publisher, caller)
        own = {} if declared is None else declared.said
        if declared is None or topic not in own:
            close = nearest(topic, [*self._declared, *own])
            meant = f"; did you mean `{close}`?" if close else ""
            way = "Host(topics=[Topic(name)])" if publisher is None else "plugin.topic(name, type)"
            raise errors.UnknownTopic(
                f"the topic `{one_line(topic)}` is not declared{meant}",
                hint=f"mend the name, or declare it: {way}",
            )
        decoded = msgspec.json.decode(value)
        check = declared[topic]
        if check is not None and len(memoryview(value)) <= check.largest and not check.fits(decoded):
            raise _unfit(topic, check.problems(decoded))
        return decoded

    def _declared_by(self, publisher: str, caller: Supervisor) -> held.Topics:
        generation = caller.generation
        provides = generation.provides if generation is not None else Provides()
        cached = self._topics.get(publisher)
        if cached is None or cached[0] is not provides:
            for gone in self._topics.keys() - self._plugins.keys():
                del self._topics[gone]
            declared = [info for info in provides.events[:MAX_SUBSCRIPTIONS] if is_own_name(info.topic)]
            topics = held.Topics(declared, partial(self._tell, caller))
            cached = self._topics[publisher] = (provides, topics)
        return cached[1]

    # -- subscribers -----------------------------------------------------------------------------

    def acknowledge(self, plugin: str, link: Link, params: msgspec.Raw) -> None:
        """A plugin is done with events, and may be sent more. Never raises."""
        party = self._parties.get(plugin)
        if party is None or party.link is not link:
            return
        try:
            said = msgspec.json.decode(params, type=AckParams)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return  # a malformed notification is nobody's business
        count = party.mailbox.acknowledge(said.n)
        party.supervisor.stats.events.failed += min(said.failed, count)
        self._send(party)

    def _send(self, party: _Party) -> None:
        counts = party.supervisor.stats.events
        while (event := party.mailbox.take()) is not None:
            try:
                sent = party.link.notify(f"event/{event.topic}", event.params)
            except Refused:  # it takes no frame as large as that
                sent = False
            counts.delivered += sent
            if not sent:
                party.mailbox.give_up_last()
                self._note_dropped(party, event, 1)

    def _note_dropped(self, party: _Party, event: Event, count: int) -> None:
        if not count:
            return
        party.supervisor.stats.events.dropped += count
        if not party.was_told_off:  # once in a life: how many there are is in `status`
            party.was_told_off = True
            text = f"it is slower than its events come: of `{event.topic}` and others, some are dropped"
            self._tell(party.supervisor, text)

    def _look(self, event: HostEvent) -> None:
        """Somebody may have begun, or ceased, to serve."""
        if type(event) is not StateChanged:
            return
        name = event.plugin
        supervisor, party = self._plugins.get(name), self._parties.get(name)
        link = None if supervisor is None else supervisor.link
        if party is not None and party.link is not link:
            party.supervisor.stats.events.dropped += len(party.mailbox)
            del self._parties[name]
            for hearers in self._hearers.values():
                hearers.pop(name, None)
            party = None
        if (
            party is None
            and supervisor is not None
            and link is not None
            and supervisor.offer.provides.subscribes
        ):
            self._parties[name] = party = _Party(supervisor, link)
            for topic in supervisor.offer.provides.subscribes[:MAX_SUBSCRIPTIONS]:
                self._hearers[topic][name] = party
                if not permissions.permits(supervisor, "events", topic):
                    self._tell(supervisor, permissions.refusal(name, supervisor, "events", topic).message)
        for topic in [topic for topic, hearers in self._hearers.items() if not hearers]:
            del self._hearers[topic]

    def _tell(self, supervisor: Supervisor, text: str) -> None:
        file, name = supervisor.candidate.file, supervisor.name
        self._bus.emit(PluginProblem(file=file, plugin=name, message=f"{name}: {text}"))


def encoded(value: Any) -> msgspec.Raw:
    """A value of the app's, as JSON. Raises NotSerializable."""
    try:
        data = msgspec.json.encode(value)
        wrong = values.lost_in_json(value, data)
    except Exception as error:  # whatever a value's own code raises is the value's fault
        wrong = errors.text_of(error)
    if wrong is not None:
        raise errors.NotSerializable(
            f"the value cannot be sent: {wrong}", hint="use what JSON can carry"
        ) from None
    return msgspec.Raw(data)


def _unfit(topic: str, problems: Sequence[Problem]) -> errors.ContractError:
    return errors.ContractError(
        f"the value does not fit `{topic}`: {'; '.join(map(str, problems))}",
        remote_code=ErrorCode.INVALID_PARAMS,
        remote_name=ErrorCode.INVALID_PARAMS.name,
        data=[problem.as_data() for problem in problems],
        hint="fix the value",
    )
