"""A batch as requests: halved where it is refused, settled where its answer was lost.

Why an item of a batch isn't done, as an error: in the service's words, or in ours.
"""

from collections.abc import Awaitable, Callable, Collection, Generator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Generic, TypeAlias, TypeVar, cast

from anyio import get_cancelled_exc_class
from attrs import define, field, frozen

from sunshine_async import _codec
from sunshine_async._calls.endpoint import Endpoint
from sunshine_async._calls.error_body import details
from sunshine_async._http.messages import HAD_LEFT
from sunshine_async.bulk.cancellation import (
    CALL,
    error_after_doubt,
    error_after_sending,
    maybe_applied,
    to_exception,
)
from sunshine_async.dixa.matching import holds, may_hold, of_changes, of_creates
from sunshine_async.dixa.models import (
    BulkActionFailure,
    BulkActionSuccess,
    BulkPatchEndUserInput,
    BulkUpdateEndUserInput,
    CreateEndUserInput,
    EmptyPatchSet,
    EndUser,
    ErrorResponse,
    Infrastructure,
    Integrity,
    InvalidArgument,
    NotFound,
    Outcome,
    UnknownBulkError,
    Validation,
)
from sunshine_async.errors import (
    ApiError,
    BadRequestError,
    ErrorDetail,
    PayloadTooLargeError,
    RateLimitError,
    ResponseDecodeError,
    ServerError,
    SunshineError,
    TransportError,
    kind_of,
)

BAD_REQUEST: Final = 400
CONFLICT: Final = 409
_FAILED: Final = 500

STATUS_OF: Final[Mapping[type, int]] = {
    EmptyPatchSet: BAD_REQUEST,
    ErrorResponse: BAD_REQUEST,
    Infrastructure: _FAILED,
    Integrity: CONFLICT,
    InvalidArgument: BAD_REQUEST,
    NotFound: 404,
    UnknownBulkError: _FAILED,
    Validation: BAD_REQUEST,
}
"""The status of a single call with the same error (assumed). Any other error is unreadable."""
REFUSED: Final = (EmptyPatchSet, InvalidArgument, NotFound, Validation)
"""The errors of an item that was refused, and not applied. Any other item may have been applied."""

TAKEN: Final[Mapping[str, ErrorDetail]] = {
    "email": ErrorDetail("EmailExists", "another end user has the e-mail address"),
    "phone_number": ErrorDetail("PhoneNumberExists", "another end user has the phone number"),
}
"""By the field that is taken: the service's code, and what a look showed."""

AMBIGUOUS: Final = ErrorDetail(
    "AmbiguousMatch", "its external id, e-mail address and phone number lead to several end users"
)


def of_outcome(
    outcome: Outcome | None, *, endpoint: str, status: int, hidden: tuple[str, ...] = ()
) -> SunshineError:
    """Return the error of an item with this *outcome*, which is no success.

    Only the errors in `REFUSED` are certain; otherwise the item may have been applied. *status* is
    the status of the answer as a whole. Texts in *hidden* are not shown.
    """
    error = outcome.error if isinstance(outcome, BulkActionFailure) else None
    own = STATUS_OF.get(type(error))
    if error is None or own is None:
        reason = "nothing in it is surely about this item"
        return ResponseDecodeError(
            reason, path="data", status=status, endpoint=endpoint, maybe_applied=True
        )
    said = {"code": error.type, "message": error.message or None}
    return kind_of(own)(
        own,
        endpoint=endpoint,
        errors=details(_codec.encode(said), hidden),
        maybe_applied=not isinstance(error, REFUSED),
    )


def of_look(status: int, detail: ErrorDetail, *, endpoint: str) -> ApiError:
    """Return the error of what a look at the service showed: `TAKEN`, or `AMBIGUOUS`."""
    return kind_of(status)(status, endpoint=endpoint, errors=(detail,))


def is_taken(error: object) -> bool:
    """Return whether the service refused an item because another end user has what it sets."""
    codes = {detail.code for detail in TAKEN.values()}
    return isinstance(error, ApiError) and any(detail.code in codes for detail in error.errors)


B = TypeVar("B")
C = TypeVar("C", BulkPatchEndUserInput, BulkUpdateEndUserInput)
S = TypeVar("S")

Result: TypeAlias = EndUser | Exception
Look: TypeAlias = Callable[[str, str], Awaitable[Sequence[EndUser]]]
"""Gives those who have a value in a field of that name, two of them at most."""

GONE: Final = (TransportError, ServerError, RateLimitError)
"""What says that no look-up would fare better just now."""
SKEW: Final = timedelta(minutes=1)
"""How far the service's clock may be behind ours."""
WRONG: Final = timedelta(days=1)
"""How far one of the clocks may be wrong (assumed): within it, who is there as sent may be ours."""
LOOK: Final = "the look-up"
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
        return await _halved(self.send, self._read, bodies)

    def _read(self, bodies: Sequence[C], outcomes: Sequence[Outcome]) -> list[Result]:
        found = of_changes(bodies, outcomes)
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

    async def once(self, bodies: Sequence[CreateEndUserInput]) -> list[Result]:
        """Send *bodies* once; return the results as far as the answer says them."""
        return await _halved(self.send, self._read, bodies)

    def _read(
        self, bodies: Sequence[CreateEndUserInput], outcomes: Sequence[Outcome]
    ) -> list[Result]:
        found = of_creates(bodies, outcomes)
        return [_result(one, self.endpoint, self.hidden) for one in found]

    async def made(self, body: CreateEndUserInput, since: datetime) -> Result | None:
        """Return the user that *body* made *since* then, or the error that it met, or None.

        None where nobody has the keys of *body*. A user who may be the one, or another, is an
        error that leaves it open.
        """
        for name, value in _guards(body).items():
            users = await self.look(name, value)
            open_ = [one for one in users if not _is_older(one, since - WRONG)]
            for user in open_:
                if holds(user, body) and not _is_older(user, since):
                    return user
            if any(may_hold(user, body) for user in open_):
                return _result(None, self.endpoint)
            if users:
                return of_look(400, TAKEN[name], endpoint=str(self.endpoint))
        return None


@define
class _Course:
    """What has become of the bodies of one batch so far."""

    creating: Creating
    bodies: Sequence[CreateEndUserInput]
    since: datetime = field(kw_only=True)
    results: dict[int, Result] = field(factory=dict[int, "Result"])
    doubted: set[int] = field(factory=set[int])
    """Those that an earlier sending may have made."""
    looked_for: set[int] = field(factory=set[int])
    """Those that were ever in doubt, and weren't surely made after that."""
    cut_short: bool = False
    """Whether the last `settle` ended at a look-up that had no answer."""

    async def send(self, indexes: Sequence[int]) -> None:
        results = await self.creating.once([self.bodies[index] for index in indexes])
        for index, result in zip(indexes, results, strict=True):
            self.results[index] = result
            if isinstance(result, EndUser):
                self.looked_for.discard(index)
                self.doubted.discard(index)
            elif maybe_applied(result):
                self.looked_for.add(index)
                self.doubted.add(index)
            elif isinstance(result, BadRequestError) and not is_taken(result):
                self.doubted.discard(index)

    async def settle(self) -> list[int]:
        """Look for those that may be there; return those that aren't and may be sent again.

        A look-up that has no answer is the last: a service that is gone isn't asked for each.
        """
        missing: list[int] = []
        self.cut_short = False
        for index in sorted(self.doubted):
            result = self.results[index]
            if not (maybe_applied(result) or is_taken(result)) or not _guards(self.bodies[index]):
                continue
            try:
                found = await self.creating.made(self.bodies[index], self.since)
            except BaseException as error:  # noqa: BLE001 - `to_exception` raises what has to pass
                if isinstance(to_exception(error, LOOK), GONE):
                    self.cut_short = True
                    break
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
            self.results[index] = error_after_doubt(cast("Exception", self.results[index]))
        return [self.results[index] for index in range(len(self.bodies))]


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
    send: Callable[[Sequence[B]], Awaitable[list[Outcome]]],
    read: Callable[[Sequence[B], list[Outcome]], list[Result]],
    bodies: Sequence[B],
    *,
    doubted: bool = False,
) -> list[Result]:
    """Send *bodies*, in halves where they are refused as a whole, until the bad one stands alone.

    *read* gives the results out of the outcomes. *doubted* says that an earlier sending may have
    been applied.
    """
    try:
        outcomes = await send(bodies)
    except BaseException as error:  # noqa: BLE001 - `to_exception` raises what has to pass
        failed = to_exception(error, CALL)
    else:
        try:
            return read(bodies, outcomes)
        except Exception as error:  # noqa: BLE001 - a fault of ours, and the request was sent
            return [error_after_sending(error)] * len(bodies)
    if doubted:
        failed = error_after_doubt(failed)
    if len(bodies) == 1 or not isinstance(failed, BadRequestError | PayloadTooLargeError):
        return [failed] * len(bodies)
    middle = len(bodies) // 2
    doubted = failed.maybe_applied
    first = await _halved(send, read, bodies[:middle], doubted=doubted)
    with noting(first):
        return first + await _halved(send, read, bodies[middle:], doubted=doubted)


def _result(
    outcome: Outcome | None, endpoint: Endpoint[Any, Any], hidden: tuple[str, ...] = ()
) -> Result:
    if isinstance(outcome, BulkActionSuccess):
        return outcome.data
    return of_outcome(outcome, endpoint=str(endpoint), status=endpoint.ok[0], hidden=hidden)


def _is_older(user: EndUser, since: datetime) -> bool:
    """Return whether *user* was surely there before *since*, by the service's clock."""
    return user.created_at is not None and user.created_at < since


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
