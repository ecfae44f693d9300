"""Lists that come in pages: followed to their end, on one host, and gone on with where they broke."""

import pickle
from functools import partial
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import clients

from sunshine_async import NotFoundError, ResponseDecodeError, Retry, ServerError
from sunshine_async._calls.pages import MAX_EMPTY
from sunshine_async.dixa import EndUser, Page
from sunshine_async.dixa.pages import LinkPaging
from sunshine_async.testing import Answer, ScriptedTransport

FIRST = "/v1/endusers?pageKey=b25l%2B"
SECOND = "/v1/endusers?pageKey=dHdv"
scripted = partial(clients.scripted, client=clients.dixa, retry=Retry(max_attempts=1))


def page(*ids: str, following: str | None = None) -> Answer:
    """Return an answer with users, and a link to the next page."""
    data: dict[str, Any] = {"data": [{"id": one} for one in ids]}
    return 200, {**data, "meta": {"next": following}} if following is not None else data


def targets(transport: ScriptedTransport) -> list[str]:
    """Return what was asked for, a request a line."""
    return [request.url.raw_path.decode() for request in transport.requests]


async def until_error(listing: Any, given: list[str]) -> None:
    """Take down the ids of what a list gives before it breaks."""
    async for user in listing:
        given.append(user.id)  # noqa: PERF401 - what came before the error counts


async def ids(listing: Any) -> list[str]:
    """Return the ids of all that a list gives."""
    return [user.id async for user in listing]


async def test_pages_are_followed() -> None:
    """The link to the next page is followed as it came; an empty page with one goes on."""
    client, transport = scripted(page("a", "b", following=FIRST), page(following=SECOND), page("c"))

    assert await ids(client.end_users.list(page_limit=2)) == ["a", "b", "c"]

    assert targets(transport) == ["/v1/endusers?pageLimit=2", FIRST, SECOND]


@pytest.mark.parametrize("answer", [(200, {"data": []}), (200, {"data": [], "meta": {}}), 404])
async def test_none_found_is_none_given(answer: Answer) -> None:
    """No match is an empty list, whether the service says 200 or 404."""
    client, _ = scripted(answer, answer)

    assert await ids(client.end_users.list(email="a@b.c")) == []
    assert [one async for one in client.end_users.list(email="a@b.c").pages()] == [Page([])]


async def test_a_404_without_a_filter_is_an_error() -> None:
    """Where all users were asked for, a 404 says that something else is wrong."""
    client, _ = scripted(404, 404)

    with pytest.raises(NotFoundError) as caught:
        await ids(client.end_users.list())
    assert caught.value.from_page is None

    with pytest.raises(NotFoundError):
        await ids(client.end_users.conversations("a"))


async def test_a_page_of_a_gateway_finds_no_one_out() -> None:
    """A 404 that isn't the service's own doesn't tell that no end user matches."""
    client, _ = scripted(httpx.Response(404, text="<html>No route</html>"))

    with pytest.raises(NotFoundError):
        await ids(client.end_users.list(email="a@b.c"))


async def test_a_list_goes_on_where_it_broke() -> None:
    """An error in mid-list has what to hand in to go on with the page that wasn't given."""
    client, transport = scripted(page("a", following=FIRST), 500, page("b", following=SECOND), 404)
    given: list[str] = []

    with pytest.raises(ServerError) as caught:
        await until_error(client.end_users.list(external_id="x"), given)
    again = pickle.loads(pickle.dumps(caught.value)).from_page  # noqa: S301 - our own
    assert again == FIRST
    pages = client.end_users.list(external_id="x", from_page=again).pages()
    assert await anext(pages) == Page([EndUser(id="b")], SECOND)
    with pytest.raises(NotFoundError) as broken:
        await anext(pages)

    assert given == ["a"]
    assert broken.value.from_page == SECOND
    assert targets(transport)[2:] == [FIRST, SECOND]


async def test_the_iterator_itself_goes_on() -> None:
    """An iterator of pages that met an error asks for the same page again."""
    client, _ = scripted(page("a", following=FIRST), 500, page("b"))
    pages = client.end_users.list().pages()
    users = aiter(client.end_users.list())

    assert aiter(pages) is pages
    assert aiter(users) is users
    assert (await anext(pages)).next == FIRST
    with pytest.raises(ServerError):
        await anext(pages)
    assert [user.id for user in (await anext(pages)).items] == ["b"]
    with pytest.raises(StopAsyncIteration):
        await anext(pages)


@pytest.mark.parametrize("links", [[FIRST, FIRST], [FIRST, SECOND, FIRST]])
async def test_a_circle_is_an_error(links: list[str]) -> None:
    """A link to a page that was given already ends in an error, after all that was new."""
    client, transport = scripted(*[page(str(n), following=link) for n, link in enumerate(links)])
    given: list[str] = []

    with pytest.raises(ResponseDecodeError, match="given already") as caught:
        await until_error(client.end_users.list(), given)

    assert caught.value.path == "meta.next"
    assert not caught.value.maybe_applied
    assert len(transport.requests) == len(links) == len(given)


async def test_a_list_of_empty_pages_ends() -> None:
    """Pages without a record, each with a new link, end in an error that can be gone on from."""
    empty = [page(following=f"{FIRST}{number}") for number in range(3 * MAX_EMPTY)]
    client, transport = scripted(*empty[:MAX_EMPTY], page("a", following=FIRST), *empty)
    given: list[str] = []

    with pytest.raises(ResponseDecodeError, match="without a record") as caught:
        await until_error(client.end_users.list(), given)
    assert (given, len(transport.requests)) == ([], MAX_EMPTY)
    with pytest.raises(ResponseDecodeError) as again:
        await until_error(client.end_users.list(from_page=caught.value.from_page), given)
    assert (given, len(transport.requests)) == (["a"], 2 * MAX_EMPTY + 1)
    assert again.value.from_page != caught.value.from_page


async def test_a_list_of_pages_without_an_id_is_not_endless() -> None:
    """A record that can't be read is a record: such pages are followed to the last one."""
    unread = [
        (200, {"data": [{}], "meta": {"next": f"{FIRST}{number}"}}) for number in range(MAX_EMPTY)
    ]
    client, transport = scripted(*unread, page("a"))

    assert await ids(client.end_users.list()) == ["a"]
    assert len(transport.requests) == MAX_EMPTY + 1


async def test_an_iterator_shows_no_query() -> None:
    """The address of a search stays out of the text of an iterator, which error reporters show."""
    client, _ = scripted()
    listing = client.end_users.list(email="jane@example.org")
    assert "jane" not in f"{listing.pages()!r} {aiter(listing)!r}"


@pytest.mark.parametrize(
    "link",
    [
        "https://evil.example/v1/endusers?pageKey=a",
        "//evil.example/v1/endusers?pageKey=a",
        "http://dev.dixa.io/v1/endusers?pageKey=a",
        "https://dev.dixa.io:8443/v1/endusers?pageKey=a",
        "https://dev.dixa.io@evil.example/v1/endusers?pageKey=a",
        "/v1/agents?pageKey=a",
        "/v1/endusers/../agents?pageKey=a",
        "/beta/endusers?pageKey=a",
        "\\\\evil.example\\v1\\endusers?pageKey=a",
        "https://[evil/v1/endusers?pageKey=a",
        "/v1/endusers",
        "/v1/endusers?pageKey=a b",
        "/v1/endusers?pageKey=é",
        "b25lOnR3bw==",
    ],
)
async def test_a_link_elsewhere_is_not_followed(link: str) -> None:
    """Only a page of the same list on the same host is asked for, whatever the link says."""
    client, transport = scripted(page("a", following=link))

    with pytest.raises(ResponseDecodeError, match="not followed"):
        await ids(client.end_users.list())

    assert len(transport.requests) == 1
    with pytest.raises(ValueError, match="from_page"):
        client.end_users.list(from_page=link)


@pytest.mark.parametrize(
    ("base_url", "link", "target"),
    [
        ("https://dev.dixa.io", "https://DEV.dixa.io/v1/endusers?pageKey=a", "/v1/endusers?pageKey=a"),
        ("https://dev.dixa.io", "?pageKey=a%20b+c=", "/v1/endusers?pageKey=a%20b+c="),
        ("https://proxy.example/dixa", "/v1/endusers?pageKey=a", "/dixa/v1/endusers?pageKey=a"),
        ("https://proxy.example/dixa", "/dixa/v1/endusers?pageKey=a", "/dixa/v1/endusers?pageKey=a"),
    ],
)  # fmt: skip
async def test_a_link_to_the_same_list_is_followed(base_url: str, link: str, target: str) -> None:
    """A link may be absolute or relative, and a base URL may have a path; its query is kept."""
    client, transport = scripted(page("a", following=link), page("b"), base_url=base_url)

    assert await ids(client.end_users.list()) == ["a", "b"]
    assert targets(transport)[-1] == target


async def test_conversations_are_followed_for_their_user() -> None:
    """A link to the conversations of another end user is not followed."""
    mine = "/v1/endusers/a%2Fb/conversations?pageKey=x"
    other = "/v1/endusers/other/conversations?pageKey=x"
    one: dict[str, Any] = {"data": [{"_type": "SmsConversation", "id": 1}]}
    client, transport = scripted(
        (200, {**one, "meta": {"next": mine}}), (200, {**one, "meta": {"next": other}})
    )

    with pytest.raises(ResponseDecodeError):
        await ids(client.end_users.conversations("a/b"))

    assert targets(transport)[-1] == mine


@given(link=st.text() | st.from_regex(r"\A(https?:)?//?[a-z./@\\:?#-]*\Z"))
def test_no_link_leads_away(link: str) -> None:
    """Whatever a link is, what is asked for is the same list on the same host."""
    place = LinkPaging[object]("https://dev.dixa.io", "/v1/endusers", "GET /v1/endusers")

    query = place.query_of(link)

    if query is not None:
        url = httpx.URL("https://dev.dixa.io").copy_with(
            raw_path=f"/v1/endusers?{query}".encode("ascii")
        )
        assert (url.host, url.path) == ("dev.dixa.io", "/v1/endusers")


@pytest.mark.parametrize("meta", [5, [], {"next": 5}])
async def test_an_unreadable_link_is_an_error(meta: Any) -> None:
    """Nobody can tell if a list ends here: the page is an error, not the end."""
    client, _ = scripted((200, {"data": [{"id": "a"}], "meta": meta}))

    with pytest.raises(ResponseDecodeError) as caught:
        await ids(client.end_users.list())

    assert caught.value.path == "meta.next"


async def test_a_filter_that_finds_the_unreadable_only_is_an_error() -> None:
    """A record without an id is a find that nobody can read, not an empty list."""
    client, _ = scripted((200, {"data": [{}]}))

    with pytest.raises(ResponseDecodeError) as caught:
        await ids(client.end_users.list(email="a@b.c"))

    assert caught.value.path == "data"
