"""Faults: scripted, or drawn by a seed."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from math import ceil, inf
from random import Random
from typing import Any, Final, Literal, TypeAlias

import httpx
from attrs import Factory, evolve, field, frozen

from sunshine_async.dixa import custom_attributes, end_users
from sunshine_async.emulator.fields import Field
from sunshine_async.errors import ConfigurationError
from sunshine_async.smooch import app_users
from sunshine_async.sunshine import users

WITHOUT_BODY: Final = frozenset({204, 205, 304})
"""The statuses whose answers have no body in HTTP."""
METHODS: Final[Mapping[str, str]] = {
    endpoint.operation: endpoint.method
    for endpoints in (
        users.ENDPOINTS, app_users.ENDPOINTS, end_users.ENDPOINTS, custom_attributes.ENDPOINTS,
    )
    for endpoint in endpoints
}  # fmt: skip
"""The method of each operation, by the operation's name in the service's documentation."""

_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_FRAMING: Final = frozenset({"content-length", "transfer-encoding"})


def _is_seconds(value: float) -> bool:
    return 0 <= value < inf


def _usual_when(mishap: Any) -> Literal["before", "after"]:
    return "after" if mishap.cut or mishap.garbled else "before"


@frozen(kw_only=True)
class Mishap:
    """One way for a call to go wrong, or to be slow. Raise `ConfigurationError` for what can't be.

    Either *status* (200 to 599: the answer has that status), *reset* (the connection is reset
    without a byte of an answer), *cut* (the connection is closed in the middle of the answer) or
    *garbled* (the answer has its status, and a body that isn't JSON); or just a *delay*, in
    seconds, which goes with each of them too.

    A status has the body that the service has for it: an error's, from 300 on; below 300 that of
    the operation, or ``{}`` where the effect doesn't happen. A redirect has a ``Location`` on
    another host.
    """

    status: int | None = None
    reset: bool = False
    cut: bool = False
    garbled: bool = False
    delay: float = 0.0
    when: Literal["before", "after"] = field(default=Factory(_usual_when, takes_self=True))
    """Before the effect, which then doesn't happen (but for a mere delay), or after the effect.

    Where it isn't given: after for *cut* and *garbled*, else before.
    """
    times: int = 1
    """The number of calls that it hits, where it is scripted."""
    headers: Mapping[str, str | Sequence[str]] = field(
        factory=dict[str, str | Sequence[str]], hash=False
    )
    """Headers of the *status*, literally: a header that is there anyway gives way.

    A list sends the header once for each value.
    """
    body: str | None = None
    """The body of the *status*, literally."""
    retry_after: float | None = None
    """Seconds for a ``Retry-After`` header."""
    retry_after_as: Literal["seconds", "date"] = "seconds"
    """The form of that header: whole seconds, or an HTTP date."""
    method: str | None = None
    """Only calls with this method."""
    operation: str | None = None
    """Only calls of this operation, named as in the service's documentation: ``CreateUser``."""

    def __attrs_post_init__(self) -> None:
        operation, has_status = self.operation, self.status is not None
        method = METHODS.get(operation or "", self.method)
        for problem, is_so in {
            "one of status, reset, cut and garbled": len(self._kinds) > 1,
            "one of status, reset, cut, garbled and delay": not self._kinds and not self.delay,
            "status: 200 to 599": self.status is not None and not 200 <= self.status <= 599,  # noqa: PLR2004
            "delay: seconds, 0 or more": not _is_seconds(self.delay),
            'when: "before" or "after"': self.when not in ("before", "after"),
            'when: a cut answer comes "after"': self.cut and self.when == "before",
            "times: 1 or more": self.times < 1,
            "headers: they go with a status": bool(self.headers) and not has_status,
            "headers: names and values as in HTTP, without those of the length": (
                not all(map(_can_be_sent, self._pairs))
            ),
            "body: it goes with a status": self.body is not None and not has_status,
            f"body: a {self.status} has none": bool(self.body) and self.status in WITHOUT_BODY,
            "retry_after: it goes with a status": self.retry_after is not None and not has_status,
            "retry_after: seconds, 0 or more": not _is_seconds(self.retry_after or 0),
            'retry_after_as: "seconds" or "date"': self.retry_after_as not in ("seconds", "date"),
            "method: one of " + ", ".join(sorted({*METHODS.values()})): (
                method is not None and method not in METHODS.values()
            ),
            f"operation: there is no {operation}": operation is not None
            and operation not in METHODS,
            f"method: {operation} is a {method}": self.method not in (None, method),
        }.items():
            if is_so:
                raise ConfigurationError(problem)

    def __str__(self) -> str:
        """Return its name in the ledger, such as ``503 before`` or ``reset after``."""
        return f"{self.status or self.kind} {self.when}"

    @property
    def kind(self) -> str:
        return next(iter(self._kinds), "delay")

    @property
    def acts(self) -> bool:
        """Whether the effect happens."""
        return self.when == "after" or self.kind == "delay"

    @property
    def sent_headers(self) -> list[tuple[str, str]]:
        """The headers of the *status*, beyond the usual ones of an answer."""
        if self.retry_after is None:
            return self._pairs
        text = str(ceil(self.retry_after))
        if self.retry_after_as == "date":
            at = datetime.now(UTC) + timedelta(seconds=ceil(self.retry_after))
            text = format_datetime(at, usegmt=True)
        return [("retry-after", text), *self._pairs]

    def hits(self, method: str, operation: str | None) -> bool:
        return self.method in (None, method) and self.operation in (None, operation)

    @property
    def _kinds(self) -> list[str]:
        kinds = {
            "status": self.status is not None,
            "reset": self.reset,
            "cut": self.cut,
            "garbled": self.garbled,
        }
        return [kind for kind, is_so in kinds.items() if is_so]

    @property
    def _pairs(self) -> list[tuple[str, Any]]:
        pairs: list[tuple[str, Any]] = []
        for name, given in self.headers.items():
            values: Sequence[Any] = given if isinstance(given, list | tuple) else [given]
            pairs += [(name.lower(), value) for value in values]
        return pairs


def _can_be_sent(header: tuple[str, Any]) -> bool:
    name, value = header
    is_text = isinstance(value, str) and bool(_VALUE.fullmatch(value))
    return is_text and bool(_NAME.fullmatch(name)) and name not in _FRAMING


DRAWN: Final = (
    Mishap(status=503, when="before"),
    Mishap(status=503, when="after"),
    Mishap(reset=True, when="before"),
    Mishap(reset=True, when="after"),
    Mishap(cut=True),
    Mishap(status=429, retry_after=1),
)
"""What ``fail`` draws from, each as likely as the others."""

_BODY: Final = Field(
    type="object",
    fields={
        "status": Field(type="integer"),
        "reset": Field(type="boolean"),
        "cut": Field(type="boolean"),
        "garbled": Field(type="boolean"),
        "delay": Field(type="number"),
        "when": Field(type="string"),
        "times": Field(type="integer"),
        "headers": Field(type="object"),
        "body": Field(type="string"),
        "retry_after": Field(type="number"),
        "retry_after_as": Field(type="string"),
        "method": Field(type="string"),
        "operation": Field(type="string"),
    },
)


def read_mishap(data: Any) -> Mishap:
    """Return a mishap from its JSON; raise `ValueError`, naming the field, for what can't be."""
    return Mishap(**_BODY.exact(data))


Scripted: TypeAlias = Mishap | httpx.TransportError


class Mishaps:
    """The faults to come, and a count of those that came."""

    def __init__(self, odds: Mapping[Mishap, float], seed: int | None) -> None:
        self.scripted: list[Scripted] = []
        self.happened: Counter[str] = Counter()
        self._odds: Final = odds
        self._seed: Final = seed
        self._luck = Random(seed)  # noqa: S311 - to be drawn again, not to be secret

    def take(self, method: str, operation: str | None) -> Scripted | None:
        """Return what goes wrong with the next call, if anything does, and count it."""
        mishap = self._next_scripted(method, operation) or self._draw(method, operation)
        if mishap is not None:
            self.happened[str(mishap) if isinstance(mishap, Mishap) else type(mishap).__name__] += 1
        return mishap

    def clear(self) -> None:
        """Start again: nothing scripted, and the draws from their beginning."""
        self.scripted.clear()
        self.happened.clear()
        self._luck.seed(self._seed)

    def _next_scripted(self, method: str, operation: str | None) -> Scripted | None:
        for index, mishap in enumerate(self.scripted):
            if not isinstance(mishap, Mishap):
                return self.scripted.pop(index)
            if mishap.hits(method, operation):
                rest = [evolve(mishap, times=mishap.times - 1)] if mishap.times > 1 else []
                self.scripted[index : index + 1] = rest
                return mishap
        return None

    def _draw(self, method: str, operation: str | None) -> Mishap | None:
        if not self._odds:
            return None
        luck = self._luck.random()
        for mishap, odds in self._odds.items():
            luck -= odds
            if luck < 0:
                return mishap if mishap.hits(method, operation) else None
        return None
