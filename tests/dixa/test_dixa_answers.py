"""Bulk answers that are hard to read: an outcome that can't be read spoils no other, and none is guessed."""

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import anyio
import httpx
import pytest
from support.clients import dixa

from sunshine_async import (
    BadRequestError,
    ResponseDecodeError,
    SunshineError,
    jobs,
)
from sunshine_async._calls.pages import Page
from sunshine_async._codec import structure, wire_name
from sunshine_async.bulk import Done, Failed, Outcome, Unknown
from sunshine_async.dixa import (
    BulkActionSuccess,
    BulkPatchEndUserInput,
    CreateEndUserInput,
    EndUser,
    UnknownOutcome,
)
from sunshine_async.dixa.bulk_requests import BulkCreate, BulkRequest
from sunshine_async.dixa.end_users import CREATE_BULK, PATCH_BULK
from sunshine_async.dixa.matching import differences, holds, match_changes, match_creates, may_hold
from sunshine_async.dixa.upserts import UserIndex
from sunshine_async.emulator import Emulator
from sunshine_async.jobs import Mode
from sunshine_async.jobs.tasks.dixa import DIXA
from sunshine_async.testing import ScriptedTransport, no_waiting

Change = Callable[[list[Any]], Any]

SPOILT: Final[dict[str, Change]] = {
    "null": lambda outcomes: [*outcomes[:-1], None],
    "a number": lambda outcomes: [*outcomes[:-1], 7],
    "a text": lambda outcomes: [*outcomes[:-1], "done"],
    "a list": lambda outcomes: [*outcomes[:-1], [outcomes[-1]]],
    "no kind": lambda outcomes: [*outcomes[:-1], {}],
    "a success of null": lambda outcomes: [*outcomes[:-1], {**outcomes[-1], "data": None}],
    "a success without a user": lambda outcomes: [*outcomes[:-1], {"_type": "BulkActionSuccess"}],
    "a success without an id": lambda outcomes: [*outcomes[:-1], {**outcomes[-1], "data": {}}],
    "an error of null": lambda outcomes: [
        *outcomes[:-1],
        {"_type": "BulkActionFailure", "error": None},
    ],
    "an error that is none": lambda outcomes: [
        *outcomes[:-1],
        {"_type": "BulkActionFailure", "error": [1]},
    ],
}
"""Answers whose last outcome can't be read."""
MORE: Final[dict[str, Change]] = {
    "one more null": lambda outcomes: [*outcomes, None],
    "one twice": lambda outcomes: [*outcomes, outcomes[0]],
    "one missing": lambda outcomes: outcomes[1:],
    "none": lambda _: [],
    "reversed": lambda outcomes: outcomes[::-1],
    "null for all": lambda _: None,
    "one object": lambda outcomes: outcomes[0],
    "all null": lambda outcomes: [None] * len(outcomes),
}
"""Answers with outcomes missing, in surplus, or in another order."""


class Spoiling(httpx.AsyncBaseTransport):
    """An emulator whose first bulk answer is changed."""

    def __init__(self, emulator: Emulator, change: Change) -> None:
        self.inner = emulator.transport()
        self.change: Change | None = change
        self.posts = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Pass *request* on; change the answer."""
        self.posts += request.method == "POST"
        answer = await self.inner.handle_async_request(request)
        if request.method == "GET" or self.change is None:
            return answer
        change, self.change = self.change, None
        data = json.loads(await answer.aread())["data"]
        return httpx.Response(answer.status_code, json={"data": change(data)})


async def outcomes_of(
    emulator: Emulator, change: Change, method: str, bodies: Sequence[Any]
) -> list[Outcome[Any, EndUser]]:
    """Return what became of *bodies*."""
    client = dixa(Spoiling(emulator, change))
    with no_waiting():
        async with getattr(client.end_users, method)(bodies, ordered=True, linger=9) as stream:
            return [outcome async for outcome in stream]


@pytest.mark.parametrize("name", [*SPOILT, *MORE])
async def test_a_create_is_looked_up(name: str) -> None:
    """Whoever has an e-mail address is looked up where the answer doesn't say: each is made once."""
    emulator = Emulator()
    bodies = [CreateEndUserInput(email=f"{n}@x.org", external_id=f"id-{n}") for n in range(5)]

    outcomes = await outcomes_of(emulator, {**SPOILT, **MORE}[name], "create_many", bodies)

    assert [type(one) for one in outcomes] == [Done] * 5
    assert [one.value.email for one in outcomes if isinstance(one, Done)] == [
        body.email for body in bodies
    ]
    assert emulator.ledger()["dixa"]["effects"]["create"] == 5


@pytest.mark.parametrize("name", SPOILT)
async def test_what_nothing_guards_is_unknown(name: str) -> None:
    """Without e-mail and phone number the item of the spoilt outcome is unknown, and no other."""
    emulator = Emulator()
    bodies = [CreateEndUserInput(external_id=f"id-{n}") for n in range(5)]

    outcomes = await outcomes_of(emulator, SPOILT[name], "create_many", bodies)

    assert [type(one) for one in outcomes] == [Done] * 4 + [Unknown]
    assert emulator.ledger()["dixa"]["effects"]["create"] == 5


@pytest.mark.parametrize("name", MORE)
async def test_none_fails_for_an_answer(name: str) -> None:
    """Where outcomes are missing, or too many, none has failed, and none is sent again."""
    emulator = Emulator()
    bodies = [CreateEndUserInput(external_id=f"id-{n}") for n in range(5)]

    outcomes = await outcomes_of(emulator, MORE[name], "create_many", bodies)

    assert len(outcomes) == 5
    assert not any(isinstance(one, Failed) for one in outcomes)
    assert emulator.ledger()["dixa"]["effects"]["create"] == 5


@pytest.mark.parametrize("name", [*SPOILT, *MORE])
async def test_an_upsert_is_looked_up_by_its_external_id(name: str) -> None:
    """An upsert asks for the external id where the answer to its create doesn't say: none is made twice."""
    emulator = Emulator()
    bodies = [CreateEndUserInput(external_id=f"id-{n}", first_name="A") for n in range(5)]

    outcomes = await outcomes_of(emulator, {**SPOILT, **MORE}[name], "upsert_many", bodies)

    assert [type(one) for one in outcomes] == [Done] * 5
    assert emulator.ledger()["dixa"]["effects"]["create"] == 5


async def test_an_upsert_whose_look_fails_stays_in_doubt() -> None:
    """A create that may have been applied is unknown, whatever the look-up after it ends in."""
    emulator = Emulator()
    spoiling = Spoiling(emulator, lambda _: [])

    class Refusing(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if spoiling.posts and request.method == "GET":
                return httpx.Response(403, json={"message": "no"})
            return await spoiling.handle_async_request(request)

    client = dixa(Refusing())
    bodies = [CreateEndUserInput(external_id=f"id-{n}") for n in range(3)]
    async with client.end_users.upsert_many(bodies) as stream:
        outcomes = [outcome async for outcome in stream]

    assert [type(one) for one in outcomes] == [Unknown] * 3


async def test_an_upsert_whose_patch_is_refused_stays_in_doubt() -> None:
    """An end user found after an uncertain create, whose patch fails, may exist by that create."""
    emulator = Emulator()
    spoiling = Spoiling(emulator, lambda _: [])

    class Renaming(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if request.method == "PATCH":
                return httpx.Response(400, json={"message": "no"})
            answer = await spoiling.handle_async_request(request)
            if spoiling.posts and request.method == "GET":
                body = (await answer.aread()).replace(b'"A"', b'"B"')
                return httpx.Response(200, content=body)
            return answer

    client = dixa(Renaming())
    bodies = [CreateEndUserInput(external_id="id", first_name="A")]
    async with client.end_users.upsert_many(bodies) as stream:
        [outcome] = [outcome async for outcome in stream]

    assert isinstance(outcome, Unknown)


@pytest.mark.parametrize("name", [*SPOILT, *MORE])
async def test_a_patch_is_told_by_its_id(name: str) -> None:
    """A patch whose outcome can't be read is unknown; each other one is done."""
    emulator = Emulator()
    ids = [emulator.add("dixa", {"email": f"{n}@x.org"})["id"] for n in range(5)]
    patches = [BulkPatchEndUserInput(id=one, first_name="A") for one in ids]

    outcomes = await outcomes_of(emulator, {**SPOILT, **MORE}[name], "patch_many", patches)

    kinds = [type(one) for one in outcomes]
    assert Failed not in kinds
    if name in SPOILT:
        assert kinds == [Done] * 4 + [Unknown]
    else:
        unread = {"one missing": 1, "none": 5, "null for all": 5, "one object": 5, "all null": 5}
        assert kinds.count(Unknown) == unread.get(name, 0)


@pytest.mark.parametrize("name", SPOILT)
async def test_one_request_returns_all_its_outcomes(name: str) -> None:
    """`create_bulk` returns an outcome that can't be read as an unknown one, in its place."""
    emulator = Emulator()
    client = dixa(Spoiling(emulator, SPOILT[name]))

    *read, last = await client.end_users.create_bulk([CreateEndUserInput() for _ in range(3)])

    assert all(isinstance(one, BulkActionSuccess) for one in read)
    assert isinstance(last, UnknownOutcome) or name.startswith("an error")


@pytest.mark.parametrize("data", [{"data": None}, {"data": {}}, {}, [], None])
async def test_an_answer_without_outcomes_is_an_error(data: Any) -> None:
    """An answer that is no list of outcomes is an error that says that it may have been applied."""
    transport = ScriptedTransport([(201, data)])
    client = dixa(transport)

    with pytest.raises(ResponseDecodeError) as caught:
        await client.end_users.create_bulk([CreateEndUserInput()])

    assert caught.value.maybe_applied


@pytest.mark.parametrize("name", ["null", "an error of null", "none"])
@pytest.mark.parametrize("journal", [False, True])
async def test_a_job_sends_none_twice(tmp_path: Path, name: str, *, journal: bool) -> None:
    """The rows of a job are done or unknown, and none is failed, so none is sent again."""
    emulator = Emulator()
    spoiling = Spoiling(emulator, {**SPOILT, **MORE}[name])
    client = dixa(spoiling)
    rows = [{"externalId": f"id-{n}"} for n in range(5)]

    with no_waiting():
        if journal:
            path = tmp_path / "journal"
            for _ in range(2):
                async with jobs.open(path, client, DIXA, Mode.CREATE, retry_failed=True) as job:
                    report = await job.run(rows)
        else:
            job_rows = [jobs.Row(n, row) for n, row in enumerate(rows)]
            report = await jobs.Job(client, DIXA, Mode.CREATE).run(job_rows)

    unread = 5 if name == "none" else 1
    assert (report.done, report.unknown, report.failed) == (5 - unread, unread, 0)
    assert emulator.ledger()["dixa"]["effects"]["create"] == 5


@pytest.mark.parametrize("wrong", [[None], [object()], 5, None])
async def test_a_fault_of_ours_is_looked_up(wrong: Any) -> None:
    """A fault in reading outcomes leaves it open whether they were done: they are looked up."""
    looked: list[str] = []

    async def send(_: Any) -> Any:
        return wrong

    async def look(_: str, value: str) -> list[EndUser]:
        looked.append(value)
        if value == "b@x.org":
            raise SunshineError(value)
        return [EndUser(id="1", email="a@x.org")]

    creating = BulkCreate(BulkRequest(send, match_creates, CREATE_BULK), look)
    results = await creating.create(
        [CreateEndUserInput(email="a@x.org"), CreateEndUserInput(email="b@x.org")]
    )

    assert {*looked} == {"a@x.org", "b@x.org"}
    assert isinstance(results[0], EndUser)
    assert getattr(results[1], "maybe_applied", True)
    assert not isinstance(results[1], ValueError | TypeError)


async def test_a_doubt_of_the_whole_is_one_of_each_half() -> None:
    """A batch that was refused after a lost answer is halved, and no half is refused for certain."""

    async def send(bodies: Sequence[BulkPatchEndUserInput]) -> list[Any]:
        if len(bodies) == 1 and bodies[0].id == "2":
            return [BulkActionSuccess(data=EndUser(id="2"))]
        raise BadRequestError(400, endpoint="PATCH /v1/endusers", maybe_applied=len(bodies) > 1)

    bodies = [BulkPatchEndUserInput(id=one, first_name="A") for one in ("1", "2")]
    refused, done = await BulkRequest(send, match_changes, PATCH_BULK).send(bodies)

    assert isinstance(refused, BadRequestError)
    assert refused.maybe_applied
    assert done == EndUser(id="2")


class TestWhoIsWho:
    """Users who are nearly the same."""

    async def test_letters_that_fold_are_others(self) -> None:
        """``straße`` and ``strasse`` are two users: neither is changed for the other."""
        emulator = Emulator()
        others = [CreateEndUserInput(email=f"{n}@x.org", first_name="A") for n in range(30)]
        bodies = [
            CreateEndUserInput(email="straße@x.org", first_name="one"),
            CreateEndUserInput(email="strasse@x.org", first_name="two"),
            *others,
        ]
        for _ in range(2):  # the second time they are found, in the list of all
            outcomes = await outcomes_of(emulator, list, "upsert_many", bodies)
            assert [type(one) for one in outcomes] == [Done] * 32
            there = {user["email"]: user["firstName"] for user in emulator.users("dixa")}
            assert (there["straße@x.org"], there["strasse@x.org"]) == ("one", "two")
            assert len(there) == 32

    BODY = CreateEndUserInput(external_id="7", email="a@x.org", additional_emails=["b@x.org"])

    @pytest.mark.parametrize(
        "extra", [{"externalId": [7]}, {"additionalEmails": ["b@x.org", None]}, {"email": {}}]
    )
    def test_what_could_not_be_read_is_unknown(self, extra: Any) -> None:
        """A value that couldn't be read is neither there nor absent."""
        there = {"id": "1", "externalId": "7", "email": "a@x.org", "additionalEmails": ["b@x.org"]}
        user = structure({**there, **extra}, EndUser)

        assert not holds(user, self.BODY)
        assert may_hold(user, self.BODY)
        assert not may_hold(user, CreateEndUserInput(first_name="other"))
        assert [wire_name(name) for name in differences(self.BODY, user)] == [*extra]

    def test_a_number_is_its_text(self) -> None:
        """A number where a text was expected reads as its text: it is as good as one."""
        there = {"id": "1", "email": "a@x.org", "externalId": 7, "additionalEmails": ["b@x.org"]}
        user = structure({**there, "other": 1}, EndUser)

        assert holds(user, self.BODY)

    async def test_a_lost_create_that_may_be_there_is_unknown(self) -> None:
        """An end user found after a lost answer, with unreadable values, may be ours or not."""

        async def send(_: Any) -> Any:
            return []

        async def look(name: str, _: str) -> list[EndUser]:
            assert name == "email"
            return [EndUser(id="1", email="a@x.org", extra={"externalId": {"a": 7}})]

        [result] = await BulkCreate(BulkRequest(send, match_creates, CREATE_BULK), look).create(
            [CreateEndUserInput(email="a@x.org", external_id="7")]
        )

        assert isinstance(result, ResponseDecodeError)
        assert result.maybe_applied

    @pytest.mark.parametrize(
        ("hours", "kind"), [(0, EndUser), (5, ResponseDecodeError), (50, BadRequestError)]
    )
    async def test_a_clock_may_be_wrong(self, hours: int, kind: type) -> None:
        """An end user as sent, created some hours before, may be ours if a clock is wrong."""

        async def send(_: Any) -> Any:
            return []

        async def look(*_: str) -> list[EndUser]:
            made_at = datetime.now(UTC) - timedelta(hours=hours)
            return [EndUser(id="1", email="a@x.org", created_at=made_at)]

        [result] = await BulkCreate(BulkRequest(send, match_creates, CREATE_BULK), look).create(
            [CreateEndUserInput(email="a@x.org")]
        )

        assert type(result) is kind

    async def test_a_list_with_a_key_that_cannot_be_read_is_not_trusted(self) -> None:
        """One user in the list of all whose external id can't be read may be anybody: each is looked up."""

        async def pages() -> Any:
            yield Page(users)

        users = [EndUser(id="1", external_id="a"), EndUser(id="2", extra={"externalId": [7]})]
        known = UserIndex(pages())
        await known.read(50)
        assert not known.complete
        assert await known.look_up("external_id", "a") == []

        users = users[:1]
        known = UserIndex(pages())
        await known.read(50)
        assert known.complete
        assert len(await known.look_up("external_id", "a")) == 1

    async def test_a_numeric_external_id_makes_no_second_user(self) -> None:
        """An answer with a number as external id doesn't look like nobody's."""
        emulator = Emulator()
        emulator.add("dixa", {"externalId": "7", "email": "x@x.org"})
        inner = emulator.transport()

        class Numeric(httpx.AsyncBaseTransport):
            async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
                answer = await inner.handle_async_request(request)
                body = (await answer.aread()).replace(b'"externalId":"7"', b'"externalId":7')
                return httpx.Response(answer.status_code, content=body)

        client = dixa(Numeric())
        bodies = [CreateEndUserInput(external_id="7", first_name="A")]
        bodies += [CreateEndUserInput(external_id=f"id-{n}") for n in range(20)]
        async with client.end_users.upsert_many(bodies) as stream:
            outcomes = [outcome async for outcome in stream]

        assert len(outcomes) == 21
        assert [user.get("externalId") for user in emulator.users("dixa")].count("7") == 1


def test_a_batch_is_sent_on_trio_too() -> None:
    """A spoilt answer is settled alike on trio."""

    async def scenario() -> None:
        emulator = Emulator()
        bodies = [CreateEndUserInput(email=f"{n}@x.org") for n in range(5)]
        outcomes = await outcomes_of(emulator, SPOILT["null"], "create_many", bodies)
        assert [type(one) for one in outcomes] == [Done] * 5

    anyio.run(scenario, backend="trio")
