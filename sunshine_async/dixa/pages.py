"""Pagination by links: pages as the service sends them, and links that are checked."""

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Generic, Protocol, TypeVar
from urllib.parse import urljoin, urlsplit

from attrs import evolve, field, frozen

from sunshine_async._calls.arguments import count_text
from sunshine_async._calls.endpoint import Endpoint
from sunshine_async._calls.pages import NO_ID, Listing, Page, Query, unreadable_page
from sunshine_async._codec import is_unreadable
from sunshine_async.dixa.models import PaginationLinks
from sunshine_async.errors import NotFoundError

T = TypeVar("T")

_NO_PATH: Final = "expected a path"
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
class LinkPaging(Generic[T]):
    """Pagination of the list at *path* below *base_url*; *endpoint* is the name in errors.

    A *filtered* list may be empty: a 404 for the first page says so too.
    """

    base_url: str
    path: str = field(repr=False)
    endpoint: str
    filtered: bool = False
    records_path: str = field(default="data", init=False)
    link_path: str = field(default="meta.next", init=False)

    def query_of(self, link: str) -> str | None:
        """Return the query of a *link* to a page of this list; None for any other target."""
        try:
            base = urlsplit(self.base_url)
            target = urlsplit(urljoin(self.base_url + self.path, str(link)))
        except ValueError:
            return None
        if (target.scheme, target.netloc.lower()) != (base.scheme, base.netloc.lower()):
            return None
        if target.path not in (self.path, base.path + self.path):
            return None
        return target.query if _URL_CHARACTERS.fullmatch(target.query) else None

    def page_of(self, output: RawPage[T] | None) -> Page[T]:
        """Return the page in *output*; None is the page of a filter that found nothing."""
        if output is None:
            return Page([])
        meta = output.meta
        if is_unreadable(output, "meta") or (meta is not None and is_unreadable(meta, "next")):
            raise unreadable_page(self.endpoint, _NO_PATH, path=self.link_path)
        sent = output.extra.get("data")
        page = Page(output.data, (meta.next if meta else None) or None)
        if sent is None:
            return page
        if self.filtered and not page.items:
            raise unreadable_page(self.endpoint, NO_ID, path=self.records_path)
        return evolve(page, unreadable=len(sent) - len(page.items))


def list_pages(
    send: Callable[[Query], Awaitable[RawPage[T]]],
    endpoint: Endpoint[None, Any],
    path: Mapping[str, str],
    *,
    base_url: str,
    filters: Mapping[str, str | None],
    page_limit: int | None,
    from_page: str | None,
) -> Listing[T]:
    """Return the records at *endpoint* that *filters* select, requested by *send*.

    `ValueError` for an empty filter and a *page_limit* below 1, `TypeError` for another type.
    """
    first = {**filters, "pageLimit": count_text("page_limit", page_limit)}
    endpoint.encode_query(first)  # an unfit value is refused now, not with the first page
    paging = LinkPaging[T](
        base_url,
        endpoint.request(None, path, {}).target,
        str(endpoint),
        filtered=any(value is not None for value in filters.values()),
    )

    async def fetch(query: Query) -> RawPage[T] | None:
        is_first, sent = not isinstance(query, str), send(query)
        del query  # error reporters attach local variables
        try:
            return await sent
        except NotFoundError as error:
            if paging.filtered and is_first and not error.is_foreign:
                return None
            raise

    return Listing(fetch, paging, first=first, from_page=from_page)
