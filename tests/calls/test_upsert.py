"""Upserts and get-or-creates: one request where it can be, one user whatever the others do."""

from datetime import UTC, datetime

import attrs
import httpx
import pytest
from support.clients import scripted

from sunshine_async import (
    BadRequestError,
    ConflictError,
    NotFoundError,
    ServerError,
)
from sunshine_async._calls.upsert import UpsertEffect
from sunshine_async._codec import decode, encode
from sunshine_async.sunshine import Profile, UserCreateBody, UserUpdateBody
from sunshine_async.testing import Answer, ScriptedTransport

BODY = UserCreateBody(
    external_id="jane-1",
    brand_id="9",
    profile=Profile(given_name="Jane"),
    metadata={"tier": "gold"},
    to_be_retained=True,
    extra={"new": 1},
)
FOUND: Answer = (200, {"user": {"id": "1"}})
TAKEN: Answer = 409
GONE: Answer = 404


def methods(transport: ScriptedTransport) -> str:
    """Return what was sent: P for a create, U for an update, G for a read."""
    letters = {"POST": "P", "PATCH": "U", "GET": "G"}
    return "".join(letters[request.method] for request in transport.requests)


@pytest.mark.parametrize("method", ["upsert", "get_or_create"])
async def test_a_key_is_needed(method: str) -> None:
    """Without an external id nobody can tell whether the user is there: `ValueError`."""
    client, transport = scripted()

    for body in (UserCreateBody(), UserCreateBody(external_id="")):
        with pytest.raises(ValueError, match="external_id is not set"):
            await getattr(client.users, method)(body)

    assert not transport.requests


async def test_an_upsert_changes_what_is_there() -> None:
    """Where the external id is taken, an update sends all that the body sets, with its brand."""
    client, transport = scripted(TAKEN, FOUND)

    assert (await client.users.upsert(BODY)).id == "1"

    _, update = transport.requests
    assert update.url.raw_path == b"/v2/apps/app/users/jane-1?brandId=9"
    assert update.content == (
        b'{"new":1,"toBeRetained":true,"profile":{"givenName":"Jane"},"metadata":{"tier":"gold"}}'
    )


async def test_an_upsert_leaves_nothing_of_the_body_out() -> None:
    """Every field that an update can set is taken from the body of the upsert."""
    given = {
        "signed_up_at": datetime(2026, 1, 1, tzinfo=UTC),
        "to_be_retained": False,
        "profile": Profile(surname="Doe"),
        "metadata": {"age": 30},
        "extra": {"new": 1},
    }
    assert set(given) == {field.name for field in attrs.fields(UserUpdateBody)}
    client, transport = scripted(TAKEN, FOUND)

    await client.users.upsert(UserCreateBody(external_id="jane-1", **given))  # type: ignore[arg-type]

    assert transport.requests[1].content == encode(UserUpdateBody(**given))  # type: ignore[arg-type]


async def test_get_or_create_never_changes_what_is_there() -> None:
    """A user that is there is read, and nothing else."""
    client, transport = scripted(TAKEN, FOUND)

    assert (await client.users.get_or_create(BODY)).id == "1"

    assert methods(transport) == "PG"


@pytest.mark.parametrize(
    ("known", "answers"), [(True, [TAKEN, FOUND]), (False, [FOUND])], ids=["known", "new"]
)
async def test_a_run_takes_one_request_each(*, known: bool, answers: list[Answer]) -> None:
    """The guess learns within a few: a long run over known or new users is one request each."""
    users = 200
    client, transport = scripted(*answers, *[FOUND] * 2 * users)

    for _ in range(users):
        await client.users.upsert(BODY)

    assert len(transport.requests) <= 1.1 * users
    assert methods(transport).endswith("U" * 100 if known else "P" * 100)


async def test_the_guess_learns_anew() -> None:
    """After a run over known users, new ones are soon created at the first try."""
    client, transport = scripted(TAKEN, FOUND, *[FOUND] * 20, *[GONE, FOUND] * 3, *[FOUND] * 20)

    for _ in range(44):
        await client.users.upsert(BODY)

    assert methods(transport).endswith("UPUPUP" + "P" * 20)


async def test_a_race_is_followed() -> None:
    """Others who create and delete in between are followed to and fro, to the end."""
    client, transport = scripted(TAKEN, GONE, TAKEN, GONE, TAKEN, FOUND)

    assert (await client.users.upsert(BODY)).id == "1"

    assert methods(transport) == "PUPUPU"


async def test_a_race_without_end_is_an_error() -> None:
    """Six turns are enough: the last answer comes out."""
    client, transport = scripted(*[TAKEN, GONE] * 3)

    with pytest.raises(NotFoundError):
        await client.users.upsert(BODY)

    assert len(transport.requests) == 6


async def test_any_other_error_comes_out() -> None:
    """A refused body is refused, whichever came first."""
    client, _ = scripted(400, TAKEN, 400)

    with pytest.raises(BadRequestError):
        await client.users.upsert(BODY)
    with pytest.raises(BadRequestError):
        await client.users.upsert(BODY)


@pytest.mark.usefixtures("instant_waits")
async def test_doubt_is_not_forgotten() -> None:
    """Where a create may have been applied, an error of what came after says so too."""
    answers: list[Answer] = [httpx.ReadError(""), TAKEN, (200, {"user": {"id": "2"}}), 400]
    client, transport = scripted(*answers)

    with pytest.raises(BadRequestError) as caught:
        await client.users.upsert(BODY)

    assert caught.value.maybe_applied
    assert methods(transport) == "PPGU"


SAME: Answer = (200, {"user": {"id": "1", **decode(encode(BODY))}})
OTHER: Answer = (200, {"user": {"id": "2"}})
LOST = httpx.ReadError("")


@pytest.mark.usefixtures("instant_waits")
@pytest.mark.parametrize(
    ("answers", "sent", "did"),
    [
        ([FOUND], "P", UpsertEffect.CREATED),
        ([LOST, FOUND], "PP", UpsertEffect.CREATED),
        ([TAKEN, GONE, FOUND], "PUP", UpsertEffect.CREATED),
        ([LOST, TAKEN, OTHER, GONE, FOUND], "PPGUP", UpsertEffect.CREATED),
        ([TAKEN, FOUND], "PU", UpsertEffect.UPDATED),
        ([TAKEN, LOST, FOUND], "PUU", UpsertEffect.UPDATED),
        ([LOST, TAKEN, SAME], "PPG", UpsertEffect.EITHER),
        ([LOST, TAKEN, OTHER, FOUND], "PPGU", UpsertEffect.EITHER),
    ],
)
async def test_an_upsert_says_what_it_did(
    answers: list[Answer], sent: str, did: UpsertEffect
) -> None:
    """Created or updated is who says so itself; after a lost create who is there may be ours."""
    client, transport = scripted(*answers)

    upserted = await client.users.upserted(BODY)

    assert (upserted.value.id, upserted.effect) == ("1", did)
    assert methods(transport) == sent


@pytest.mark.usefixtures("instant_waits")
async def test_an_outage_is_an_outage() -> None:
    """A create that only met 503s is in doubt, and no update hides it."""
    client, _ = scripted(*[503] * 5)

    with pytest.raises(ServerError) as caught:
        await client.users.upsert(BODY)

    assert caught.value.maybe_applied
    assert not isinstance(caught.value, ConflictError)
