"""Pagination by cursors: forwards or backwards through the records of a list."""

from collections.abc import Awaitable, Callable, Mapping
from enum import Enum
from typing import Any, Final, Generic, Protocol, TypeVar

from attrs import evolve, field, fields, frozen

from sunshine_async._calls.arguments import count_text
from sunshine_async._calls.endpoint import Endpoint, encode_query
from sunshine_async._calls.pages import Listing, Page, Query, unreadable_page
from sunshine_async._codec import is_unreadable, name_of, wire_name
from sunshine_async._codec.model import Model

T = TypeVar("T")

PAGE_QUERY: Final = ("page[after]", "page[before]", "page[size]")
MAX_PAGE_SIZE: Final = 100
_ALL: Final[Mapping[str, str | None]] = {}
_EXPECTED: Final = "expected true or false"
_NO_CURSOR: Final = "the service has more records, and names no cursor that can be read"


class Direction(Enum):
    """Direction through a list: the parameter of the query, and the cursor in `Meta`."""

    FORWARDS = ("page[after]", "after_cursor")
    BACKWARDS = ("page[before]", "before_cursor")

    def __init__(self, parameter: str, cursor: str) -> None:
        self.parameter: Final = parameter
        self.cursor: Final = cursor


@frozen(kw_only=True, slots=False)
class Meta(Model):
    """Place of a page in the list."""

    has_more: bool | None = None
    """True if there are further records in the direction of the request."""
    after_cursor: str | None = None
    """The record id for ``page[after]``; absent if no page follows."""
    before_cursor: str | None = None
    """The record id for ``page[before]``; absent if no page precedes."""


@frozen(kw_only=True, slots=False)
class Links(Model):
    """Links to the pages around; the library follows the cursors of `Meta` instead."""

    prev: str | None = None
    next: str | None = None


@frozen(kw_only=True, slots=False)
class ListResponse(Model):
    """A page as sent by the service; each list adds its records as *items*."""

    meta: Meta | None = None
    links: Links | None = None


class RecordsPage(Protocol[T]):
    """A `ListResponse` with records: *items* has the list's own name on the wire."""

    @property
    def items(self) -> list[T]: ...


@frozen
class CursorPaging(Generic[T]):
    """Pagination of one list in one *direction*; *asked* are the filters of every page."""

    endpoint: str
    records_path: str
    direction: Direction
    _asked: Mapping[str, str | None] = field(repr=False)

    @property
    def link_path(self) -> str:
        """The place of the cursor in an answer."""
        return f"meta.{wire_name(self.direction.cursor)}"

    def query_of(self, link: str) -> str | None:
        """Return the query for a *link* such as ``page[after]=5e1606762556d93e9c176f69``."""
        name, _, cursor = str(link).partition("=")
        if name != self.direction.parameter or not cursor:
            return None
        return encode_query({**self._asked, name: cursor})

    def page_of(self, output: Any) -> Page[T]:
        """Return the page in *output*, a `ListResponse`.

        `ResponseDecodeError` for unreadable metadata, and for ``hasMore`` without a cursor.
        """
        page: Page[T] = Page(output.items, self._next(output))
        sent = output.extra.get(self.records_path)
        return page if sent is None else evolve(page, unreadable=len(sent) - len(page.items))

    def _next(self, output: ListResponse) -> str | None:
        """Return the link to the next page; None at the end of the list."""
        name = self.direction.cursor
        meta = output.meta or Meta()
        if is_unreadable(output, "meta") or is_unreadable(meta, "has_more"):
            raise unreadable_page(self.endpoint, _EXPECTED, path="meta.hasMore")
        if meta.has_more is False:
            return None
        cursor = getattr(meta, name)
        if not cursor and (meta.has_more or is_unreadable(meta, name)):
            raise unreadable_page(self.endpoint, _NO_CURSOR, path=self.link_path)
        return f"{self.direction.parameter}={cursor}" if cursor else None


def list_pages(
    send: Callable[[Query], Awaitable[RecordsPage[T]]],
    endpoint: Endpoint[None, Any],
    *,
    after: str | None,
    before: str | None,
    from_page: str | None,
    page_size: int | None = None,
    filters: Mapping[str, str | None] = _ALL,
    direction: Direction = Direction.FORWARDS,
) -> Listing[T]:
    """Return the records at *endpoint* that *filters* select, requested by *send*.

    - *after* and *before* are ids of records: the list begins behind *after*, or goes backwards
      from *before*. *direction* is the direction without both.
    - *from_page* goes before *after* and *before*.
    - `ValueError` for both *after* and *before*, for an empty id or filter, and for a *page_size*
      outside 1 to 100. `TypeError` for a value of another type.
    """
    given = {Direction.FORWARDS: after, Direction.BACKWARDS: before}
    if None not in given.values():
        message = "after and before: the service takes one direction at a time"
        raise ValueError(message)
    endpoint.encode_query({each.parameter: cursor for each, cursor in given.items()})
    asked = {**filters, "page[size]": count_text("page_size", page_size, MAX_PAGE_SIZE)}
    all_records = endpoint.encode_query(asked)
    links = (f"{each.parameter}={str.__str__(one)}" for each, one in given.items() if one)
    start = str(from_page or next(links, ""))  # a caller may hand in anything
    chosen = (each for each in Direction if start.startswith(each.parameter))
    paging = CursorPaging[T](
        str(endpoint),
        name_of(fields(endpoint.returns).items),
        next(chosen, direction),
        asked,
    )
    first = (paging.query_of(start) if start else None) or all_records
    return Listing(send, paging, first=first, from_page=from_page)
