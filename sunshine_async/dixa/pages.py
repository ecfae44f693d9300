"""Lists that come in pages: all that they hold, one after another, or page by page."""

import re
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Final, Generic, Protocol, Self, TypeAlias, TypeVar
from urllib.parse import urljoin, urlsplit

from attrs import define, field, frozen

from sunshine_async._endpoint import Endpoint
from sunshine_async.dixa.models import PaginationLinks
from sunshine_async.errors import NotFoundError, ResponseDecodeError, SunshineError

T = TypeVar("T")

Query: TypeAlias = Mapping[str, str | None] | str

_SENDABLE: Final = re.compile(r"[\x21-\x7e]+")


class Output(Protocol[T]):
    """A page as it comes."""

    @property
    def data(self) -> list[T]: ...

    @property
    def meta(self) -> PaginationLinks | None: ...


@frozen
class Page(Generic[T]):
    """The *items* of one page, and what to hand in as ``from_page=`` to go on after it.

    *next* is None on the last page.
    """

    items: list[T]
    next: str | None = field(default=None, repr=False)


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


class Listing(Generic[T]):
    """All that a list holds: ``async for`` asks for the pages as they are needed.

    An error in the middle has in its *from_page* what to hand in to go on with the page that
    wasn't given yet. Each ``async for`` asks anew.
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
        """Return the first so many of them, or all there are: no page is asked for beyond them."""
        found: list[T] = []
        async for one in self:
            found.append(one)
            if len(found) == number:
                break
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
        except SunshineError as error:
            if self._may_be_none and self._link is None and isinstance(error, NotFoundError):
                self._ended = True
                return Page([])
            error.from_page = self._link
            raise
        self._seen.add(hash(query if isinstance(query, str) else ""))
        self._link = (output.meta.next if output.meta else None) or None
        self._ended = self._link is None
        return Page(output.data, self._link)

    def _onward(self, link: str) -> str:
        """Return the query of the next page; raise where it leads elsewhere, or in a circle."""
        query = self._place.query_of(link)
        if query is not None and hash(query) not in self._seen:
            return query
        raise ResponseDecodeError(
            "it leads to no page of this list, so it was not followed"
            if query is None
            else "it leads to a page that was given already",
            path="meta.next",
            status=200,
            endpoint=self._place.endpoint,
            maybe_applied=False,
        )


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
