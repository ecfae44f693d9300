"""Create a record, or handle the record that is there already, in about one request."""

from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager, nullcontext
from enum import Enum
from typing import Final, Generic, NamedTuple, TypeVar

from sunshine_async._calls.context import CallInfo, uncertain
from sunshine_async._http.messages import SENT_NOTE
from sunshine_async.errors import ConflictError, NotFoundError, SunshineError

R = TypeVar("R")

_MAX_TRIES: Final = 6
_WEIGHT: Final = 0.25


class UpsertEffect(Enum):
    """Effect of an upsert, as far as the upsert's own calls tell."""

    CREATED = "created"
    UPDATED = "updated"
    """The record was there before."""
    UNCHANGED = "unchanged"
    """The record was there with all the values to set, so nothing was written."""
    EITHER = "upserted"
    """The record is there as sent; an earlier request, with a lost answer, may have created it."""


class UpsertResult(NamedTuple, Generic[R]):
    """Record after an upsert, and the upsert's effect."""

    value: R
    effect: UpsertEffect

    def uncertain(self) -> "UpsertResult[R]":
        """Return the result for a case in which an earlier request may have been applied too.

        A record created now wasn't there before. Else the record may be the earlier request's.
        """
        created = self.effect is UpsertEffect.CREATED
        return self if created else self._replace(effect=UpsertEffect.EITHER)


class FirstTry:
    """Guess that the next record is new, or not: a moving average over the last records."""

    __slots__ = ("share_of_new",)

    def __init__(self, share_of_new: float = 0.5) -> None:
        self.share_of_new = share_of_new

    @property
    def new(self) -> bool:
        """True if the create goes first."""
        return self.share_of_new >= 0.5  # noqa: PLR2004 - a half

    def learn(self, *, new: bool) -> None:
        """Update the average with a record."""
        self.share_of_new += _WEIGHT * (new - self.share_of_new)


@contextmanager
def mark_uncertain(endpoint: object = "an earlier request") -> Generator[None]:
    """Mark each error and cancellation of the block: *endpoint*, called before, may have acted."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - of any kind: the earlier request stays uncertain
        raise uncertain(error)  # noqa: B904 - the same error, or one that has its cause
    except BaseException as error:
        error.add_note(SENT_NOTE.format(endpoint=endpoint))
        raise


async def create_or_else(
    create: Callable[[CallInfo], Awaitable[R]],
    otherwise: Callable[[], Awaitable[R]],
    first_try: FirstTry,
) -> UpsertResult[R]:
    """Return the result of *create*, or of *otherwise* for a record that is there already.

    - *first_try* decides which of the two goes first.
    - A `ConflictError` of *create* leads to *otherwise*, a `NotFoundError` of *otherwise* to
      *create*. While another writer creates and deletes the same record, this may alternate, three
      calls of each at most. Every further error is raised.
    - The effect is created or updated, after the call that succeeded; `UpsertEffect.EITHER` if
      the create was settled by reading back, or an earlier create may have been applied.
    """
    new = first_try.new
    maybe_applied = False
    tries = 0
    while True:
        info = CallInfo()
        try:
            with mark_uncertain() if maybe_applied else nullcontext():
                value = await (create(info) if new else otherwise())
        except SunshineError as error:
            maybe_applied = error.maybe_applied
            tries += 1
            expected = ConflictError if new else NotFoundError
            if tries == _MAX_TRIES or not isinstance(error, expected):
                raise
            new = not new
        else:
            first_try.learn(new=new)
            effect = UpsertEffect.CREATED if new else UpsertEffect.UPDATED
            either = info.read_back or (maybe_applied and not new)
            return UpsertResult(value, UpsertEffect.EITHER if either else effect)
