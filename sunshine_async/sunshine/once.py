"""Records created once, by a service without idempotency keys: a mark, and look-ups of the mark.

`create_once` sends a create. After a lost answer `create_once` looks for the record twice, with a
pause; for work that runs again `create_once` looks before sending. A `LookUp` selects the record,
by a mark in the metadata or by a property. The create is never sent again once the service may have
acted.

A webhook may bring the created record first, as an echo: `note_echo`. An echo settles a lost answer
without a look-up.
"""

from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from math import inf
from typing import Any, Final, Generic, Protocol, TypeAlias, TypeVar

from attrs import frozen

from sunshine_async import _codec
from sunshine_async._calls.arguments import check_type
from sunshine_async._calls.endpoint import Endpoint
from sunshine_async._calls.pages import Page, unreadable_page
from sunshine_async._calls.transport import Transport
from sunshine_async._calls.upsert import mark_uncertain
from sunshine_async._codec.model import Unset
from sunshine_async.errors import ConflictError, ErrorDetail, SunshineError

R = TypeVar("R")

MARK: Final = "sunshineAsyncOnce"
"""The key of the mark in the metadata."""
MAX_KEY: Final = 200
MAX_METADATA: Final = 4096
"""Most bytes of metadata as JSON (assumed: the service says 4 KB)."""
SETTLED_AFTER: Final = timedelta(seconds=5)
"""Age of an earlier attempt from which a look-up counts."""
EARLIER_ENDED: Final[ContextVar[float]] = ContextVar("earlier_ended", default=-inf)
"""Time on the monotonic clock by which all attempts of other processes on the task's work had ended."""
CLOCK_SKEW: Final = timedelta(seconds=60)
"""Assumed largest difference between the clocks of the service and of this machine."""
EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
LOOKS: Final = 2
MAX_PAGES: Final = 300
"""Most pages of a look-up: 30,000 records, the most messages of a conversation."""
_UNKNOWN: Final = "a record that can't be read may be the record looked for"
_ENDLESS: Final = f"the look-up met more than {MAX_PAGES} pages"
_PAUSE: Final = 4
"""The pause between two look-ups, in multiples of `Retry.first_wait`: 2 seconds by default."""
_OTHER: Final = ErrorDetail(
    "once",
    "a record with this once= is there, with different content: use a key for one content only",
)

EchoKey: TypeAlias = tuple[str, str]
"""Container of a record, such as a conversation, and the mark."""
_ECHOES: Final[dict[EchoKey, list[Any]]] = {}
"""Echoes of the creates under way in this process."""
_UNCERTAIN: Final[OrderedDict[EchoKey, float]] = OrderedDict()
"""Times at which creates in this process ended without a certain outcome, on the monotonic clock."""
_MOST_UNCERTAIN: Final = 10_000


def note_echo(key: EchoKey, record: object) -> None:
    """Note a *record* that a webhook has brought, if a create with that *key* is under way here."""
    if key in _ECHOES:
        _ECHOES[key].append(record)


@contextmanager
def _echoes(key: EchoKey | None, now: Callable[[], float]) -> Generator[list[Any]]:
    """Collect the echoes of a create for the length of the block; note an uncertain end."""
    if key is None:
        yield []
        return
    try:
        yield _ECHOES.setdefault(key, [])
    except BaseException as error:
        if getattr(error, "maybe_applied", True):  # a cancellation, too
            _UNCERTAIN[key] = now()
            _UNCERTAIN.move_to_end(key)
            if len(_UNCERTAIN) > _MOST_UNCERTAIN:
                _UNCERTAIN.popitem(last=False)
        raise
    finally:
        _ECHOES.pop(key, None)


def check_once(once: str | None, sent_before: datetime | None) -> None:
    """Raise `ValueError` for a key or a time that can't be used, `TypeError` for a wrong type."""
    if once is not None:
        check_type("once", type(once))
        if not 1 <= len(once) <= MAX_KEY:
            message = f"once has {len(once)} characters: 1 to {MAX_KEY}"
            raise ValueError(message)
    if sent_before is None:
        return
    check_type("sent_before", type(sent_before), datetime)
    if once is None:
        message = "sent_before needs once=, the key of the earlier attempt"
        raise ValueError(message)
    if sent_before.utcoffset() is None:
        message = "sent_before has no time zone: give it one, such as datetime.now(UTC)"
        raise ValueError(message)
    if is_yet_to_come(sent_before):
        message = "sent_before is in the future: hand in the time of the earlier attempt"
        raise ValueError(message)


def is_yet_to_come(at: datetime) -> bool:
    """Return True for a time *at* that no difference of two clocks explains: one was set back since."""
    return at > datetime.now(UTC) + CLOCK_SKEW


def check_metadata(
    metadata: Mapping[str, Any] | Unset | None, once: str | None = None
) -> Mapping[str, Any] | Unset | None:
    """Return *metadata* with the mark of *once*; raise `ValueError` for unfit metadata."""
    if not metadata and once is None:
        return metadata
    given: Any = metadata or {}
    mark = {} if once is None else {MARK: once}
    problem = _problem_of(given, mark)
    if problem is None:
        return {**given, **mark}
    del metadata, given  # error reporters attach local variables
    raise ValueError(problem)


def _problem_of(given: Any, mark: Mapping[str, str]) -> str | None:
    """Return the reason that the service doesn't take metadata with a *mark*; None: there is none."""
    if not isinstance(given, Mapping):
        return f"metadata must be a mapping, not {type(given).__name__}"
    metadata: Mapping[str, Any] = {**given, **mark}
    if any(not isinstance(value, str | float | int | None) for value in metadata.values()):
        return "metadata is nested: the service takes texts, numbers and booleans"
    try:
        size = len(_codec.encode(metadata))
    except ValueError as error:
        return f"metadata.{error}"
    if size > MAX_METADATA:
        return f"metadata is {size} bytes as JSON; the service takes {MAX_METADATA} at most"
    return None


class MarkedRecord(Protocol):
    """Record that may have a mark."""

    @property
    def metadata(self) -> Mapping[str, Any] | None: ...


def has_mark(record: MarkedRecord, once: str) -> bool | None:
    """Return True if *record* has the mark of *once*; None for metadata that can't be read."""
    if record.metadata is not None:
        return bool(record.metadata.get(MARK) == once)
    return None if _codec.is_unreadable(record, "metadata") else False


@frozen
class LookUp(Generic[R]):
    """Look-up of a record that a create may have made, in a list.

    - *pages* begins a new list.
    - *reaches* returns True for a page after which no record of a time, or later, comes; the time
      None means a create of now.
    - *is_marked* returns True for a record with the mark, and None if nobody can tell; *is_equal*
      returns True for a record with the content sent.
    - *suffices* returns True for marked records after which no further page is needed.
    """

    endpoint: Endpoint[Any, Any]
    pages: Callable[[], AsyncIterator[Page[R]]]
    reaches: Callable[[Page[R], datetime | None], bool]
    is_marked: Callable[[R], bool | None]
    is_equal: Callable[[R], bool]
    key: EchoKey | None = None
    """Key of echoes and of uncertain ends; None: the record has no mark."""
    suffices: Callable[[list[R]], bool] = bool

    async def marked(self, since: datetime | None) -> list[R]:
        """Return the records with the mark, from the time *since* on.

        `ResponseDecodeError` if there is none, and an unreadable record may have the mark, or the
        list doesn't end.
        """
        found: list[R] = []
        unknown = False
        number = 0
        async for page in self.pages():
            number += 1
            marks = [self.is_marked(record) for record in page.items]
            found += [record for record, mark in zip(page.items, marks, strict=True) if mark]
            unknown |= page.unreadable > 0 or None in marks
            if self.suffices(found) or self.reaches(page, since):
                break
            if number == MAX_PAGES:
                raise unreadable_page(str(self.endpoint), _ENDLESS, path="")
        if unknown and not found:
            raise unreadable_page(str(self.endpoint), _UNKNOWN, path="")
        return found

    async def earlier(self, transport: Transport, sent_before: datetime) -> list[R]:
        """Return the records of an attempt before *sent_before*; an empty list if there are none.

        The look-up begins when *sent_before* is 5 seconds old, and the end of the last attempt that
        may have sent the request, too.
        """
        age = max(0.0, (datetime.now(UTC) - sent_before).total_seconds())
        uncertain = -inf if self.key is None else _UNCERTAIN.get(self.key, -inf)
        ended = max(EARLIER_ENDED.get(), uncertain)
        age = min(age, max(0.0, transport.clock.now() - ended))
        await transport.clock.sleep(max(0.0, SETTLED_AFTER.total_seconds() - age))
        since = max(sent_before, EARLIEST) - CLOCK_SKEW
        return self.settle(await self.marked(since))

    def settle(self, marked: list[R]) -> list[R]:
        """Return the records with equal content; `ConflictError` if all differ."""
        equal = [record for record in marked if self.is_equal(record)]
        if marked and not equal:
            raise ConflictError(
                409, endpoint=str(self.endpoint), errors=(_OTHER,), maybe_applied=True
            )
        return equal


async def find_earlier(look_up: LookUp[R], transport: Transport, sent_before: datetime) -> list[R]:
    """Return the records by `LookUp.earlier`, for work that sends next: errors are uncertain."""
    with mark_uncertain("an earlier attempt"):
        return await look_up.earlier(transport, sent_before)


async def create_once(
    send: Callable[[], Awaitable[list[R]]],
    look_up: LookUp[R],
    transport: Transport,
    *,
    sent_before: datetime | None = None,
) -> list[R]:
    """Return the records that *send* creates, or that a look-up finds.

    - *sent_before*: look for the records of an earlier attempt before sending.
    - After an error of *send* with *maybe_applied* True: two look-ups, with a pause. If both find
      no mark or fail, raise the error of *send*.
    - `ConflictError`, with *maybe_applied* True, for a record with the mark and different content.
    """
    if sent_before is not None:
        found = await find_earlier(look_up, transport, sent_before)
        if found:
            return found
    with _echoes(look_up.key, transport.clock.now) as echoes:
        try:
            return await send()
        except SunshineError as error:
            if not error.maybe_applied:
                raise
            found = await _find_lost(look_up, transport, echoes)
            if not found:
                raise
            return found


async def _find_lost(look_up: LookUp[R], transport: Transport, echoes: list[R]) -> list[R]:
    """Return the records of *echoes*, or of two look-ups; an empty list if all find nothing or fail."""
    with mark_uncertain(look_up.endpoint):
        for look in range(LOOKS):
            if look:
                await transport.clock.sleep(_PAUSE * transport.retry.first_wait)
            equal = [one for one in echoes if look_up.is_marked(one) and look_up.is_equal(one)]
            if equal:
                return equal
            try:
                marked = await look_up.marked(None)
            except SunshineError:
                continue
            if marked:
                return look_up.settle(marked)
    return []
