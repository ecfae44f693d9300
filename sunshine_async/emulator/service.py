"""What a service is to the emulator: operations on what it stores, and the shape of its refusals."""

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from attrs import frozen

from sunshine_async._endpoint import Endpoint
from sunshine_async.emulator.fields import Field
from sunshine_async.emulator.refusal import Refusal
from sunshine_async.emulator.state import Change


@frozen
class Asked:
    """What an operation is asked: decoded, and its body checked and without unknown fields."""

    path: Mapping[str, str]
    query: Mapping[str, str]
    body: Mapping[str, Any]


@frozen
class Answer:
    """What a service says: a status and what goes out as JSON."""

    status: int
    body: object


@frozen
class Operation:
    """How an endpoint is answered: *run* changes the store and answers, or raises `Refusal`."""

    endpoint: Endpoint[Any, Any]
    run: Callable[[Asked], Answer]
    takes: Field | None = None
    """What its JSON body must be; None: it takes no body."""
    needs_body: bool = True
    takes_form: bool = False
    """Whether its body is a form, with files: `Asked.body` has its parts by name."""
    changes: Callable[[Asked], Hashable] | None = None
    """Says what it changes: until it has been answered, others that change the same get a 409."""


class Keeper(Protocol):
    """A part of the emulator whose changes a state file keeps."""

    def clear(self) -> None:
        """Forget everything."""
        ...

    def restore(self, change: Change) -> None:
        """Make a *change* that was kept."""
        ...

    def keep(self, write: Callable[[Change], None]) -> None:
        """Hand every change to *write* from now on."""
        ...


class Service(Keeper, Protocol):
    """One service: its operations share what it stores. It is called by one thread at a time."""

    effects: Counter[str]
    """How often each operation changed what is stored."""

    @property
    def prefix(self) -> str:
        """What the paths of its operations begin with."""
        ...

    @property
    def operations(self) -> Sequence[Operation]: ...

    def __len__(self) -> int:
        """Return how many users are stored."""
        ...

    def users(self, app_id: str | None = None) -> Iterator[Mapping[str, Any]]:
        """Yield the stored users as on the wire, those of one app or all."""
        ...

    def add(self, user: Mapping[str, Any], *, app_id: str) -> Mapping[str, Any]:
        """Store *user*, given as on the wire, and return it as stored. It is no effect.

        Raise `ValueError` where it can't be.
        """
        ...

    def path(self, values: Mapping[str, str]) -> Mapping[str, str]:
        """Return the *values* in a path as stored ids are spelled.

        Raise `Refusal` (400) for a value that can't be an id.
        """
        ...

    def problem(self, refusal: Refusal) -> Answer:
        """Return how the service words *refusal*."""
        ...
