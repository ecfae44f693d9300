"""What a job does with a row, by service and mode: tables of data."""

import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from enum import Enum
from typing import Any, Final, cast

import attrs
from attrs import Factory, field, frozen

from sunshine_async._codec import Misfit, structure, wire_name
from sunshine_async._columns import Shape, times
from sunshine_async.rows import BadRow, Row
from sunshine_async.sunshine.models import UserCreateBody, UserUpdateBody

_ZONED: Final = re.compile(r".*[T ][0-9:.,]+(Z|[+-][0-9]{2}(:?[0-9]{2})?)(\[[^\]]*\])?")


class Mode(Enum):
    """What is done with each row."""

    CREATE = "create"
    UPDATE = "update"
    UPSERT = "upsert"
    DELETE = "delete"


@frozen
class Entry:
    """A row, ready to be sent: the *id* of its user, the *body*, and what stands *beside* it."""

    line: int
    id: str = field(default="", repr=False)
    body: Any = field(default=None, repr=False)
    beside: Mapping[str, str] = field(factory=dict[str, str], repr=False)
    beyond: tuple[str, ...] = ()
    """The keys of the body that its model doesn't know: they are sent as they are."""


@frozen
class Task:
    """What one mode of one service does with a row."""

    shape: Shape
    send: Callable[[Any, Entry], Awaitable[object]]
    """Sends an entry through a client of the service."""
    key: Callable[[Entry], str | None]
    """Says whose entry it is: those of one user go one after another."""
    _times: tuple[tuple[str, ...], ...] = field(
        init=False, default=Factory(lambda task: _times(task.shape), takes_self=True)
    )

    def entry(self, row: Row) -> Entry | BadRow:
        """Return what is sent for *row*, or why it can't be."""
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
        return Entry(row.line, who, body, beside, beyond)

    def _body(self, data: dict[str, Any], kind: type[Any]) -> Any:
        for path in self._times:
            value = _at(data, path)
            if isinstance(value, str) and not _ZONED.fullmatch(value):
                reason = "expected a time with its zone, such as 2020-05-21T15:53:30.197Z"
                raise Misfit(reason, ".".join(path))
        return structure(data, kind)


@frozen
class Service:
    """A service that jobs know, and what each mode does there."""

    name: str
    tasks: Mapping[Mode, Task]


def _times(shape: Shape) -> tuple[tuple[str, ...], ...]:
    return () if shape.body is None else times(shape.body)


def _text(name: str, value: Any) -> str:
    try:
        return "" if value is None else structure(value, str)
    except Misfit as misfit:
        named = Misfit(misfit.reason, name)
    raise named


def _beyond(model: Any, prefix: str) -> Iterator[str]:
    for key in model.extra:
        yield prefix + key
    for each in attrs.fields(model.__class__):
        inner: Any = getattr(model, each.name)
        if hasattr(inner, "extra"):
            yield from _beyond(inner, f"{prefix}{wire_name(each.name)}.")


def _at(data: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        if type(data) is not dict:
            return None
        data = cast("dict[str, Any]", data).get(name)
    return data


_IDS: Final = ("id", "externalId")
_BRAND: Final = ("brandId",)

SUNSHINE: Final = Service(
    "sunshine",
    {
        Mode.CREATE: Task(
            Shape(UserCreateBody),
            send=lambda client, entry: client.users.create(entry.body),
            key=lambda entry: entry.body.external_id or None,
        ),
        Mode.UPDATE: Task(
            Shape(UserUpdateBody, ids=_IDS, beside=_BRAND),
            send=lambda client, entry: client.users.update(
                entry.id, entry.body, brand_id=entry.beside.get("brandId")
            ),
            key=lambda entry: entry.id,
        ),
        Mode.UPSERT: Task(
            Shape(UserCreateBody),
            send=lambda client, entry: client.users.upsert(entry.body),
            key=lambda entry: entry.body.external_id or None,
        ),
        Mode.DELETE: Task(
            Shape(None, ids=_IDS, beside=_BRAND),
            send=lambda client, entry: client.users.delete(
                entry.id, brand_id=entry.beside.get("brandId")
            ),
            key=lambda entry: entry.id,
        ),
    },
)

SERVICES: Final[Mapping[str, Service]] = {service.name: service for service in (SUNSHINE,)}
