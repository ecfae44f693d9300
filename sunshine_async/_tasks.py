"""What a job does with a row, by service and mode: tables of data."""

import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from enum import Enum
from typing import Any, Final, cast

import attrs
from attrs import Factory, field, frozen

from sunshine_async._codec import Misfit, structure, wire_name
from sunshine_async._columns import Shape, times
from sunshine_async._endpoint import Endpoint, Request
from sunshine_async.rows import BadRow, Row
from sunshine_async.smooch import app_users
from sunshine_async.smooch.models import AppUserPreCreate, AppUserUpdate
from sunshine_async.sunshine.models import UserCreateBody, UserUpdateBody
from sunshine_async.sunshine.users import CREATE, DELETE, UPDATE

BETWEEN: Final = "\x1f"
"""What stands between a key and what it is within."""

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
    LOOK = "looked up by its key: done if it is there as sent, sent again if it isn't there"
    GONE = "sent again: if there is nothing to delete, it was done"
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
    remote_id: str | None = None
    """The service's own id of its user, where an earlier run has left it in the journal."""


@frozen
class Task:
    """What one mode of one service does with a row."""

    shape: Shape
    send: Callable[[Any, Entry], Awaitable[object]]
    """Sends an entry through a client of the service."""
    key: Callable[[Entry], str | None]
    """Says whose entry it is: those of one user go one after another."""
    asks: Callable[[Entry], Request]
    """Returns what is sent for an entry; raises `ValueError` for one that can't be."""
    names: tuple[str, ...] = ()
    """The fields of a row, the first that it has, that say whose row it is; as on the wire."""
    within: tuple[str, ...] = ()
    """The fields that set apart users who share such a key."""
    done: str = "done"
    """What a row is when it is done."""
    again: Callable[[Entry], Again] = lambda _: Again.NEVER
    look: Callable[[Any, Entry], Awaitable[object]] | None = None
    """Returns what is there under an entry's key; raises `NotFoundError` where there is nothing."""
    remote_id: Callable[[Any], str | None] = lambda _: None
    """Returns the service's own id of what `send` or *look* returned."""
    _times: tuple[tuple[str, ...], ...] = field(
        init=False, default=Factory(lambda task: _times(task.shape), takes_self=True)
    )

    def entry(
        self, row: Row, number: int = 0, *, begun: bool = False, remote_id: str | None = None
    ) -> Entry | BadRow:
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
        return Entry(row.line, who, body, beside, beyond, number, begun, remote_id)

    def key_of(self, data: Mapping[str, Any]) -> str | None:
        """Return whose row *data* is, without looking at the rest of it; None if it doesn't say."""
        who = next((one for name in self.names if (one := _said(data, name))), None)
        if who is None:
            return None
        return BETWEEN.join((who, *filter(None, (_said(data, name) for name in self.within))))

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
    probe: Callable[[Any], Awaitable[object]]
    """Asks a service that was gone whether it is back: any answer will do, and it changes nothing."""


def _times(shape: Shape) -> tuple[tuple[str, ...], ...]:
    return () if shape.body is None else times(shape.body)


def _text(name: str, value: Any) -> str:
    try:
        return "" if value is None else structure(value, str)
    except Misfit as misfit:
        named = Misfit(misfit.reason, name)
    raise named


def _said(data: Mapping[str, Any], name: str) -> str | None:
    value = data.get(name)
    return value if isinstance(value, str) else None


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
_APP: Final = {"app_id": "app"}  # whichever: the client has looked at its own


def _asks(endpoint: Endpoint[Any, Any]) -> Callable[[Entry], Request]:
    """Return how *endpoint*, which has a user's id in its path, is asked."""

    def asks(entry: Entry) -> Request:
        path = {**_APP, "user_id_or_external_id": entry.id}
        return endpoint.request(entry.body, path, {"brandId": entry.beside.get("brandId")})

    return asks


def _asks_both(entry: Entry) -> Request:
    """Return what creates; raise `ValueError` for what can't be, or could never be changed."""
    key = entry.body.external_id
    if not key:
        message = "no externalId: without it nobody can tell whether the user is there"
        raise ValueError(message)
    UPDATE.request(UserUpdateBody(), {**_APP, "user_id_or_external_id": key}, {})
    return CREATE.request(entry.body, _APP, {})


SUNSHINE: Final = Service(
    "sunshine",
    {
        Mode.CREATE: Task(
            Shape(UserCreateBody),
            send=lambda client, entry: client.users.create(entry.body),
            key=lambda entry: entry.body.external_id or None,
            asks=lambda entry: CREATE.request(entry.body, _APP, {}),
            names=("externalId",),
            within=_BRAND,
            done="created",
            again=lambda entry: Again.LOOK if entry.body.external_id else Again.NEVER,
            look=lambda client, entry: client.users.get(
                entry.body.external_id, brand_id=entry.body.brand_id or None
            ),
            remote_id=lambda user: user.id,
        ),
        Mode.UPDATE: Task(
            Shape(UserUpdateBody, ids=_IDS, beside=_BRAND),
            send=lambda client, entry: client.users.update(
                entry.id, entry.body, brand_id=entry.beside.get("brandId")
            ),
            key=lambda entry: entry.id,
            asks=_asks(UPDATE),
            names=_IDS,
            within=_BRAND,
            done="updated",
            again=lambda _: Again.HARMLESS,
            remote_id=lambda user: user.id,
        ),
        Mode.UPSERT: Task(
            Shape(UserCreateBody),
            send=lambda client, entry: client.users.upsert(entry.body),
            key=lambda entry: entry.body.external_id or None,
            asks=_asks_both,
            names=("externalId",),
            within=_BRAND,
            done="upserted",
            again=lambda _: Again.HARMLESS,
            remote_id=lambda user: user.id,
        ),
        Mode.DELETE: Task(
            Shape(None, ids=_IDS, beside=_BRAND),
            send=lambda client, entry: client.users.delete(
                entry.id, brand_id=entry.beside.get("brandId")
            ),
            key=lambda entry: entry.id,
            asks=_asks(DELETE),
            names=_IDS,
            within=_BRAND,
            done="deleted",
            again=lambda _: Again.GONE,
        ),
    },
    probe=lambda client: client.users.get("is-the-service-back"),
)

_V1_IDS: Final = ("id", "_id", "userId")


def _asks_v1(endpoint: Endpoint[Any, Any]) -> Callable[[Entry], Request]:
    """Return how *endpoint* of v1.1, which has a user's id in its path, is asked."""
    return lambda entry: endpoint.request(entry.body, {**_APP, "user_id": entry.id}, {})


def _asks_both_v1(entry: Entry) -> Request:
    """Return what creates; raise `ValueError` for what can't be, or could never be changed."""
    app_users.UPDATE.request(AppUserUpdate(), {**_APP, "user_id": entry.body.user_id}, {})
    return app_users.PRE_CREATE.request(entry.body, _APP, {})


SMOOCH: Final = Service(
    "smooch",
    {
        Mode.CREATE: Task(
            Shape(AppUserPreCreate),
            send=lambda client, entry: client.app_users.pre_create(entry.body),
            key=lambda entry: entry.body.user_id,
            asks=_asks_both_v1,
            names=("userId",),
            done="created",
            again=lambda _: Again.LOOK,
            look=lambda client, entry: client.app_users.get(entry.body.user_id),
            remote_id=lambda user: user.id,
        ),
        Mode.UPDATE: Task(
            Shape(AppUserUpdate, ids=_V1_IDS),
            send=lambda client, entry: client.app_users.update(entry.id, entry.body),
            key=lambda entry: entry.id,
            asks=_asks_v1(app_users.UPDATE),
            names=_V1_IDS,
            done="updated",
            again=lambda _: Again.HARMLESS,
            remote_id=lambda user: user.id,
        ),
        Mode.UPSERT: Task(
            Shape(AppUserPreCreate),
            send=lambda client, entry: client.app_users.upsert(entry.body),
            key=lambda entry: entry.body.user_id,
            asks=_asks_both_v1,
            names=("userId",),
            done="upserted",
            again=lambda _: Again.HARMLESS,
            remote_id=lambda user: user.id,
        ),
        Mode.DELETE: Task(
            Shape(None, ids=_V1_IDS),
            send=lambda client, entry: client.app_users.delete(entry.id),
            key=lambda entry: entry.id,
            asks=_asks_v1(app_users.DELETE),
            names=_V1_IDS,
            done="deleted",
            again=lambda _: Again.GONE,
        ),
    },
    probe=lambda client: client.app_users.get("is-the-service-back"),
)

SERVICES: Final[Mapping[str, Service]] = {service.name: service for service in (SUNSHINE, SMOOCH)}
