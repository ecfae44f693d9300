"""Pagination: the records of a list singly or page by page, with checked links."""

import re
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Final, Generic, Protocol, Self, TypeAlias, TypeVar
from urllib.parse import urljoin, urlsplit

from attrs import define, evolve, field, frozen

from sunshine_async._calls.endpoint import Endpoint
from sunshine_async._codec import is_unreadable
from sunshine_async.dixa.models import PaginationLinks
from sunshine_async.errors import NotFoundError, ResponseDecodeError, SunshineError

T = TypeVar("T")

Query: TypeAlias = Mapping[str, str | None] | str

_NO_ID: Final = "a record has no id that can be read, so nobody can tell whose it is"
_NO_PATH: Final = "expected a path"
_ELSEWHERE: Final = "it leads to no page of this list, so it was not followed"
_REPEATED: Final = "it leads to a page that was given already"
_URL_CHARACTERS: Final = re.compile(r"[\x21-\x7e]+")


class RawPage(Protocol[T]):
    """A page as sent by the service."""

    @property
    def data(self) -> list[T]: ...

    @property
    def meta(self) -> PaginationLinks | None: ...

    @property
    def extra(self) -> Mapping[str, Any]: ...


@frozen
class Page(Generic[T]):
    """The *items* of a page; *next* is the ``from_page=`` of the page after, None at the end."""

    items: list[T]
    next: str | None = field(default=None, repr=False)
    unreadable: int = 0
    """Count of further records on the page that have no readable id."""


def page_limit_of(page_limit: int | None) -> Mapping[str, str | None]:
    """Return the query for a *page_limit*; raise `ValueError` for a number below 1."""
    if page_limit is not None and page_limit < 1:
        message = f"page_limit={page_limit}: 1 or more"
        raise ValueError(message)
    return {"pageLimit": None if page_limit is None else str(page_limit)}


@frozen
class ListLocation:
    """Location of a list: *path* below *base_url*; *endpoint* is the name in errors."""

    base_url: str
    path: str = field(repr=False)
    endpoint: str

    @classmethod
    def of(cls, endpoint: Endpoint[None, Any], path: Mapping[str, str], base_url: str) -> Self:
        """Return the location of the list at *endpoint*, with *path* filled in."""
        return cls(base_url, endpoint.request(None, path, {}).target, str(endpoint))

    def query_of(self, link: str) -> str | None:
        """Return the query of a *link* to a page of this list; None for any other target."""
        try:
            base = urlsplit(self.base_url)
            target = urlsplit(urljoin(self.base_url + self.path, link))
        except ValueError:
            return None
        if (target.scheme, target.netloc.lower()) != (base.scheme, base.netloc.lower()):
            return None
        if target.path not in (self.path, base.path + self.path):
            return None
        return target.query if _URL_CHARACTERS.fullmatch(target.query) else None

    def unreadable(self, reason: str, *, path: str) -> ResponseDecodeError:
        """Return the error for a page with an unreadable value at *path*."""
        return ResponseDecodeError(
            reason, path=path, status=200, endpoint=self.endpoint, maybe_applied=False
        )


class Listing(Generic[T]):
    """The records of a list: ``async for`` requests pages as needed, anew for each loop.

    - An error in the middle has *from_page*, which continues with the first page not yet returned.
    - A record without a readable id is left out, and counted in `Page.unreadable`.
    - `ResponseDecodeError`: a filter found records, and none is readable; or the link to the next
      page is unreadable, leads outside the list, or leads to a page already returned.
    """

    def __init__(
        self,
        fetch: Callable[[Query], Awaitable[RawPage[T]]],
        place: ListLocation,
        *,
        asked: Mapping[str, str | None],
        from_page: str | None,
        may_be_none: bool = False,
    ) -> None:
        first = asked if from_page is None else place.query_of(from_page)
        if first is None:
            message = "from_page leads to no page of this list: hand in the *next* of a page of it"
            raise ValueError(message)
        self._place: Final = place
        self._start: Final = _PageIterator(fetch, place, first, from_page, may_be_none)

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
            raise self._place.unreadable(_NO_ID, path="data")
        return found

    def pages(self) -> AsyncIterator[Page[T]]:
        """Return an iterator over the pages; an empty page may have further pages after it."""
        return evolve(self._start)


@define(eq=False)
class _PageIterator(Generic[T]):
    _fetch: Callable[[Query], Awaitable[RawPage[T]]]
    _place: ListLocation
    _first: Query
    _link: str | None
    """Link to the next page. None: the next page is the first of the list."""
    _may_be_none: bool
    """True if a 404 for the first page means an empty list."""
    _seen: set[int] = field(factory=set[int], init=False)
    _ended: bool = field(default=False, init=False)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Page[T]:
        if self._ended:
            raise StopAsyncIteration
        query = self._first if self._link is None else self._next_query(self._link)
        try:
            output = await self._fetch(query)
            page = self._page_of(output)
        except SunshineError as error:
            if self._may_be_none and self._link is None and isinstance(error, NotFoundError):
                self._ended = True
                return Page([])
            error.from_page = self._link
            raise
        self._seen.add(hash(query if isinstance(query, str) else ""))
        self._link = page.next
        self._ended = self._link is None
        return page

    def _page_of(self, output: RawPage[T]) -> Page[T]:
        meta = output.meta
        if is_unreadable(output, "meta") or (meta is not None and is_unreadable(meta, "next")):
            raise self._place.unreadable(_NO_PATH, path="meta.next")
        sent = output.extra.get("data")
        page = Page(output.data, (meta.next if meta else None) or None)
        if sent is None:
            return page
        if self._may_be_none and not page.items:
            raise self._place.unreadable(_NO_ID, path="data")
        return evolve(page, unreadable=len(sent) - len(page.items))

    def _next_query(self, link: str) -> str:
        query = self._place.query_of(link)
        if query is not None and hash(query) not in self._seen:
            return query
        raise self._place.unreadable(_ELSEWHERE if query is None else _REPEATED, path="meta.next")


@define(eq=False)
class _ItemIterator(Generic[T]):
    _pages: AsyncIterator[Page[T]]
    _ready: deque[T] = field(factory=deque[T])

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        while not self._ready:
            self._ready.extend((await anext(self._pages)).items)
        return self._ready.popleft()
