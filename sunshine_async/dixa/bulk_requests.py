"""Bulk requests: a refused batch is halved, a batch with a lost answer is looked up.

An item that isn't done ends in an error, taken from the service's outcome or from a look-up.
"""

from collections.abc import Awaitable, Callable, Collection, Generator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Generic, TypeAlias, TypeVar, cast

from anyio import get_cancelled_exc_class
from attrs import define, field, frozen

from sunshine_async import _codec
from sunshine_async._calls.endpoint import Endpoint
from sunshine_async._calls.error_body import error_details
from sunshine_async._http.messages import SENT_NOTE
from sunshine_async.bulk.cancellation import (
    CALL,
    error_after_doubt,
    error_after_sending,
    maybe_applied,
    to_exception,
)
from sunshine_async.dixa.matching import holds, may_hold
from sunshine_async.dixa.models import (
    BulkActionFailure,
    BulkActionSuccess,
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
    AuthenticationError,
    BadRequestError,
    ErrorDetail,
    PayloadTooLargeError,
    PaymentRequiredError,
    PermissionDeniedError,
    RateLimitError,
    ResponseDecodeError,
    ServerError,
    TransportError,
    error_class,
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
"""Status of a single call with the same error (assumed). An error of another type is unreadable."""
REFUSED: Final = (EmptyPatchSet, InvalidArgument, NotFound, Validation)
"""Errors of items that certainly weren't applied. Any further error leaves the item uncertain."""

TAKEN: Final[Mapping[str, ErrorDetail]] = {
    "email": ErrorDetail("EmailExists", "another end user has the e-mail address"),
    "phone_number": ErrorDetail("PhoneNumberExists", "another end user has the phone number"),
}
"""Unique fields, in the order of looking up: the service's code, and the finding of a look-up."""
IF_TAKEN: Final[Mapping[int | str, str]] = {
    "EmailExists": "end_users.list(email=...) finds that end user, end_users.upsert changes it",
    "PhoneNumberExists": "end_users.list(phone=...) finds that end user, end_users.upsert changes it",
}
"""The next step after these codes."""

AMBIGUOUS: Final = ErrorDetail(
    "AmbiguousMatch", "its external id, e-mail address and phone number lead to several end users"
)

B = TypeVar("B")

Result: TypeAlias = EndUser | Exception
LookUp: TypeAlias = Callable[[str, str], Awaitable[Sequence[EndUser]]]
"""Returns at most two end users with a value: called with the name of the field, and the value."""

REFUSED_CREDENTIALS: Final = (AuthenticationError, PaymentRequiredError, PermissionDeniedError)
"""Errors after which any further request would fail as well."""
OUTAGE_ERRORS: Final = (TransportError, ServerError, RateLimitError)
"""Errors after which a further look-up would fail as well, until the service is back."""
CLOCK_SKEW: Final = timedelta(minutes=1)
"""Tolerated lag of the service's clock behind the local clock."""
CLOCK_ERROR: Final = timedelta(days=1)
"""Largest error of either clock (assumed). A match created within this time may be ours."""
LOOK_UP: Final = "the look-up"
MAX_ROUNDS: Final = 3
"""Rounds of looking up uncertain creates, and sending missing end users again."""


def is_taken(error: object) -> bool:
    """Return True for a refusal since another end user has the e-mail address or phone number."""
    codes = {detail.code for detail in TAKEN.values()}
    return isinstance(error, ApiError) and any(detail.code in codes for detail in error.errors)


@frozen
class BulkRequest(Generic[B]):
    """A bulk operation: *call* sends bodies, *match* assigns an outcome to each body."""

    call: Callable[[Sequence[B]], Awaitable[list[Outcome]]]
    match: Callable[[Sequence[B], Sequence[Outcome]], list[Outcome | None]]
    endpoint: Endpoint[Any, Any]
    hidden: tuple[str, ...] = field(default=(), repr=False)
    """Texts that no error may show."""

    async def send(self, bodies: Sequence[B], *, uncertain: bool = False) -> list[Result]:
        """Send *bodies* in a request; return the results in the same order.

        A batch that the service refuses as a whole is halved until the bad body stands alone.
        *uncertain*: an earlier sending may have been applied. The transport resends by itself.
        """
        try:
            outcomes = await self.call(bodies)
        except BaseException as error:  # noqa: BLE001 - `to_exception` raises what has to pass
            failed = to_exception(error, CALL)
        else:
            try:
                return [self.result(outcome) for outcome in self.match(bodies, outcomes)]
            except Exception as error:  # noqa: BLE001 - a fault of ours, and the request was sent
                return [error_after_sending(error)] * len(bodies)
        if uncertain:
            failed = error_after_doubt(failed)
        if len(bodies) == 1 or not isinstance(failed, BadRequestError | PayloadTooLargeError):
            return [failed] * len(bodies)
        middle = len(bodies) // 2
        uncertain = failed.maybe_applied
        first = await self.send(bodies[:middle], uncertain=uncertain)
        with note_if_sent(first):
            return first + await self.send(bodies[middle:], uncertain=uncertain)

    def result(self, outcome: Outcome | None) -> Result:
        """Return the end user or the error of an item; only errors in `REFUSED` are certain."""
        if isinstance(outcome, BulkActionSuccess):
            return outcome.data
        error = outcome.error if isinstance(outcome, BulkActionFailure) else None
        status, endpoint = STATUS_OF.get(type(error)), str(self.endpoint)
        if error is None or status is None:
            return ResponseDecodeError(
                "no outcome in the answer certainly belongs to this item",
                path="data",
                status=self.endpoint.ok[0],
                endpoint=endpoint,
                maybe_applied=True,
            )
        fields = {"code": error.type, "message": error.message or None}
        errors = error_details(_codec.encode(fields), self.hidden)
        return error_class(status)(
            status,
            endpoint=endpoint,
            errors=errors,
            advice=self.endpoint.advice_for(status, errors),
            maybe_applied=not isinstance(error, REFUSED),
        )

    def taken(self, name: str) -> BadRequestError:
        """Return the error of an item if another end user has the value of the unique field *name*."""
        errors = (TAKEN[name],)
        advice = self.endpoint.advice_for(BAD_REQUEST, errors)
        return BadRequestError(
            BAD_REQUEST, endpoint=str(self.endpoint), errors=errors, advice=advice
        )


@frozen
class BulkCreate:
    """Bulk creates without duplicates: *look_up* settles creates without a clear answer."""

    request: BulkRequest[CreateEndUserInput]
    look_up: LookUp

    async def create(self, bodies: Sequence[CreateEndUserInput]) -> list[Result]:
        """Create end users; return a result for each of *bodies*, in order.

        An uncertain create is looked up by e-mail address, then by phone number:

        - An end user as sent, created since then: the result.
        - A different or older end user: refused as a duplicate.
        - An end user who may be either: uncertain.
        - Nobody: sent again, since both fields guard against a second end user.

        Without either field the result stays uncertain.
        """
        return (await self.run(bodies)).final_results()

    async def run(self, bodies: Sequence[CreateEndUserInput]) -> "BatchProgress":
        """Create end users, as `create`; the progress shows which results rest on a look-up."""
        progress = BatchProgress(self, bodies, since=datetime.now(UTC) - CLOCK_SKEW)
        with note_if_sent(progress.results):
            await progress.send(range(len(bodies)))
            for _ in range(MAX_ROUNDS):
                missing = await progress.read_back()
                if missing:
                    await progress.send(missing)
                elif not progress.interrupted:
                    break
        return progress

    async def read_back(self, body: CreateEndUserInput, since: datetime) -> Result | None:
        """Look up the end user that *body* may have created after *since*.

        Return the end user, the error that *body* met, or None if nobody has the keys of *body*.
        An end user who may be the created end user, or a stranger, is an uncertain error.
        """
        for name, value in _unique_values(body).items():
            looked_up = self.look_up(name, value)
            del value  # error reporters attach local variables
            users = await looked_up
            recent = [user for user in users if not _is_older(user, since - CLOCK_ERROR)]
            for user in recent:
                if holds(user, body) and not _is_older(user, since):
                    return user
            if any(may_hold(user, body) for user in recent):
                return self.request.result(None)
            if users:
                return self.request.taken(name)
        return None


@define
class BatchProgress:
    """Progress of a bulk create: *results* so far, by index of a body."""

    bulk: BulkCreate
    bodies: Sequence[CreateEndUserInput]
    since: datetime = field(kw_only=True)
    results: dict[int, Result] = field(factory=dict[int, "Result"])
    uncertain: set[int] = field(factory=set[int])
    """Created by an earlier sending, possibly."""
    looked_up: set[int] = field(factory=set[int])
    """Bodies without a clear success since an uncertain sending: a success rests on a look-up."""
    interrupted: bool = False
    """True if the last `read_back` ended at a look-up without an answer."""

    async def send(self, indexes: Sequence[int]) -> None:
        results = await self.bulk.request.send([self.bodies[index] for index in indexes])
        for index, result in zip(indexes, results, strict=True):
            self.results[index] = result
            if isinstance(result, EndUser):
                self.looked_up.discard(index)
                self.uncertain.discard(index)
            elif maybe_applied(result):
                self.looked_up.add(index)
                self.uncertain.add(index)
            elif isinstance(result, BadRequestError) and not is_taken(result):
                self.uncertain.discard(index)

    async def read_back(self) -> list[int]:
        """Look up uncertain bodies; return the indexes of bodies to send again.

        An outage ends the look-ups: a service that is gone isn't called for each body.
        """
        missing: list[int] = []
        self.interrupted = False
        for index in sorted(self.uncertain):
            result = self.results[index]
            body = self.bodies[index]
            if not (maybe_applied(result) or is_taken(result)) or not _unique_values(body):
                continue
            try:
                found = await self.bulk.read_back(body, self.since)
            except BaseException as error:  # noqa: BLE001 - `to_exception` raises what has to pass
                if isinstance(to_exception(error, LOOK_UP), OUTAGE_ERRORS):
                    self.interrupted = True
                    break
                continue  # stays uncertain
            if found is None:
                missing.append(index)
            else:
                self.results[index] = found
                self.uncertain.discard(index)
        return missing

    def final_results(self) -> list[Result]:
        """Return all results in order, with uncertain errors marked as such."""
        for index in self.uncertain:
            self.results[index] = error_after_doubt(cast("Exception", self.results[index]))
        return [self.results[index] for index in range(len(self.bodies))]


@contextmanager
def note_if_sent(results: Collection[object]) -> Generator[None]:
    """Add a note to a cancellation of the block, once *results* show that a request had left."""
    try:
        yield
    except get_cancelled_exc_class() as cancelled:
        if results:
            cancelled.add_note(SENT_NOTE.format(endpoint="an earlier request of the batch"))
        raise


def _is_older(user: EndUser, since: datetime) -> bool:
    return user.created_at is not None and user.created_at < since


def _unique_values(body: CreateEndUserInput) -> dict[str, str]:
    return {name: value for name in TAKEN if (value := getattr(body, name))}


def item_size(model: type[B], *, room: int = 0) -> Callable[[B], int]:
    """Return a function to an item's bytes as JSON plus *room*; unsendable items raise."""

    def size(item: B) -> int:
        if not isinstance(item, model):
            hint = _codec.conversion_hint(model, item)
            message = f"an item must be a {model.__name__}, not a {type(item).__name__}{hint}"
            del item  # error reporters attach local variables
            raise TypeError(message)
        return len(_codec.encode(item)) + room

    return size
