"""Tasks: the treatment of a row in a mode of a service. Each service has a table of tasks."""

import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from enum import Enum
from functools import cache
from operator import attrgetter
from typing import Any, Final, TypeAlias, cast, get_args

import attrs
from attrs import Factory, evolve, field, frozen

from sunshine_async._calls.upsert import UpsertResult
from sunshine_async._codec import Misfit, covers, name_of, structure_body
from sunshine_async._http.messages import Request
from sunshine_async.bulk.batching import ENVELOPE, Sender
from sunshine_async.errors import ConfigurationError, ConflictError
from sunshine_async.rows import BadRow, Row, Shape
from sunshine_async.rows.columns import time_fields
from sunshine_async.rows.shape import row_key, value_at

CONCURRENCY: Final = 64
"""Calls in flight by default, for rows that are sent singly."""

_ZONED: Final = re.compile(r"[^T ]*[T ][0-9:.,]+(Z|[+-][0-9]{2}(:?[0-9]{2})?)(\[[^\[\]]*\])?")


class Mode(Enum):
    """Operation of a job, the same for each row."""

    CREATE = "create"
    UPDATE = "update"
    UPSERT = "upsert"
    DELETE = "delete"
    MESSAGE = "message"
    """Send a message of the business to a user: a text."""


class Recovery(Enum):
    """Safe treatment of a row that a killed job had started."""

    RESEND = "send again: two sendings leave the same state as a single sending"
    RESEND_UNCERTAIN = "send again; nobody can tell any more if the user was created or changed"
    LOOK_UP_OR_RESEND = (
        "look up by key: done if the user is there as sent; send again if nobody is there"
    )
    LOOK_UP_OR_UNKNOWN = (
        "look up by key: change the user who is there; unknown if nobody is there,"
        " since the first sending may still arrive"
    )
    LOOK_UP = (
        "look up by the key of the message: done if the message is there; else unknown, since the"
        " first sending may still arrive. Sent again only on request (retry_unknown)"
    )
    RESEND_DELETE = "send again: nothing left to delete is done; a conflict is unknown"
    UNKNOWN = "unknown: nothing can tell"


@frozen
class Entry:
    """A row, ready to be sent: the *id* of its user or conversation, and the *body*."""

    line: int
    id: str = field(default="", repr=False)
    body: Any = field(default=None, repr=False)
    address: Mapping[str, str] = field(factory=dict[str, str], repr=False)
    """Values beside the body, ids included: by name on the wire. No value is empty."""
    unknown_keys: tuple[str, ...] = ()
    """Keys of the body that the model doesn't know. The service receives these keys unchanged."""
    number: int = 0
    """Number of the row in the journal."""
    begun: bool = False
    """True if an earlier sending with an unknown outcome is possible."""
    alone: bool = False
    """True if the row gets a separate mark in the journal, just before the row is sent."""
    resend: bool = False
    """True if the caller asks to send a begun row again, unless a look-up finds the row."""
    remote_id: str | None = None
    """The service's id of the user, left in the journal by an earlier run, or see `Task.new_id`."""
    size: int = 0
    """Bytes of JSON, for rows that are sent in batches."""


Send: TypeAlias = Callable[[Any, Entry], Awaitable[object]]


@frozen
class Batched:
    """Sending in batches: many entries a request, an outcome for each."""

    sender: Callable[[Any], Sender[Entry, Any]]
    """Makes the sender from a client of the service."""
    batch_size: int = 100
    """The most entries of a batch."""
    concurrency: int = 8
    """Batches in flight by default. A kill leaves all in doubt."""


@frozen
class Task:
    """Treatment of rows in a mode of a service."""

    shape: Shape
    send: Send | Batched
    """Sends an entry through a client of the service, or many entries together."""
    request: Callable[[Entry], Request]
    """Builds the request of an entry; raises `ValueError` for an entry that can't be sent."""
    key: Callable[[Entry], str | None] = attrgetter("id")
    """Returns the key of an entry's user. Entries with equal keys go one after another."""
    key_fields: tuple[str, ...] = ()
    """Wire names of the fields that may hold the key of a row: the first field present counts."""
    key_scope: tuple[str, ...] = ()
    """Wire names of the fields that separate users with equal keys."""
    key_includes_field: bool = False
    """True if equal texts in two of *key_fields* mean two users."""
    done: str = "done"
    """Outcome of a done row, unless the result of the call has the outcome: see `outcome`."""
    recovery: Callable[[Entry], Recovery] = lambda _: Recovery.UNKNOWN
    look_up: Callable[[Any, Entry], Awaitable[object]] | None = None
    """Returns the user with an entry's key. None or a `NotFoundError`: there is no such user."""
    matches: Callable[[Any, Any], bool | None] = covers
    """True if a found user has all values that a body sets."""
    is_taken: Callable[[Exception], bool] = lambda error: isinstance(error, ConflictError)
    """True for an error which says that another user has an entry's key."""
    settle: float = 0.0
    """Seconds from the opening of a journal to the first look-up: an earlier request may be late."""
    new_id: Callable[[], str] | None = None
    """Makes the remote id of a new row: a key that the row carries until the service gives an id.
    The journal has the key from before the first sending on."""
    remote_id: Callable[[Any], str | None] = attrgetter("id")
    """Returns the service's id of a user that *send* or *look_up* returned."""
    extra_models: tuple[type[Any], ...] = ()
    """Further models that are accepted as rows, besides the model of the shape."""
    _times: tuple[tuple[str, ...], ...] = field(
        init=False, default=Factory(lambda task: _times(task.shape), takes_self=True)
    )

    def entry(self, row: Row, number: int = 0, *, remote_id: str | None = None) -> Entry | BadRow:
        """Return the entry of *row*, or the reason why the row can't be sent.

        *number* and *remote_id* come from the journal.
        """
        data = dict(row.data)
        try:
            address = {name: _text(name, data.pop(name, None)) for name in self.shape.address}
            user_id = next((address[name] for name in self.shape.ids if address[name]), "")
            body = None if self.shape.body is None else self._body(data, self.shape.body)
        except Misfit as misfit:
            return BadRow(row.line, str(misfit))
        if self.shape.ids and not user_id:
            return BadRow(row.line, f"no {' and no '.join(self.shape.ids)}: the row names no user")
        address = {name: value for name, value in address.items() if value}
        if self.new_id is not None:
            remote_id = remote_id or self.new_id()
        unknown = () if body is None else tuple(_unknown_keys(body, ""))
        entry = Entry(row.line, user_id, body, address, unknown, number, remote_id=remote_id)
        return self._with_size(entry) if isinstance(self.send, Batched) else entry

    def outcome(self, value: object) -> str:
        """Return the outcome of a row from the *value* that the call returned.

        An upserted row is ``created``, ``updated`` or ``unchanged``. The outcome is ``upserted``
        if nobody can tell: the user is there as sent, and an answer was lost on the way.
        """
        return value.effect.value if isinstance(value, UpsertResult) else self.done

    def id_of(self, value: object) -> str | None:
        """Return the service's id of the user in the *value* that a call returned."""
        found = (
            cast("UpsertResult[object]", value).value if isinstance(value, UpsertResult) else value
        )
        return None if found is None else self.remote_id(found)

    @property
    def models(self) -> tuple[type[Any], ...]:
        """Models that are accepted as rows. Empty: any model is."""
        body = self.shape.body
        return self.extra_models if body is None else (*self.extra_models, body)

    def accepts(self, item: object) -> bool:
        """Return True unless *item* is a model that is not among `models`."""
        return not (attrs.has(type(item)) and self.models) or isinstance(item, self.models)

    @property
    def concurrency(self) -> int:
        """Calls in flight by default."""
        return self.send.concurrency if isinstance(self.send, Batched) else CONCURRENCY

    @property
    def batch_size(self) -> int:
        """The most entries of a call."""
        return self.send.batch_size if isinstance(self.send, Batched) else 1

    def key_of(self, data: Mapping[str, Any]) -> str | None:
        """Return the key of the row *data* without checking the rest; None if there is no key."""
        return row_key(data, self.key_fields, self.key_scope, named=self.key_includes_field)

    def _with_size(self, entry: Entry) -> Entry | BadRow:
        """Return *entry* with its size, or the reason for which the batch would be refused."""
        try:
            body = cast("bytes", self.request(entry).body)
        except ValueError as error:
            return BadRow(entry.line, str(error))
        return evolve(entry, size=len(body) - len(ENVELOPE))

    def _body(self, data: dict[str, Any], model: type[Any]) -> Any:
        for path in self._times:
            value = value_at(data, path)
            if isinstance(value, str) and not _ZONED.fullmatch(value):
                reason = (
                    "expected a time with its zone, such as 2020-05-21T15:53:30.197Z "
                    "(--timezone Europe/Berlin and --date-format '%d/%m/%Y %H:%M' read other times)"
                )
                raise Misfit(reason, ".".join(path))
        return structure_body(data, model)


@frozen
class Service:
    """A service that jobs know, with a task for each mode."""

    name: str
    tasks: Mapping[Mode, Task]
    probe: Callable[[Any], Awaitable[object]]
    """Calls the service without effect, during an outage. Any answer means: the service is back."""
    client: type[Any]
    """The class of the service's clients."""

    def check_client(self, client: object) -> None:
        """Raise `TypeError` for a *client* of another service, which would get the rows."""
        if not isinstance(client, self.client):
            kind = type(client).__name__
            message = f"a job of {self.name} takes a {self.client.__name__}, not {kind}"
            raise TypeError(message)

    def task(self, mode: Mode) -> Task:
        """Return the task of *mode*; raise `ConfigurationError` if the service hasn't the mode."""
        if not isinstance(mode, Mode):  # pyright: ignore[reportUnnecessaryIsInstance] - a text
            message = f"mode must be a Mode, such as Mode.UPSERT, not {type(mode).__name__}"
            raise TypeError(message)
        found = self.tasks.get(mode)
        if found is None:
            modes = ", ".join(each.value for each in self.tasks)
            message = f"{self.name} has no mode {mode.value}. The modes are: {modes}"
            raise ConfigurationError(message)
        return found


def check_service(service: object) -> None:
    """Raise `TypeError` unless *service* is a `Service`."""
    if not isinstance(service, Service):
        kind = type(service).__name__
        message = f"service must be a Service, such as jobs.SUNSHINE, not {kind}"
        raise TypeError(message)


def _times(shape: Shape) -> tuple[tuple[str, ...], ...]:
    return () if shape.body is None else time_fields(shape.body)


def _text(name: str, value: Any) -> str:
    try:
        return "" if value is None else structure_body(value, str)
    except Misfit as misfit:
        named = Misfit(misfit.reason, name)
    raise named


def _unknown_keys(model: Any, prefix: str) -> Iterator[str]:
    for key in model.extra:
        yield prefix + key
    for name, wire_name in _model_fields(model.__class__):
        inner = getattr(model, name)
        if attrs.has(inner.__class__):
            yield from _unknown_keys(inner, f"{prefix}{wire_name}.")


@cache
def _model_fields(model: type[attrs.AttrsInstance]) -> tuple[tuple[str, str], ...]:
    """Return the fields of *model* that may hold a model, as pairs of name and wire name."""
    return tuple(
        (field.name, name_of(field))
        for field in attrs.fields(attrs.resolve_types(model))
        if any(attrs.has(each) for each in (field.type, *get_args(field.type)))
    )
