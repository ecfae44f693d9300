"""Lists that come in pages: all that they hold, one after another, or page by page."""

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

_RECORD: Final = "a record has no id that can be read, so nobody can tell whose it is"
_LINK: Final = "expected a path"
_ELSEWHERE: Final = "it leads to no page of this list, so it was not followed"
_GIVEN: Final = "it leads to a page that was given already"
_SENDABLE: Final = re.compile(r"[\x21-\x7e]+")


class Output(Protocol[T]):
    """A page as it comes."""

    @property
    def data(self) -> list[T]: ...

    @property
    def meta(self) -> PaginationLinks | None: ...

    @property
    def extra(self) -> Mapping[str, Any]: ...


@frozen
class Page(Generic[T]):
    """The *items* of one page, and what to hand in as ``from_page=`` to go on after it.

    *next* is None on the last page.
    """

    items: list[T]
    next: str | None = field(default=None, repr=False)
    unreadable: int = 0
    """The records that the service sent beside *items*, and that can't be read: without an id."""


def page_limit_of(page_limit: int | None) -> Mapping[str, str | None]:
    """Return how a *page_limit* is asked for; raise `ValueError` for one that can't be."""
    if page_limit is not None and page_limit < 1:
        message = f"page_limit={page_limit}: 1 or more"
        raise ValueError(message)
    return {"pageLimit": None if page_limit is None else str(page_limit)}


@frozen
class Place:
    """Where a list is: its *path* below the *base_url*, and what errors call it."""

    base_url: str
    path: str = field(repr=False)
    endpoint: str

    @classmethod
    def of(cls, endpoint: Endpoint[None, Any], path: Mapping[str, str], base_url: str) -> Self:
        """Return the place of what *endpoint* lists, with the values of its *path*."""
        return cls(base_url, endpoint.request(None, path, {}).target, str(endpoint))

    def query_of(self, link: str) -> str | None:
        """Return the query of a *link* to a page of this list; None where it leads elsewhere."""
        try:
            home = urlsplit(self.base_url)
            there = urlsplit(urljoin(self.base_url + self.path, link))
        except ValueError:
            return None
        if (there.scheme, there.netloc.lower()) != (home.scheme, home.netloc.lower()):
            return None
        if there.path not in (self.path, home.path + self.path):
            return None
        return there.query if _SENDABLE.fullmatch(there.query) else None

    def unreadable(self, reason: str, *, path: str) -> ResponseDecodeError:
        """Return the error of a page that has something unreadable at *path*."""
        return ResponseDecodeError(
            reason, path=path, status=200, endpoint=self.endpoint, maybe_applied=False
        )


class Listing(Generic[T]):
    """All that a list holds: ``async for`` asks for the pages as they are needed.

    An error in the middle has in its *from_page* what to hand in to go on with the page that
    wasn't given yet. Each ``async for`` asks anew. A record that can't be read is left out, and
    counted in `Page.unreadable`. A filter that finds such records alone has found somebody:
    `ResponseDecodeError`.
    """

    def __init__(
        self,
        fetch: Callable[[Query], Awaitable[Output[T]]],
        place: Place,
        *,
        asked: Mapping[str, str | None],
        from_page: str | None,
        may_be_none: bool = False,
    ) -> None:
        first = asked if from_page is None else place.query_of(from_page)
        if first is None:
            message = "from_page leads to no page of this list: hand in the *next* of a page of it"
            raise ValueError(message)
        self._fetch: Final = fetch
        self._place: Final = place
        self._first: Final[Query] = first
        self._from_page: Final = from_page
        self._may_be_none: Final = may_be_none

    def __aiter__(self) -> AsyncIterator[T]:
        return _Items(self.pages())

    async def first(self, number: int) -> list[T]:
        """Return the first so many of them, or all there are: no page is asked for beyond them.

        `ResponseDecodeError` where there may be more: a record that can't be read counts as well.
        """
        found: list[T] = []
        unreadable = 0
        async for page in self.pages():
            found += page.items
            unreadable += page.unreadable
            if len(found) >= number:
                return found[:number]
        if unreadable:
            raise self._place.unreadable(_RECORD, path="data")
        return found

    def pages(self) -> AsyncIterator[Page[T]]:
        """Give the pages one after another; one may be empty and have others after it."""
        return _Pages(self._fetch, self._place, self._first, self._from_page, self._may_be_none)


@define(eq=False)
class _Pages(Generic[T]):
    """The pages that are still to come."""

    _fetch: Callable[[Query], Awaitable[Output[T]]]
    _place: Place
    _first: Query
    _link: str | None
    """What led to the page that comes next; None: it is the first of all."""
    _may_be_none: bool
    """Whether a 404 instead of the first page says that there is nothing."""
    _seen: set[int] = field(factory=set[int])
    _ended: bool = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Page[T]:
        if self._ended:
            raise StopAsyncIteration
        query = self._first if self._link is None else self._onward(self._link)
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

    def _page_of(self, output: Output[T]) -> Page[T]:
        """Return the page; raise where its records or the page after it are there, but unreadable."""
        meta = output.meta
        if is_unreadable(output, "meta") or (meta is not None and is_unreadable(meta, "next")):
            raise self._place.unreadable(_LINK, path="meta.next")
        sent = output.extra.get("data")
        page = Page(output.data, (meta.next if meta else None) or None)
        if sent is None:
            return page
        if self._may_be_none and not page.items:
            raise self._place.unreadable(_RECORD, path="data")
        return evolve(page, unreadable=len(sent) - len(page.items))

    def _onward(self, link: str) -> str:
        """Return the query of the next page; raise where it leads elsewhere, or in a circle."""
        query = self._place.query_of(link)
        if query is not None and hash(query) not in self._seen:
            return query
        raise self._place.unreadable(_ELSEWHERE if query is None else _GIVEN, path="meta.next")


@define(eq=False)
class _Items(Generic[T]):
    """What is on the pages."""

    _pages: AsyncIterator[Page[T]]
    _ready: deque[T] = field(factory=deque[T])

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        while not self._ready:
            self._ready.extend((await anext(self._pages)).items)
        return self._ready.popleft()
