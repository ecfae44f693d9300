"""Operations of a service as values: encode the request, decode the answer or the error. No I/O."""

import re
from collections.abc import Container, Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from functools import cached_property
from string import Formatter
from types import NoneType
from typing import Any, Final, Generic, NamedTuple, TypeVar, cast
from urllib.parse import quote, unquote

from attrs import field, frozen

from sunshine_async import _codec
from sunshine_async._calls.arguments import argument_of, check_type
from sunshine_async._calls.error_body import error_details, is_foreign
from sunshine_async._calls.retry import MAY_HAVE_ACTED, Replay, fault_of, retry_after_in
from sunshine_async._http.foreign_text import request_id_of
from sunshine_async._http.messages import Request, Response, StreamedBody
from sunshine_async.errors import ApiError, ErrorDetail, Fault, ResponseDecodeError, error_class

B = TypeVar("B")
R = TypeVar("R")

MAX_JSON_BYTES: Final = 100_000
"""Largest JSON body that a service takes, in bytes ("100kb" in Sunshine's documentation)."""

_OF_A_GATEWAY: Final = (
    "The answer isn't JSON, so a gateway may have refused: check base_url and the network"
)
_SAME_OF_A_GATEWAY: Final = frozenset({401, 413, 429})
"""Statuses with a next step that is right whoever refused."""
_NOT_FOLLOWED: Final = "the service redirects, which is not followed"
_METHOD: Final = r"GET|HEAD|POST|PUT|PATCH|DELETE"
_TEMPLATE: Final = r"(/([A-Za-z0-9_.~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2}|\{[A-Za-z_]+\})*)+"
_PLAIN: Final = re.compile(r"[A-Za-z0-9_~-][A-Za-z0-9_.~-]*")
_CONTROL: Final = r"[\x00-\x1f\x7f-\x9f]"


class ReadBack(NamedTuple):
    """Look-up of a record that a create may have made, by fields of the create's body.

    *path* and *query* name the body's key for each value of the look-up.
    """

    endpoint: "Endpoint[Any, Any]"
    path: Mapping[str, str]
    query: Mapping[str, str]


def segment(name: str, value: str) -> str:
    """Return *value* percent-encoded as one segment of a path.

    Raise `ValueError`, naming *name*, for a value such as ``..``, which would lead to another path.
    """
    try:
        # the first test is for ids of a service, at a third of the cost
        if (type(value) is str and value.isalnum() and value.isascii()) or _PLAIN.fullmatch(value):
            return value
        if re.search(_CONTROL, value):
            message = f"{name} has a control character in it"
        elif value in {"", ".", ".."}:
            message = f"{name} can't be {value!r}: that would call another URL"
        else:
            return _percent_encode(name, value)
    except TypeError:
        message = f"{name} must be text, not {type(value).__name__}"
        raise TypeError(message) from None
    raise ValueError(message)


def _percent_encode(name: str, value: str) -> str:
    check_type(name, type(value))
    try:
        return quote(value, safe="")
    except UnicodeEncodeError:
        message = f"{name} has a lone surrogate in it, which UTF-8 can't hold"
    raise ValueError(message)


def encode_query(
    values: Mapping[str, str | None],
    declared: Container[str] = (),
    needed: Container[str] = (),
) -> str:
    """Return the *values* that are set as a query, percent-encoded.

    Raise `TypeError` or `ValueError` for a value that is no text, for a missing value of *needed*,
    and for an empty text of *declared*: the service may take an empty filter for no filter. The
    error names the argument of a parameter of *declared*, and any other parameter itself.
    """
    pairs: list[str] = []
    for key, value in values.items():
        if value is None and key not in needed:
            continue
        name = argument_of(key) if key in declared else key
        if value == "" and key in declared:
            message = (
                f"{name} is empty: hand in a text{'' if key in needed else ', or leave it out'}"
            )
            raise ValueError(message)
        pairs.append(f"{_percent_encode('query', key)}={_percent_encode(name, cast('str', value))}")
    return "&".join(pairs)


class Json:
    """Body without a model: any JSON *value*, null too."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value: Final = value


# with slots, a cached property makes each access cost 700 instructions
@frozen(eq=False, repr=False, slots=False)
class Endpoint(Generic[B, R]):
    """One operation of a service, declared once; ``str(endpoint)`` shows no id."""

    method: str
    path: str
    operation: str = field(kw_only=True)
    """The name in the service's documentation."""
    accepts: type[B] | None = field(kw_only=True, default=None)
    returns: type[R] = field(kw_only=True)
    inside: str | None = field(kw_only=True, default=None)
    """The envelope: the key of the answer that holds the result."""
    query: tuple[str, ...] = field(kw_only=True, default=())
    needs: tuple[str, ...] = field(kw_only=True, default=())
    """The parameters of *query* that the service requires."""
    ok: tuple[int, ...] = field(kw_only=True, default=(200,))
    """The statuses of success in the specification; every 2xx is read as a success."""
    replay: Replay = field(kw_only=True)
    replay_with: Mapping[str, Replay] = field(kw_only=True, factory=dict[str, Replay])
    """The replay safety of a body that sets a field of this table."""
    read_back: ReadBack | None = field(kw_only=True, default=None)
    faults: Mapping[int, Fault] = field(kw_only=True, factory=dict[int, Fault])
    """Statuses with a meaning special to this operation; these go before the rule `fault_of`."""
    advice: Mapping[int | str, str] = field(kw_only=True, factory=dict[int | str, str])
    """The next step after a status, or an error code of the service, in place of the usual one; after
    a lost answer the usual stands."""
    max_json_bytes: int = field(kw_only=True, default=MAX_JSON_BYTES)

    @cached_property
    def _pieces(self) -> tuple[tuple[str, str | None], ...]:
        """The path as pairs: literal text, and the name of the value that follows."""
        return tuple((literal, name) for literal, name, _, _ in Formatter().parse(self.path))

    @cached_property
    def _takes_stream(self) -> bool:  # asked once: an ABC takes its time
        return self.accepts is not None and issubclass(self.accepts, StreamedBody)

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the values that the path needs."""
        return tuple(name for _, name in self._pieces if name is not None)

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    def fault_of(self, status: int) -> Fault | None:
        """Return the fault of an answer with *status*; None if *status* settles the call."""
        if 200 <= status < 300:  # noqa: PLR2004 - 2xx: most answers are
            return None
        return self.faults.get(status) or fault_of(status)

    def replay_of(self, body: object) -> Replay:
        """Return the effect that a second sending with this *body* can have."""
        for name, replay in self.replay_with.items():
            if getattr(body, name):
                return replay
        return self.replay

    def request(
        self,
        body: B | None,
        path: Mapping[str, str] | str,
        query: Mapping[str, str | None] | str,
    ) -> Request:
        """Return the request for *body*, the values of *path*, and the set values of *query*.

        A *path* of text comes from `fill_path`. A *query* of text comes from the service and stays
        unchanged, as does a `StreamedBody` body.
        Raise `ValueError` for an invalid id, and for a body that JSON can't hold or that is larger
        than the service takes; `TypeError` for a body of another class.
        """
        target = path if isinstance(path, str) else self.fill_path(path)
        if query and (asked := query if isinstance(query, str) else self.encode_query(query)):
            target = f"{target}?{asked}"
        if body is None and self.accepts in (None, Json):
            return Request(self.method, target)
        self.check_body(body)
        if self._takes_stream:
            return Request(self.method, target, cast("StreamedBody", body))
        return Request(self.method, target, encode_body(body, self.max_json_bytes))

    def encode_query(self, values: Mapping[str, str | None]) -> str:
        """Return the *values* that are set as a query; `TypeError`, `ValueError` if unfit."""
        return encode_query(values, self.query, self.needs)

    def check_body(self, body: object) -> None:
        """Raise `TypeError` for a *body* of another class than the operation takes."""
        if self.accepts is None or not isinstance(body, self.accepts):
            takes = self.accepts.__name__ if self.accepts else "no body"
            kind, hint = type(body).__name__, _codec.conversion_hint(self.accepts, body)
            del body  # error reporters attach local variables
            message = f"{self.operation} takes {takes}, not {kind}{hint}"
            raise TypeError(message)

    def id_of_pair(self, pair: Any) -> str:
        """Return the id of a *pair* (id, body); raise `TypeError` for an item of another form."""
        if issubclass(type(pair), tuple | list) and len(pair) == 2:  # noqa: PLR2004 - a pair
            return cast("str", pair[0])
        kind = type(pair).__name__
        del pair  # error reporters attach local variables
        message = f"an item must be a pair (id, body), not {kind}; a mapping has pairs in items()"
        raise TypeError(message)

    def fill_path(self, values: Mapping[str, str]) -> str:
        """Return the path with each of *values* as one segment."""
        target = ""
        for literal, name in self._pieces:
            target += literal
            if name is not None:
                try:
                    target += segment(name, values[name])
                except KeyError:
                    message = f"{self} needs path={{{name!r}: ...}}"
                    raise ValueError(message) from None
        return target

    def result(self, response: Response) -> R:
        """Return the result in a *response* of success; `ResponseDecodeError` if unreadable."""
        try:
            return self._read(response)
        except _codec.Misfit as misfit:
            error = ResponseDecodeError(
                misfit.reason,
                path=misfit.path,
                status=response.status,
                endpoint=str(self),
                body=response.body,
                id=_id_in(response.body, self.inside),
                maybe_applied=self.replay is not Replay.SAFE,
            )
        try:
            raise error
        finally:
            del error  # which holds this frame

    def error(
        self,
        response: Response,
        *,
        now: datetime,
        attempts: int = 1,
        maybe_applied: bool = False,
        hidden: tuple[str, ...] = (),
        advice: str | None = None,
    ) -> ApiError:
        """Return the error to raise for a *response* that is not `Response.ok`, at the time *now*.

        *maybe_applied* is True if one of the *attempts* before the last may have been applied. The
        secrets in *hidden* are removed. *advice* replaces the usual next step of the error's class.
        """
        status = response.status
        errors = error_details(response.body, hidden)
        if 300 <= status < 400:  # noqa: PLR2004 - 3xx
            errors = (ErrorDetail("redirect", _NOT_FOLLOWED),)
        if advice is None and not maybe_applied:
            advice = self.advice_for(status, errors)
        foreign = is_foreign(response)
        if foreign and 400 <= status < 500 and status not in _SAME_OF_A_GATEWAY:  # noqa: PLR2004
            advice = _OF_A_GATEWAY
        acted = maybe_applied or self.fault_of(status) in MAY_HAVE_ACTED
        error = error_class(status)(
            status,
            endpoint=str(self),
            errors=errors,
            request_id=request_id_of(response.headers, hidden),
            retry_after=retry_after_in(response.headers, now=now),
            attempts=attempts,
            advice=advice,
            maybe_applied=acted and self.replay is not Replay.SAFE,
        )
        if foreign:
            error.is_foreign = True
        return error

    def advice_for(self, status: int, errors: Iterable[ErrorDetail]) -> str | None:
        """Return the next step that `advice` has for *errors*, or else for *status*."""
        keys: list[int | str] = [detail.code for detail in errors if detail.code is not None]
        return next((self.advice[key] for key in [*keys, status] if key in self.advice), None)

    def _read(self, response: Response) -> R:
        if response.body_error:
            raise _codec.Misfit(response.body_error)
        if self.returns is NoneType or self.returns is object:
            # decoded also where no result is taken: a page of HTML is no answer of the service
            found = _codec.decode(response.body) if response.body.strip() else None
            return cast("R", None if self.returns is NoneType else found)
        data: Any = _codec.decode(response.body)
        if self.inside is None:
            return _codec.structure(data, self.returns)
        return _codec.structure_inside(data, self.inside, self.returns)


def _id_in(body: bytes, inside: str | None) -> str | None:
    """Return the id in an answer that can't be read as a whole; None if there is no id."""
    with suppress(Exception):
        data = _codec.decode(body)
        record = data.get(inside, data)
        found = record.get("id") or record.get("_id")
        return found if isinstance(found, str) else None
    return None


def undeclared_endpoint(
    method: str, template: str, replay: Replay | None, accepts: type[Any] = Json
) -> Endpoint[Any, object]:
    """Return an operation that the library doesn't declare: any JSON out, and in unless *accepts*.

    Raise `ValueError` for an invalid method or path, `TypeError` for an argument of another type.
    """
    check_type("method", type(method))
    check_type("template", type(template))
    check_type("replay", Replay if replay is None else type(replay), Replay)
    if not re.fullmatch(_METHOD, method):
        message = f"{method!r} is no HTTP method: GET, POST, PUT, PATCH and DELETE are"
        raise ValueError(message)
    if not re.fullmatch(_TEMPLATE, template) or {".", ".."} & set(unquote(template).split("/")):
        message = (
            f"{template!r} is no path: a path starts with a slash, has {{name}} for values of"
            " path={'name': ...}, and percent-encodes special characters; query={...} is apart"
        )
        raise ValueError(message)
    by_default = Replay.IDEMPOTENT if method in ("PUT", "DELETE") else Replay.UNSAFE
    return Endpoint(
        method,
        template,
        operation=f"{method} {template}",
        accepts=accepts,
        returns=object,
        replay=replay or (Replay.SAFE if method in ("GET", "HEAD") else by_default),
    )


def query_text(value: str | float | None) -> str | None:
    """Return a value of a query as text; true and false as in JSON.

    A value of any further type stays as it is: `encode_query` refuses the value.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(int(value))  # as text, an `Enum` is its name
    return float.__repr__(value) if isinstance(value, float) else value


def encode_body(body: object, limit: int = MAX_JSON_BYTES) -> bytes:
    """Return *body* as JSON; `ValueError` if JSON can't hold *body*, or for over *limit* bytes."""
    data = _codec.encode(body.value if isinstance(body, Json) else body)
    if len(data) <= limit:
        return data
    message = f"the body is {len(data)} bytes as JSON; the service takes {limit} at most"
    del data  # error reporters attach local variables
    raise ValueError(message)
