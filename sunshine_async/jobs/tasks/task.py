"""What a job does with a row: what a table of a service's modes is made of."""

import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from enum import Enum
from functools import cache
from typing import Any, Final, TypeAlias, cast, get_args

import attrs
from attrs import Factory, evolve, field, frozen

from sunshine_async._calls.upsert import UpsertResult
from sunshine_async._codec import Misfit, covers, name_of, structure_body
from sunshine_async._http.messages import Request
from sunshine_async.bulk.batching import ENVELOPE, Sender
from sunshine_async.errors import ConflictError
from sunshine_async.rows import BadRow, Row, Shape
from sunshine_async.rows.columns import time_fields

BETWEEN: Final = "\x1f"
"""What stands between a key and what it is within."""

CONCURRENCY: Final = 64
"""Calls under way at once, where it isn't said."""

_ZONED: Final = re.compile(r".*[T ][0-9:.,]+(Z|[+-][0-9]{2}(:?[0-9]{2})?)(\[[^\]]*\])?")


class Mode(Enum):
    """What is done with each row."""

    CREATE = "create"
    UPDATE = "update"
    UPSERT = "upsert"
    DELETE = "delete"


class Again(Enum):
    """What may be done with a row that had begun when its job was cut off."""

    HARMLESS = "sent again: it leaves what one sending leaves"
    BLURRED = "the same, but whether it was created or changed can't be told any more"
    LOOK = "looked up by its key: done if it is there as sent, sent again if it isn't there"
    FIND = (
        "looked up by its key: changed where it is; unknown where it isn't, since it may still come"
    )
    GONE = "sent again: if there is nothing to delete, it was done; a conflict leaves it unknown"
    NEVER = "nothing can tell: it is unknown"


@frozen
class Entry:
    """A row, ready to be sent: the *id* of its user, the *body*, and what stands *beside* it."""

    line: int
    id: str = field(default="", repr=False)
    body: Any = field(default=None, repr=False)
    beside: Mapping[str, str] = field(factory=dict[str, str], repr=False)
    beyond: tuple[str, ...] = ()
    """The keys of the body that its model doesn't know: they are sent as they are."""
    number: int = 0
    """Its row in the journal."""
    begun: bool = False
    """Whether it may have been sent before, and what became of it isn't known."""
    alone: bool = False
    """Whether its row is marked as begun by itself, just before it is sent."""
    remote_id: str | None = None
    """The service's own id of its user, where an earlier run has left it in the journal."""
    size: int = 0
    """Its bytes, where it is sent with others."""


Send: TypeAlias = Callable[[Any, Entry], Awaitable[object]]


@frozen
class Parcels:
    """Entries that are sent together: each has its own outcome."""

    way: Callable[[Any], Sender[Entry, Any]]
    """Returns how they go out through a client of the service."""
    most: int = 100
    """How many go together."""
    at_once: int = 8
    """How many such calls are under way, where it isn't said: all of them are in doubt after a kill."""


@frozen
class Task:
    """What one mode of one service does with a row."""

    shape: Shape
    send: Send | Parcels
    """Sends an entry through a client of the service, or many together."""
    key: Callable[[Entry], str | None]
    """Says whose entry it is: those of one user go one after another."""
    asks: Callable[[Entry], Request]
    """Returns what is sent for an entry; raises `ValueError` for one that can't be."""
    names: tuple[str, ...] = ()
    """The fields of a row, the first that it has, that say whose row it is; as on the wire."""
    within: tuple[str, ...] = ()
    """The fields that set apart users who share such a key."""
    apart: bool = False
    """Whether the same text in two of *names* is two users."""
    done: str = "done"
    """What a row is when it is done, unless what its call brought says it: see `outcome`."""
    again: Callable[[Entry], Again] = lambda _: Again.NEVER
    look: Callable[[Any, Entry], Awaitable[object]] | None = None
    """Returns what is there under an entry's key; None, or a `NotFoundError`: there is nothing."""
    as_sent: Callable[[Any, Any], bool | None] = covers
    """Whether what was found has all that a body sets."""
    is_taken: Callable[[Exception], bool] = lambda error: isinstance(error, ConflictError)
    """Whether an error says that another user has an entry's key."""
    remote_id: Callable[[Any], str | None] = lambda _: None
    """Returns the service's own id of the user that `send` or *look* returned."""
    also: tuple[type[Any], ...] = ()
    """Models that a row may be, beside the one that its shape names."""
    _times: tuple[tuple[str, ...], ...] = field(
        init=False, default=Factory(lambda task: _times(task.shape), takes_self=True)
    )

    def entry(self, row: Row, number: int = 0, *, remote_id: str | None = None) -> Entry | BadRow:
        """Return what is sent for *row*, or why it can't be; the rest is as the journal has it."""
        data = dict(row.data)
        try:
            address = {name: _text(name, data.pop(name, None)) for name in self.shape.address}
            who = next((address[name] for name in self.shape.ids if address[name]), "")
            body = None if self.shape.body is None else self._body(data, self.shape.body)
        except Misfit as misfit:
            return BadRow(row.line, str(misfit))
        if self.shape.ids and not who:
            return BadRow(row.line, f"no {' and no '.join(self.shape.ids)}: it says no user")
        beside = {name: address[name] for name in self.shape.beside if address[name]}
        beyond = () if body is None else tuple(_beyond(body, ""))
        entry = Entry(row.line, who, body, beside, beyond, number, remote_id=remote_id)
        return self._measured(entry) if isinstance(self.send, Parcels) else entry

    def outcome(self, value: object) -> str:
        """Return what a row is whose call brought *value*.

        An upserted one is ``created``, ``updated`` or ``unchanged``, and ``upserted`` where nobody
        can tell: it is there as sent, and an answer was lost on the way.
        """
        return value.did.value if isinstance(value, UpsertResult) else self.done

    def id_of(self, value: object) -> str | None:
        """Return the service's own id of the user that a call brought as *value*."""
        found = (
            cast("UpsertResult[object]", value).value if isinstance(value, UpsertResult) else value
        )
        return None if found is None else self.remote_id(found)

    @property
    def kinds(self) -> tuple[type[Any], ...]:
        """The models that a row may be; none: any."""
        return self.also if self.shape.body is None else (*self.also, self.shape.body)

    def takes(self, item: object) -> bool:
        """Return whether *item* is no model, or one that a row may be."""
        return not (attrs.has(type(item)) and self.kinds) or isinstance(item, self.kinds)

    @property
    def at_once(self) -> int:
        """How many calls are under way at once, where it isn't said."""
        return self.send.at_once if isinstance(self.send, Parcels) else CONCURRENCY

    @property
    def most(self) -> int:
        """How many entries a call may have."""
        return self.send.most if isinstance(self.send, Parcels) else 1

    def key_of(self, data: Mapping[str, Any]) -> str | None:
        """Return whose row *data* is, without looking at the rest of it; None if it doesn't say."""
        for name in self.names:
            who = data.get(name)
            if who and isinstance(who, str):
                parts = [who]
                for other in self.within:
                    part = data.get(other)
                    if part and isinstance(part, str):
                        parts.append(part)
                return BETWEEN.join([*parts, name] if self.apart else parts)
        return None

    def _measured(self, entry: Entry) -> Entry | BadRow:
        """Return *entry* with its size, or why it can't be sent: it must not hinder others."""
        try:
            body = cast("bytes", self.asks(entry).body)
        except ValueError as error:
            return BadRow(entry.line, str(error))
        return evolve(entry, size=len(body) - len(ENVELOPE))

    def _body(self, data: dict[str, Any], kind: type[Any]) -> Any:
        for path in self._times:
            value = _at(data, path)
            if isinstance(value, str) and not _ZONED.fullmatch(value):
                reason = "expected a time with its zone, such as 2020-05-21T15:53:30.197Z"
                raise Misfit(reason, ".".join(path))
        return structure_body(data, kind)


@frozen
class Service:
    """A service that jobs know, and what each mode does there."""

    name: str
    tasks: Mapping[Mode, Task]
    probe: Callable[[Any], Awaitable[object]]
    """Asks a service that was gone whether it is back: any answer will do, and it changes nothing."""


def _times(shape: Shape) -> tuple[tuple[str, ...], ...]:
    return () if shape.body is None else time_fields(shape.body)


def _text(name: str, value: Any) -> str:
    try:
        return "" if value is None else structure_body(value, str)
    except Misfit as misfit:
        named = Misfit(misfit.reason, name)
    raise named


def _beyond(model: Any, prefix: str) -> Iterator[str]:
    for key in model.extra:
        yield prefix + key
    for name, wire in _inner(model.__class__):
        inner = getattr(model, name)
        if attrs.has(inner.__class__):
            yield from _beyond(inner, f"{prefix}{wire}.")


@cache
def _inner(kind: type[attrs.AttrsInstance]) -> tuple[tuple[str, str], ...]:
    """Return the fields of *kind* that may hold a model, with their names on the wire."""
    return tuple(
        (field.name, name_of(field))
        for field in attrs.fields(attrs.resolve_types(kind))
        if any(attrs.has(each) for each in (field.type, *get_args(field.type)))
    )


def _at(data: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        if type(data) is not dict:
            return None
        data = cast("dict[str, Any]", data).get(name)
    return data
