"""Fault injection: scripted faults, and random faults drawn from a seed."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from math import ceil, inf
from random import Random
from typing import Any, Final, Literal, TypeAlias

import httpx
from attrs import Factory, asdict, evolve, field, frozen

from sunshine_async._pace.settings import Kinds, check_kinds
from sunshine_async.dixa import custom_attributes, end_users
from sunshine_async.emulator.fields import TEXT, Schema, object_schema
from sunshine_async.emulator.platform import V2
from sunshine_async.errors import ConfigurationError
from sunshine_async.smooch import app_users

WITHOUT_BODY: Final = frozenset({204, 205, 304})  # statuses of HTTP
METHODS: Final[Mapping[str, str]] = {
    endpoint.operation: endpoint.method
    for endpoints in (
        V2.values(), app_users.ENDPOINTS, end_users.ENDPOINTS, custom_attributes.ENDPOINTS,
    )
    for endpoint in endpoints
}  # fmt: skip
"""The HTTP method of each operation, by the name in the service's documentation."""

_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_MOST: Final = 10**9  # a date has a year of four digits
_FRAMING: Final = frozenset({"content-length", "transfer-encoding"})


_KINDS: Final[Kinds] = {
    "status": (int | None, "a number from 200 to 599"),
    **dict.fromkeys(("reset", "cut", "garbled"), (bool, "True or False")),
    "delay": (float | int, "seconds"),
    "times": (int, "a number"),
    "headers": (Mapping, "a mapping"),
    "body": (str | None, "text"),
    "retry_after": (float | int | None, "seconds"),
    **dict.fromkeys(("method", "operation"), (str | None, "text")),
    **dict.fromkeys(("when", "retry_after_as"), (str, "text")),
}


def _default_when(mishap: Any) -> Literal["before", "after"]:
    return "after" if mishap.cut or mishap.garbled else "before"


@frozen(kw_only=True)
class Mishap:
    """Fault of a call, or a delay. Raise `ConfigurationError` for an impossible fault.

    - *status* (200 to 599): the response has that status.
    - *reset*: the connection is reset without a byte of a response.
    - *cut*: the connection is closed in the middle of the response.
    - *garbled*: the response has the usual status, and a body that isn't JSON.
    - *delay* in seconds, alone or together with another fault.

    The body of a status is the service's: from 300 on an error; below 300 the result of the
    operation, or ``{}`` without the effect. A redirect has a ``Location`` on another host.
    """

    status: int | None = None
    reset: bool = False
    cut: bool = False
    garbled: bool = False
    delay: float = 0.0
    when: Literal["before", "after"] = field(default=Factory(_default_when, takes_self=True))
    """A fault ``before`` the effect, except for a delay alone, prevents the effect.

    Default: ``after`` for *cut* and *garbled*, else ``before``.
    """
    times: int = 1
    """The number of calls that a scripted fault hits."""
    headers: Mapping[str, str | Sequence[str]] = field(
        factory=dict[str, str | Sequence[str]], hash=False
    )
    """Literal headers of the *status*, by name instead of the usual; a list repeats the header."""
    body: str | None = None
    """The literal body of the *status*."""
    retry_after: float | None = None
    """Seconds for a ``Retry-After`` header."""
    retry_after_as: Literal["seconds", "date"] = "seconds"
    """The format of ``Retry-After``: whole seconds, or an HTTP date."""
    method: str | None = None
    """Hit only calls with this HTTP method."""
    operation: str | None = None
    """Hit only calls of this operation, named as in the documentation: ``CreateUser``."""

    def __attrs_post_init__(self) -> None:
        check_kinds(_KINDS, asdict(self, recurse=False), ConfigurationError)
        operation, has_status = self.operation, self.status is not None
        method, methods = METHODS.get(operation or "", self.method), {*METHODS.values()}
        for problem, holds in {
            "one of status, reset, cut and garbled": len(self._kinds) > 1,
            "one of status, reset, cut, garbled and delay": not self._kinds and not self.delay,
            "status: 200 to 599": self.status is not None and not 200 <= self.status <= 599,  # noqa: PLR2004
            "delay: seconds, 0 or more": not 0 <= self.delay < inf,
            'when: "before" or "after"': self.when not in ("before", "after"),
            'when: a cut answer comes "after"': self.cut and self.when == "before",
            "times: 1 or more": self.times < 1,
            "headers: they go with a status": bool(self.headers) and not has_status,
            "headers: names and values as in HTTP, without those of the length": (
                not all(map(_is_valid_header, self._pairs))
            ),
            "body: it goes with a status": self.body is not None and not has_status,
            f"body: a {self.status} has none": bool(self.body) and self.status in WITHOUT_BODY,
            "retry_after: it goes with a status": self.retry_after is not None and not has_status,
            "retry_after: seconds, 0 or more": not 0 <= (self.retry_after or 0) < inf,
            f"retry_after: a date is {_MOST} seconds away at most": (
                self.retry_after_as == "date" and (self.retry_after or 0) > _MOST
            ),
            'retry_after_as: "seconds" or "date"': self.retry_after_as not in ("seconds", "date"),
            "method: one of " + ", ".join(sorted(methods)): method not in (None, *methods),
            f"operation: there is no {operation}, but such as CreateUser": operation
            not in (None, *METHODS),
            f"method: {operation} is a {method}": self.method not in (None, method),
        }.items():
            if holds:
                raise ConfigurationError(problem)

    def __str__(self) -> str:
        """Return the name in the ledger, such as ``503 before`` or ``reset after``."""
        return f"{self.status or self.kind} {self.when}"

    @property
    def kind(self) -> str:
        return next(iter(self._kinds), "delay")

    @property
    def acts(self) -> bool:
        """True if the effect happens."""
        return self.when == "after" or self.kind == "delay"

    @property
    def sent_headers(self) -> list[tuple[str, str]]:
        """The headers of the *status* beyond the usual headers of a response."""
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
        faults = ("reset", self.reset), ("cut", self.cut), ("garbled", self.garbled)
        status = [] if self.status is None else ["status"]
        return [*status, *(kind for kind, holds in faults if holds)]

    @property
    def _pairs(self) -> list[tuple[str, Any]]:
        pairs: list[tuple[str, Any]] = []
        for name, given in self.headers.items():
            values: Sequence[Any] = given if isinstance(given, list | tuple) else [given]
            pairs += [(str(name).lower(), value) for value in values]
        return pairs


def _is_valid_header(header: tuple[str, Any]) -> bool:
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
"""The faults of ``fail``, equally likely."""


def all_odds(fail: float, odds: Mapping[Mishap, float]) -> Mapping[Mishap, float]:
    """Return the probability of each fault: *odds*, and *fail* in equal shares of `DRAWN`."""
    if not 0 <= fail <= 1:
        message = f"fail={fail}: a probability, from 0 to 1"
        raise ConfigurationError(message)
    for fault, share in odds.items():
        check_kinds({"odds": (Mishap, "by Mishap")}, {"odds": fault}, ConfigurationError)
        kinds: Kinds = {"odds": (float | int, "probabilities, 1 in all at most")}
        check_kinds(kinds, {"odds": share}, ConfigurationError)
    shares = {**odds}
    for mishap in DRAWN if fail else ():
        shares[mishap] = shares.get(mishap, 0.0) + fail / len(DRAWN)
    # sums of shares are rounded
    if not all(share >= 0 for share in shares.values()) or sum(shares.values()) > 1 + 1e-9:
        message = "odds: probabilities, 1 in all at most"
        raise ConfigurationError(message)
    return shares


_SCHEMA: Final = object_schema(
    **dict.fromkeys(("status", "times"), Schema(type="integer")),
    **dict.fromkeys(("reset", "cut", "garbled"), Schema(type="boolean")),
    **dict.fromkeys(("delay", "retry_after"), Schema(type="number")),
    **dict.fromkeys(("when", "body", "retry_after_as", "method", "operation"), TEXT),
    headers=Schema(type="object"),
)


def parse_mishap(data: Any) -> Mishap:
    """Return a fault from JSON data; raise `ValueError` with the name of an invalid field."""
    return Mishap(**_SCHEMA.validate_strictly(data))


ScriptedFault: TypeAlias = Mishap | httpx.TransportError


def _check_fault(fault: object) -> None:
    """Raise `AssertionError`, which fails the caller's test, for a *fault* of another type.

    None stands for a usual answer.
    """
    if not isinstance(fault, httpx.TransportError | None):
        message = (
            f"emulator.faults has a {type(fault).__name__}: script a Mishap, such as "
            'Mishap(status=503), or an error of httpx, such as httpx.ReadTimeout("")'
        )
        raise AssertionError(message)  # noqa: TRY004 - a broken test, no argument of a call


class FaultInjector:
    """Queue of scripted faults, random faults by *odds*, and the counts of past faults."""

    def __init__(self, odds: Mapping[Mishap, float], seed: int | None) -> None:
        self.scripted: list[ScriptedFault] = []
        self.counts: Counter[str] = Counter()
        self._odds: Final = odds
        self._seed: Final = seed
        self._random = Random(seed)  # noqa: S311 - repeatable, not secret

    def next_fault(self, method: str, operation: str | None) -> ScriptedFault | None:
        """Return and count the fault of the next call, or None."""
        fault = self._next_scripted(method, operation) or self._draw(method, operation)
        if fault is not None:
            self.counts[str(fault) if isinstance(fault, Mishap) else type(fault).__name__] += 1
        return fault

    def clear(self) -> None:
        """Delete scripted faults and counts; restart the random faults from the seed."""
        self.scripted.clear()
        self.counts.clear()
        self._random.seed(self._seed)

    def _next_scripted(self, method: str, operation: str | None) -> ScriptedFault | None:
        for index, fault in enumerate(self.scripted):
            if not isinstance(fault, Mishap):
                del self.scripted[index]
                _check_fault(fault)
                return fault
            if fault.hits(method, operation):
                rest = [evolve(fault, times=fault.times - 1)] if fault.times > 1 else []
                self.scripted[index : index + 1] = rest
                return fault
        return None

    def _draw(self, method: str, operation: str | None) -> Mishap | None:
        if not self._odds:
            return None
        drawn = self._random.random()
        for fault, odds in self._odds.items():
            drawn -= odds
            if drawn < 0:
                return fault if fault.hits(method, operation) else None
        return None
