"""What goes wrong: scripted, or drawn by a seed."""

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from math import ceil, inf
from random import Random
from typing import Any, Final, Literal, TypeAlias

import httpx
from attrs import Factory, evolve, field, frozen

from sunshine_async.emulator.fields import Field
from sunshine_async.errors import ConfigurationError

_KINDS: Final = ("status", "reset", "cut", "garbled")


def _is_seconds(value: float) -> bool:
    return 0 <= value < inf


def _usual_when(mishap: Any) -> Literal["before", "after"]:
    return "after" if mishap.cut or mishap.garbled else "before"


@frozen(kw_only=True)
class Mishap:
    """One way for a call to go wrong, or to be slow. Raise `ConfigurationError` for what can't be.

    Either *status* (400 to 599: that error is the answer), *reset* (the connection is reset without
    a byte of an answer), *cut* (the connection is closed in the middle of the answer) or *garbled*
    (the answer has its status, and a body that isn't JSON); or just a *delay*, in seconds, which
    goes with each of them too.
    """

    status: int | None = None
    reset: bool = False
    cut: bool = False
    garbled: bool = False
    delay: float = 0.0
    when: Literal["before", "after"] = field(default=Factory(_usual_when, takes_self=True))
    """Whether it comes before the effect, which then doesn't happen (but for a mere delay), or after.

    Where it isn't given: after for *cut* and *garbled*, else before.
    """
    times: int = 1
    """How many calls it hits, where it is scripted."""
    retry_after: float | None = None
    """Seconds for a ``Retry-After`` header."""
    retry_after_as: Literal["seconds", "date"] = "seconds"
    """The form of that header: whole seconds, or an HTTP date."""
    method: str | None = None
    """Only calls with this method."""
    operation: str | None = None
    """Only calls of this operation, named as in the service's documentation: ``CreateUser``."""

    def __attrs_post_init__(self) -> None:
        for problem, is_so in {
            "one of status, reset, cut and garbled": len(self._kinds) > 1,
            "one of status, reset, cut, garbled and delay": not self._kinds and not self.delay,
            "status: 400 to 599": not 400 <= (self.status or 400) <= 599,  # noqa: PLR2004
            "delay: seconds, 0 or more": not _is_seconds(self.delay),
            'when: "before" or "after"': self.when not in ("before", "after"),
            'when: a cut answer comes "after"': self.cut and self.when == "before",
            "times: 1 or more": self.times < 1,
            "retry_after: it goes with a status": self.retry_after is not None and not self.status,
            "retry_after: seconds, 0 or more": not _is_seconds(self.retry_after or 0),
            'retry_after_as: "seconds" or "date"': self.retry_after_as not in ("seconds", "date"),
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
    def headers(self) -> dict[str, str]:
        """What its error has beyond an error's usual headers."""
        if self.retry_after is None:
            return {}
        if self.retry_after_as == "seconds":
            return {"retry-after": str(ceil(self.retry_after))}
        at = datetime.now(UTC) + timedelta(seconds=ceil(self.retry_after))
        return {"retry-after": format_datetime(at, usegmt=True)}

    def hits(self, method: str, operation: str | None) -> bool:
        return self.method in (None, method) and self.operation in (None, operation)

    @property
    def _kinds(self) -> list[str]:
        return [kind for kind in _KINDS if getattr(self, kind)]


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
        "retry_after": Field(type="number"),
        "retry_after_as": Field(type="string"),
        "method": Field(type="string"),
        "operation": Field(type="string"),
    },
)


def read_mishap(data: Any) -> Mishap:
    """Return a mishap from its JSON; raise `ValueError`, naming the field, for what can't be."""
    problems = [*_BODY.problems(data)]
    if not problems:
        problems = [f"{name} is not known" for name in data if name not in (_BODY.fields or {})]
    if problems:
        raise ValueError("; ".join(problems))
    return Mishap(**data)


Scripted: TypeAlias = Mishap | httpx.TransportError


class Mishaps:
    """What is to go wrong, and what did."""

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
