"""Lists of Sunshine v2: cursors forwards and backwards, errors in the middle, hostile answers."""

import asyncio
import pickle
from typing import Any

import pytest
from support.clients import scripted

from sunshine_async import (
    ResponseDecodeError,
    Retry,
    ServerError,
)
from sunshine_async.sunshine import Page, Participant
from sunshine_async.testing import Answer, ScriptedTransport

ONE_ATTEMPT = Retry(max_attempts=1)


def page(*ids: str, **meta: Any) -> Answer:
    """Return a page with participants."""
    return 200, {"participants": [{"id": one} for one in ids], "meta": meta}


def queries(transport: ScriptedTransport) -> list[dict[str, str]]:
    """Return the queries of the requests."""
    return [dict(request.url.params) for request in transport.requests]


async def ids(listing: Any) -> list[str]:
    """Return the ids of all records that a list gives."""
    return [record.id async for record in listing]


async def test_cursors_are_followed_forwards() -> None:
    """Each page but the first begins behind the cursor of the page before; the size stays."""
    client, transport = scripted(
        page("a", "b", hasMore=True, afterCursor="b"),
        page("c", hasMore=False, beforeCursor="c", afterCursor="c"),
        retry=ONE_ATTEMPT,
    )

    assert await ids(client.participants.list("c1", page_size=2)) == ["a", "b", "c"]

    assert queries(transport) == [
        {"page[size]": "2"},
        {"page[size]": "2", "page[after]": "b"},
    ]
    assert {request.url.path for request in transport.requests} == {
        "/v2/apps/app/conversations/c1/participants"
    }


async def test_cursors_are_followed_backwards() -> None:
    """With *before* the list goes backwards, by the cursor of that direction."""
    client, transport = scripted(
        page("y", hasMore=True, beforeCursor="y", afterCursor="z"),
        page("x", hasMore=False),
        retry=ONE_ATTEMPT,
    )

    assert await ids(client.participants.list("c1", before="z")) == ["y", "x"]

    assert queries(transport) == [{"page[before]": "z"}, {"page[before]": "y"}]


async def test_filters_stay_on_every_page() -> None:
    """Filters and brand are part of the query of each page."""
    client, transport = scripted(
        (200, {"clients": [], "meta": {"hasMore": True, "afterCursor": "&x=1"}}),
        (200, {"clients": []}),
        (200, {"apps": [{"id": "1"}]}),
        retry=ONE_ATTEMPT,
    )

    assert await ids(client.clients.list("jane", brand_id="7", after="k")) == []
    assert await ids(client.apps.list(service_account_id="s")) == ["1"]

    assert queries(transport) == [
        {"brandId": "7", "page[after]": "k"},
        {"brandId": "7", "page[after]": "&x=1"},
        {"filter[serviceAccountId]": "s"},
    ]


@pytest.mark.parametrize("start", [{}, {"after": "0"}, {"before": "9"}])
async def test_a_list_goes_on_where_it_broke(start: dict[str, str]) -> None:
    """The error has what the same call needs to go on with the page that was not given."""
    cursor = "beforeCursor" if "before" in start else "afterCursor"
    client, transport = scripted(
        page("a", hasMore=True, **{cursor: "5"}), 500, page("b", hasMore=False), retry=ONE_ATTEMPT
    )
    pages = client.participants.list("c1", **start).pages()
    first = await anext(pages)

    with pytest.raises(ServerError) as caught:
        await anext(pages)
    again = pickle.loads(pickle.dumps(caught.value)).from_page  # noqa: S301 - our own

    assert again == first.next
    assert await ids(client.participants.list("c1", **start, from_page=again)) == ["b"]
    parameter = "page[before]" if "before" in start else "page[after]"
    assert queries(transport)[1:] == [{parameter: "5"}] * 2


async def test_an_error_of_the_first_page_begins_anew() -> None:
    """Before the first page there is nothing to go on from."""
    client, _ = scripted(500, retry=ONE_ATTEMPT)

    with pytest.raises(ServerError) as caught:
        await ids(client.participants.list("c1", after="0"))

    assert caught.value.from_page is None


@pytest.mark.parametrize(
    "arguments",
    [
        {"after": "1", "before": "2"},
        {"after": ""},
        {"before": ""},
        {"page_size": 0},
        {"page_size": 101},
        {"from_page": "next"},
        {"from_page": ""},
        {"from_page": "page[size]=5"},
        {"from_page": "page[after]="},
        {"from_page": 5},
    ],
)
@pytest.mark.parametrize(
    ("resource", "of"),
    [("participants", ["c"]), ("clients", ["u"]), ("integrations", []), ("apps", [])],
)
def test_bad_arguments_are_refused(arguments: dict[str, Any], resource: str, of: list[str]) -> None:
    """Both directions, empty ids, sizes outside 1 to 100, and foreign links are a ValueError."""
    client, transport = scripted(retry=ONE_ATTEMPT)

    with pytest.raises(ValueError, match=r"direction|empty|1 to 100|from_page"):
        getattr(client, resource).list(*of, **arguments)

    assert transport.requests == []


@pytest.mark.parametrize(
    ("meta", "path"),
    [
        ({"hasMore": True}, "meta.afterCursor"),
        ({"hasMore": True, "afterCursor": None}, "meta.afterCursor"),
        ({"hasMore": True, "afterCursor": ""}, "meta.afterCursor"),
        ({"hasMore": True, "afterCursor": 5}, "meta.afterCursor"),
        ({"hasMore": True, "beforeCursor": "5"}, "meta.afterCursor"),
        ({"afterCursor": ["5"]}, "meta.afterCursor"),
        ({"hasMore": "yes", "afterCursor": "5"}, "meta.hasMore"),
        ({"hasMore": 1}, "meta.hasMore"),
        ([], "meta.hasMore"),
        ("more", "meta.hasMore"),
    ],
)
async def test_an_unreadable_place_is_an_error(meta: Any, path: str) -> None:
    """Nobody can tell if a list ends here: the page is an error, not the end."""
    client, transport = scripted(
        (200, {"participants": [{"id": "a"}], "meta": meta}), retry=ONE_ATTEMPT
    )

    with pytest.raises(ResponseDecodeError) as caught:
        await ids(client.participants.list("c1"))

    assert caught.value.path == path
    assert not caught.value.maybe_applied
    assert len(transport.requests) == 1


@pytest.mark.parametrize("answer", [{}, {"participants": None}, {"participants": {}}, []])
async def test_a_page_without_records_is_an_error(answer: Any) -> None:
    """An answer without the list of records is unreadable, not empty."""
    client, _ = scripted((200, answer), retry=ONE_ATTEMPT)

    with pytest.raises(ResponseDecodeError):
        await ids(client.participants.list("c1"))


@pytest.mark.parametrize("data", [{}, {"meta": None}, {"meta": {}}, {"meta": {"hasMore": None}}])
async def test_a_list_ends_without_a_cursor(data: dict[str, Any]) -> None:
    """The specification leaves the cursor out at the end; a place that isn't there is no more."""
    client, _ = scripted((200, {"participants": [{"id": "a"}], **data}), retry=ONE_ATTEMPT)

    assert await ids(client.participants.list("c1")) == ["a"]


async def test_a_cursor_alone_leads_on() -> None:
    """A cursor without a word on more records is followed; the next page may be empty."""
    client, _ = scripted(page("a", afterCursor="a"), page(), retry=ONE_ATTEMPT)

    assert await ids(client.participants.list("c1")) == ["a"]


@pytest.mark.parametrize("cursors", ["aa", "aba", "abcb"])
async def test_a_circle_is_an_error(cursors: str) -> None:
    """A cursor that was followed already ends in an error, after all that was new."""
    client, transport = scripted(
        *[page(str(number), hasMore=True, afterCursor=one) for number, one in enumerate(cursors)],
        retry=ONE_ATTEMPT,
    )
    given: list[Any] = []

    with pytest.raises(ResponseDecodeError, match="given already") as caught:
        given.extend([one async for one in client.participants.list("c1")])

    assert caught.value.path == "meta.afterCursor"
    assert len(transport.requests) == len(cursors)


async def test_the_cursor_that_began_the_list_is_part_of_the_circle() -> None:
    """A service that ignores the cursor is found out at the first page."""
    client, transport = scripted(page("a", hasMore=True, afterCursor="0"), retry=ONE_ATTEMPT)

    with pytest.raises(ResponseDecodeError, match="given already"):
        await ids(client.participants.list("c1", after="0"))

    assert len(transport.requests) == 1


async def test_records_without_an_id_are_counted() -> None:
    """An unreadable record is left out of the page, and counted."""
    client, _ = scripted(
        (200, {"participants": [{"id": "a"}, {}, 5], "meta": {}}), retry=ONE_ATTEMPT
    )

    [found] = [one async for one in client.participants.list("c1").pages()]

    assert (found.items, found.unreadable) == ([Participant(id="a")], 2)


async def test_the_first_records_need_no_further_page() -> None:
    """`Listing.first` stops as soon as the number is there."""
    client, transport = scripted(page("a", "b", hasMore=True, afterCursor="b"), retry=ONE_ATTEMPT)

    assert [one.id for one in await client.participants.list("c1").first(2)] == ["a", "b"]
    assert len(transport.requests) == 1


async def test_unreadable_records_may_be_the_first() -> None:
    """Fewer readable records than asked for, and unreadable ones that may fill the number: no list."""
    client, _ = scripted((200, {"participants": [{"id": "a"}, {}]}), retry=ONE_ATTEMPT)

    with pytest.raises(ResponseDecodeError, match="no id") as caught:
        await client.participants.list("c1").first(2)

    assert caught.value.path == "participants"


async def test_fewer_records_than_asked_for_are_all() -> None:
    """A list that ends before the number is reached gives what it has."""
    client, _ = scripted(page("a"), retry=ONE_ATTEMPT)

    assert [one.id for one in await client.participants.list("c1").first(2)] == ["a"]


@pytest.mark.parametrize("of", ["records", "pages"])
async def test_an_iterator_is_for_one_task(of: str) -> None:
    """Two tasks that read one iterator would both get each record: the second is told."""
    client, transport = scripted(
        page("a", hasMore=True, afterCursor="a"), page("b"), retry=ONE_ATTEMPT
    )
    listing = client.participants.list("c1")
    iterator: Any = aiter(listing) if of == "records" else listing.pages()

    first, second = await asyncio.gather(anext(iterator), anext(iterator), return_exceptions=True)

    assert isinstance(second, RuntimeError)
    assert "another task reads this iterator" in str(second)
    assert first == (
        Participant(id="a") if of == "records" else Page([Participant(id="a")], "page[after]=a")
    )
    assert (await anext(iterator)) in (Participant(id="b"), Page([Participant(id="b")]))
    assert len(transport.requests) == 2
