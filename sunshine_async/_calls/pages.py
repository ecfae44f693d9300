"""Pagination: the records of a list singly or page by page, by the scheme of a service."""

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Final, Generic, Protocol, Self, TypeAlias, TypeVar

from attrs import define, evolve, field, frozen

from sunshine_async.errors import ResponseDecodeError, SunshineError

T = TypeVar("T")

Query: TypeAlias = Mapping[str, str | None] | str

NO_ID: Final = "a record has no id that can be read, so nobody can tell whose it is"
_ELSEWHERE: Final = "it leads to no page of this list, so it was not followed"
_REPEATED: Final = "it leads to a page that was given already"
_SHARED: Final = "another task reads this iterator: hand its records on, as bulk.run does"
MAX_EMPTY: Final = 100
"""Pages in a row without a record, after which a list counts as endless (assumed)."""
_ENDLESS: Final = f"it leads on after {MAX_EMPTY} pages without a record: from_page= goes on there"


@frozen
class Page(Generic[T]):
    """The *items* of a page; *next* is the ``from_page=`` of the page after, None at the end."""

    items: list[T]
    next: str | None = field(default=None, repr=False)
    unreadable: int = 0
    """Count of further records on the page that have no readable id."""


class Paging(Protocol[T]):
    """Pagination scheme of one list: the reader of pages, and of links from page to page."""

    @property
    def endpoint(self) -> str:
        """The name of the list in errors."""
        ...

    @property
    def records_path(self) -> str:
        """The place of the records in an answer."""
        ...

    @property
    def link_path(self) -> str:
        """The place of the link to the next page in an answer."""
        ...

    def page_of(self, output: Any) -> Page[T]:
        """Return the page in an answer; raise `ResponseDecodeError` for an unreadable page."""
        ...

    def query_of(self, link: str) -> str | None:
        """Return the query of the page at *link*; None for a link to anything else."""
        ...


def unreadable_page(endpoint: str, reason: str, *, path: str) -> ResponseDecodeError:
    """Return the error for a page with an unreadable value at *path*."""
    return ResponseDecodeError(
        reason, path=path, status=200, endpoint=endpoint, maybe_applied=False
    )


class Listing(Generic[T]):
    """The records of a list: ``async for`` requests pages as needed, anew for each loop.

    - An error in the middle has *from_page*, which continues with the first page not yet returned,
      unless there is no such page.
    - An iterator is for one task at a time: a second task that reads gets a `RuntimeError`, since
      both would get the same page.
    - A record without a readable id is left out, and counted in `Page.unreadable`.
    - `ResponseDecodeError`: a filter found records, and none is readable; or the link to the next
      page is unreadable, leads outside the list, leads to a page already returned, or leads on after
      100 pages without a record (assumed).
    """

    def __init__(
        self,
        fetch: Callable[[Query], Awaitable[Any]],
        paging: Paging[T],
        *,
        first: Query,
        from_page: str | None,
    ) -> None:
        start = first if from_page is None else paging.query_of(from_page)
        if start is None:
            message = "from_page leads to no page of this list: hand in the *next* of a page of it"
            raise ValueError(message)
        self._paging: Final = paging
        self._start: Final = _PageIterator(fetch, paging, start, from_page)

    def __aiter__(self) -> AsyncIterator[T]:
        return _ItemIterator(self.pages())

    async def first(self, number: int) -> list[T]:
        """Return the first *number* records, or all of fewer, without requesting further pages.

        `ResponseDecodeError` if fewer are readable, and unreadable records may fill the number.
        """
        found: list[T] = []
        unreadable = 0
        async for page in self.pages():
            found += page.items
            unreadable += page.unreadable
            if len(found) >= number:
                return found[:number]
        if unreadable:
            paging = self._paging
            raise unreadable_page(paging.endpoint, NO_ID, path=paging.records_path)
        return found

    def pages(self) -> AsyncIterator[Page[T]]:
        """Return an iterator over the pages; an empty page may have further pages after it."""
        return evolve(self._start)


@define(eq=False, repr=False)  # the query may have an e-mail address
class _PageIterator(Generic[T]):
    _fetch: Callable[[Query], Awaitable[Any]]
    _paging: Paging[T]
    _first: Query
    _link: str | None
    """Link to the next page. None: the next page is the first of the list."""
    _seen: set[int] = field(factory=set[int], init=False)
    _empty: int = field(default=0, init=False)
    """Pages without a record since the last record."""
    _ended: bool = field(default=False, init=False)
    _reading: bool = field(default=False, init=False)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Page[T]:
        if self._reading:
            raise RuntimeError(_SHARED)
        self._reading = True
        try:
            return await self._next_page()
        finally:
            self._reading = False

    async def _next_page(self) -> Page[T]:
        if self._ended:
            raise StopAsyncIteration
        query = self._first if self._link is None else self._next_query(self._link)
        seen, fetched = hash(query if isinstance(query, str) else ""), self._fetch(query)
        del query  # error reporters attach local variables
        try:
            page = self._paging.page_of(await fetched)
        except SunshineError as error:
            error.from_page = self._link
            raise
        self._seen.add(seen)
        self._empty = 0 if page.items or page.unreadable else self._empty + 1
        self._link = page.next
        self._ended = self._link is None
        return page

    def _next_query(self, link: str) -> str:
        query = self._paging.query_of(link)
        if query is None:
            reason = _ELSEWHERE
        elif hash(query) in self._seen:
            reason = _REPEATED
        elif self._empty >= MAX_EMPTY:
            reason = _ENDLESS
        else:
            return query
        error = unreadable_page(self._paging.endpoint, reason, path=self._paging.link_path)
        error.from_page = link if reason is _ENDLESS else None
        try:
            raise error
        finally:
            del error  # which holds this frame


@define(eq=False, repr=False)
class _ItemIterator(Generic[T]):
    _pages: AsyncIterator[Page[T]]
    _ready: deque[T] = field(factory=deque[T])

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        while not self._ready:
            self._ready.extend((await anext(self._pages)).items)
        return self._ready.popleft()
