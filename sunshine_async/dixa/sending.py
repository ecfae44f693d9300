"""A batch as requests: halved where it is refused, settled where its answer was lost."""

from collections.abc import Awaitable, Callable, Collection, Generator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Generic, TypeAlias, TypeVar

from anyio import get_cancelled_exc_class
from attrs import define, field, frozen

from sunshine_async import _codec
from sunshine_async._endpoint import Endpoint
from sunshine_async._transport.exchange import HAD_LEFT
from sunshine_async.dixa.matching import holds, of_changes, of_creates
from sunshine_async.dixa.models import (
    BulkActionSuccess,
    BulkPatchEndUserInput,
    BulkUpdateEndUserInput,
    CreateEndUserInput,
    EndUser,
    Outcome,
)
from sunshine_async.dixa.reasons import TAKEN, is_taken, of_look, of_outcome
from sunshine_async.errors import (
    BadRequestError,
    PayloadTooLargeError,
    RateLimitError,
    ServerError,
    SunshineError,
    TransportError,
)

B = TypeVar("B")
C = TypeVar("C", BulkPatchEndUserInput, BulkUpdateEndUserInput)
R = TypeVar("R")

Result: TypeAlias = EndUser | Exception
Look: TypeAlias = Callable[[str, str], Awaitable[Sequence[EndUser]]]
"""Gives those who have a value in a field of that name, two of them at most."""

GONE: Final = (TransportError, ServerError, RateLimitError)
"""What says that no look-up would fare better just now."""
SKEW: Final = timedelta(minutes=1)
"""How far the service's clock may be behind ours."""
ROUNDS: Final = 3
"""How often what may be there is looked for, and sent again where it isn't."""


@frozen
class Changing(Generic[C]):
    """Bulk patches or updates by *send*."""

    send: Callable[[Sequence[C]], Awaitable[list[Outcome]]]
    endpoint: Endpoint[Any, Any]
    hidden: tuple[str, ...] = field(default=(), repr=False)
    """What no error may show."""

    async def change(self, bodies: Sequence[C]) -> list[Result]:
        """Return what became of each of *bodies*, all sent by one request.

        It is sent again by itself until it has an answer, so it is only ever halved here.
        """
        return await _halved(self._once, bodies)

    async def _once(self, bodies: Sequence[C]) -> list[Result]:
        found = of_changes(bodies, await self.send(bodies))
        return [_result(one, self.endpoint, self.hidden) for one in found]


@frozen
class Created:
    """What became of the items of a bulk create."""

    results: list[Result]
    doubted: frozenset[int]
    """The places of those that are not said to be made or refused by the answer, but by a look."""


@frozen
class Creating:
    """Bulk creates by *send* that make no one twice; *look* shows what they may have made."""

    send: Callable[[Sequence[CreateEndUserInput]], Awaitable[list[Outcome]]]
    look: Look
    endpoint: Endpoint[Any, Any]
    hidden: tuple[str, ...] = field(default=(), repr=False)
    """What no error may show."""

    async def create(self, bodies: Sequence[CreateEndUserInput]) -> list[Result]:
        """Return what became of each of *bodies*, sent as one bulk create.

        One that may have been made or not is looked for by e-mail, then by phone number. There as
        sent since then, it is ours; there otherwise, it was refused; not there, it is sent again,
        because these two guard against a second one. Without them it stays open.
        """
        return (await self.created(bodies)).results

    async def created(self, bodies: Sequence[CreateEndUserInput]) -> Created:
        """`create`, and say which of them a look has settled."""
        course = _Course(self, bodies, since=datetime.now(UTC) - SKEW)
        with noting(course.results):
            await course.send(range(len(bodies)))
            for _ in range(ROUNDS):
                missing = await course.settle()
                if missing:
                    await course.send(missing)
                elif not course.cut_short:
                    break
        return Created(course.ends(), frozenset(course.looked_for))

    async def once(self, bodies: Sequence[CreateEndUserInput]) -> list[Result | None]:
        """Send *bodies* once; None for each that the answer says nothing sure about."""
        found = of_creates(bodies, await self.send(bodies))
        return [None if one is None else _result(one, self.endpoint, self.hidden) for one in found]

    async def made(self, body: CreateEndUserInput, since: datetime) -> Result | None:
        """Return the user that *body* made *since* then, or the error that it met, or None."""
        for name, value in _guards(body).items():
            users = await self.look(name, value)
            for user in users:
                if holds(user, body) and not (user.created_at and user.created_at < since):
                    return user
            if users:
                return of_look(400, TAKEN[name], endpoint=str(self.endpoint))
        return None


@define
class _Course:
    """What has become of the bodies of one batch so far."""

    creating: Creating
    bodies: Sequence[CreateEndUserInput]
    since: datetime = field(kw_only=True)
    results: dict[int, Result | None] = field(factory=dict[int, "Result | None"])
    doubted: set[int] = field(factory=set[int])
    """Those that an earlier sending may have made."""
    looked_for: set[int] = field(factory=set[int])
    """Those that were ever in doubt, and weren't surely made after that."""
    cut_short: bool = False
    """Whether the last `settle` ended at a look-up that had no answer."""

    async def send(self, indexes: Sequence[int]) -> None:
        results = await _halved(self.creating.once, [self.bodies[index] for index in indexes])
        for index, result in zip(indexes, results, strict=True):
            self.results[index] = result
            if isinstance(result, EndUser):
                self.looked_for.discard(index)
            if isinstance(result, EndUser) or (
                isinstance(result, BadRequestError) and not is_taken(result)
            ):
                self.doubted.discard(index)
            elif getattr(result, "maybe_applied", False):
                self.doubted.add(index)
                self.looked_for.add(index)

    async def settle(self) -> list[int]:
        """Look for those that may be there; return those that aren't and may be sent again.

        A look-up that has no answer is the last: a service that is gone isn't asked for each.
        """
        missing: list[int] = []
        self.cut_short = False
        for index in sorted(self.doubted):
            result = self.results[index]
            open_ = getattr(result, "maybe_applied", False) or is_taken(result)
            if not open_ or not _guards(self.bodies[index]):
                continue
            try:
                found = await self.creating.made(self.bodies[index], self.since)
            except GONE:
                self.cut_short = True
                break  # they stay in doubt
            except SunshineError:
                continue  # it stays in doubt
            if found is None:
                missing.append(index)
            else:
                self.results[index] = found
                self.doubted.discard(index)
        return missing

    def ends(self) -> list[Result]:
        """Return how all have ended: what is in doubt says so."""
        for index in self.doubted:
            error = self.results[index]
            if isinstance(error, SunshineError):
                error.maybe_applied = True
        endpoint = self.creating.endpoint
        return [self.results[index] or _result(None, endpoint) for index in range(len(self.bodies))]


@contextmanager
def noting(ended: Collection[object]) -> Generator[None]:
    """Let a cancellation of the block say that a request had left, if any of its items has *ended*."""
    try:
        yield
    except get_cancelled_exc_class() as cancelled:
        if ended:
            cancelled.add_note(HAD_LEFT.format(endpoint="an earlier request of the batch"))
        raise


async def _halved(
    send: Callable[[Sequence[B]], Awaitable[Sequence[R]]],
    bodies: Sequence[B],
    *,
    doubted: bool = False,
) -> list[R | Exception]:
    """Send *bodies*, in halves where they are refused as a whole, until the bad one stands alone.

    *doubted* says that an earlier sending may have been applied.
    """
    try:
        return [*await send(bodies)]
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what they all ended in
        failed = error
    if isinstance(failed, SunshineError):
        doubted = failed.maybe_applied = failed.maybe_applied or doubted
    if len(bodies) == 1 or not isinstance(failed, BadRequestError | PayloadTooLargeError):
        return [failed] * len(bodies)
    middle = len(bodies) // 2
    first = await _halved(send, bodies[:middle], doubted=doubted)
    with noting(first):
        return first + await _halved(send, bodies[middle:], doubted=doubted)


def _result(
    outcome: Outcome | None, endpoint: Endpoint[Any, Any], hidden: tuple[str, ...] = ()
) -> Result:
    if isinstance(outcome, BulkActionSuccess):
        return outcome.data
    return of_outcome(outcome, endpoint=str(endpoint), status=endpoint.ok[0], hidden=hidden)


def _guards(body: CreateEndUserInput) -> dict[str, str]:
    """Return what the service lets only one have, in the order of looking."""
    return {name: value for name in TAKEN if (value := getattr(body, name))}


def size_as(kind: type[B], *, room: int = 0) -> Callable[[B], int]:
    """Return what measures a *kind* as JSON, *room* added; it raises for what can't be sent."""

    def size(item: B) -> int:
        if not isinstance(item, kind):
            message = f"an item must be a {kind.__name__}, not a {type(item).__name__}"
            raise TypeError(message)
        return len(_codec.encode(item)) + room

    return size
