"""Upserts of Dixa end users: who is there is found, changed where it differs, and never doubled."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import anyio
import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.clients import dixa
from support.scripts import Script
from support.size import sized

from sunshine_async import (
    ApiError,
    BadRequestError,
    ConflictError,
    NotFoundError,
    PermissionDeniedError,
    ServerError,
    TransportError,
)
from sunshine_async._calls.upsert import UpsertEffect, UpsertResult
from sunshine_async.bulk import Done, Failed, Outcome, Unknown, outcome_of
from sunshine_async.dixa import CreateEndUserInput, DixaClient, EndUser, upserts
from sunshine_async.emulator import Emulator, Mishap
from sunshine_async.testing import ScriptedTransport, no_waiting

JANE = CreateEndUserInput(
    external_id="jane-1", email="jane@x.org", phone_number="+4512345", display_name="Jane"
)
METHODS = ["upsert", "get_or_create"]


class Counting(httpx.AsyncBaseTransport):
    """An emulator that says what was asked of it, a letter a request."""

    def __init__(self, emulator: Emulator) -> None:
        self.inner = emulator.transport()
        self.letters = ""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Take down a request and pass it on."""
        self.letters += "b" if request.url.path.endswith("/bulk") else request.method[0]
        if request.method == "PATCH":
            self.letters = self.letters[:-1] + ("B" if request.url.path == "/v1/endusers" else "p")
        return await self.inner.handle_async_request(request)


def client_of(emulator: Emulator) -> tuple[DixaClient, Counting]:
    """Return a client of *emulator* that may be as fast as it can, and what counts its requests."""
    transport = Counting(emulator)
    return dixa(transport), transport


class TestOne:
    """One upsert at a time."""

    @pytest.mark.parametrize("method", METHODS)
    async def test_who_is_not_there_is_created(self, method: str) -> None:
        """Nobody with the external id, the e-mail or the number: a create."""
        emulator = Emulator()
        client, counting = client_of(emulator)

        user = await getattr(client.end_users, method)(JANE)

        assert user.external_id == "jane-1"
        assert counting.letters == "GGGP"

    async def test_what_differs_is_patched(self) -> None:
        """A found end user is patched in the different fields only; without a difference there is no request."""
        emulator = Emulator()
        emulator.add("dixa", {"externalId": "jane-1", "displayName": "June", "lastName": "Doe"})
        client, counting = client_of(emulator)

        user = await client.end_users.upsert(JANE)
        again = await client.end_users.upsert(JANE)

        assert (user.display_name, user.last_name, user.email) == ("Jane", "Doe", "jane@x.org")
        assert again.id == user.id
        assert counting.letters == "GGGp" + "G"
        assert emulator.ledger()["dixa"]["users"] == 1

    @pytest.mark.parametrize(
        "there", [{"email": "JANE@x.org"}, {"phoneNumber": "+4512345"}, {"externalId": "jane-1"}]
    )
    async def test_get_or_create_never_changes(self, there: Any) -> None:
        """An existing end user, found by any key, is unchanged."""
        emulator = Emulator()
        user = emulator.add("dixa", there)
        client, counting = client_of(emulator)

        found = await client.end_users.get_or_create(JANE)

        assert found.id == user["id"]
        assert set(counting.letters) == {"G"}
        assert emulator.users("dixa") == [user]

    @pytest.mark.parametrize("method", METHODS)
    @pytest.mark.parametrize(
        "there",
        [
            [{"externalId": "jane-1"}, {"externalId": "jane-1"}],
            [{"externalId": "jane-1"}, {"email": "jane@x.org"}],
            [{"email": "jane@x.org"}, {"phoneNumber": "+4512345"}],
        ],
    )
    async def test_keys_that_lead_to_several_are_ambiguous(self, method: str, there: Any) -> None:
        """Keys of several, or several with a key: nothing is written."""
        emulator = Emulator()
        users = [emulator.add("dixa", one) for one in there]
        client, _ = client_of(emulator)

        with pytest.raises(ConflictError) as caught:
            await getattr(client.end_users, method)(JANE)

        assert caught.value.code == "AmbiguousMatch"
        assert not caught.value.maybe_applied
        assert emulator.users("dixa") == users

    @pytest.mark.parametrize("method", METHODS)
    async def test_a_key_is_needed(self, method: str) -> None:
        """Without a key nobody can tell whether the end user is there: `ValueError`."""
        client, counting = client_of(Emulator())

        with pytest.raises(ValueError, match="external_id, email and phone_number"):
            await getattr(client.end_users, method)(CreateEndUserInput(display_name="Jane"))

        assert not counting.letters

    @pytest.mark.parametrize(
        ("method", "name", "letters"),
        [("upsert", "Jane", "GPGp"), ("get_or_create", "June", "GPG")],
    )
    async def test_a_race_is_looked_at_once_more(
        self, method: str, name: str, letters: str
    ) -> None:
        """A create that finds its e-mail taken leads to whom it is now."""
        emulator = Emulator()
        client, counting = client_of(emulator)
        body = CreateEndUserInput(email="jane@x.org", display_name="Jane")
        emulator.faults = [Mishap(status=404, operation="getEndusers")]  # not seen at first
        emulator.add("dixa", {"email": "jane@x.org", "displayName": "June"})

        user = await getattr(client.end_users, method)(body)

        assert user.display_name == name
        assert counting.letters == letters

    async def test_a_race_without_end_is_final(self) -> None:
        """A second look that finds nobody leaves the refusal as it is."""
        emulator = Emulator()
        client, counting = client_of(emulator)
        emulator.faults = [Mishap(status=404, operation="getEndusers", times=2)]
        emulator.add("dixa", {"email": "jane@x.org"})

        with pytest.raises(BadRequestError, match="EmailExists") as caught:
            await client.end_users.upsert(CreateEndUserInput(email="jane@x.org"))

        assert not caught.value.maybe_applied
        assert counting.letters == "GPG"

    @pytest.mark.usefixtures("instant_waits")
    async def test_a_lost_create_is_looked_for(self) -> None:
        """After a lost answer, who is there is the answer, patched where it differs."""
        emulator = Emulator()
        client, counting = client_of(emulator)
        emulator.faults = [Mishap(reset=True, when="after", operation="postEndusers")]

        user = await client.end_users.upsert(CreateEndUserInput(external_id="a"))

        assert user.external_id == "a"
        assert counting.letters == "GPG"
        assert emulator.ledger()["dixa"]["users"] == 1

    @pytest.mark.usefixtures("instant_waits")
    async def test_a_lost_create_that_is_not_there_stays_in_doubt(self) -> None:
        """Where nobody is there, or nobody can look, the doubt is said."""
        emulator = Emulator()
        client, _ = client_of(emulator)
        lost = Mishap(reset=True, when="before", operation="postEndusers")
        emulator.faults = [lost]

        with pytest.raises(TransportError) as caught:
            await client.end_users.upsert(CreateEndUserInput(external_id="a"))
        assert caught.value.maybe_applied

        emulator.faults = [Mishap(status=500, operation="postEndusers")]
        emulator.faults += [Mishap(status=404, operation="getEndusers")]
        emulator.faults += [Mishap(status=403, operation="getEndusers")]
        with pytest.raises(PermissionDeniedError) as refused:
            await client.end_users.upsert(CreateEndUserInput(external_id="a"))
        assert refused.value.maybe_applied

    async def test_any_other_error_comes_out(self) -> None:
        """A refused body is refused."""
        client, counting = client_of(Emulator())

        with pytest.raises(BadRequestError, match=r"E\.164"):
            await client.end_users.upsert(CreateEndUserInput(phone_number="12345"))

        assert counting.letters == "GP"

    async def test_what_is_beyond_the_model_is_patched_too(self) -> None:
        """A field that the models don't know is compared and sent."""
        there = EndUser(id="a", external_id="1", extra={"new": 1})

        same = CreateEndUserInput(external_id="1", extra={"new": 1})
        other = CreateEndUserInput(external_id="1", extra={"new": 2})

        assert upserts.changes_of(same, there) == {}
        assert upserts.changes_of(other, there) == {"extra": {"new": 2}}


async def upserted(
    client: DixaClient, bodies: Iterable[CreateEndUserInput], **options: Any
) -> list[Outcome[CreateEndUserInput, EndUser]]:
    """Return what became of *bodies*, in their order."""
    with no_waiting():
        async with client.end_users.upsert_many(
            bodies, **{"ordered": True, "linger": 60, **options}
        ) as outcomes:
            return [outcome async for outcome in outcomes]


def people(count: int, *, name: str, **keys: str) -> list[CreateEndUserInput]:
    """Return bodies with keys of their own."""
    return [
        CreateEndUserInput(
            display_name=name, **{key: pattern.format(n) for key, pattern in keys.items()}
        )
        for n in range(count)
    ]


async def test_a_service_that_is_gone_is_not_asked_for_each() -> None:
    """A look-up that has no answer is the last of its batch: all end in the same."""
    emulator = Emulator()
    emulator.faults = [Mishap(status=503, operation="getEndusers", times=999)]
    client, _ = client_of(emulator)

    outcomes = await upserted(client, (CreateEndUserInput(external_id=f"{n}") for n in range(100)))

    assert all(isinstance(one, Failed) for one in outcomes)
    assert len({id(one.error) for one in outcomes if isinstance(one, Failed)}) == 100
    assert emulator.requests < 60
    assert len(emulator.dixa) == 0


class TestMany:
    """Many upserts in few requests."""

    @pytest.mark.parametrize(
        ("keys", "requests"),
        [
            ({"email": "{}@x.org"}, 10),
            ({"external_id": "id-{}"}, 11),
            ({"external_id": "id-{}", "email": "{}@x.org", "phone_number": "+45123{}"}, 11),
        ],
    )
    async def test_new_ones_are_a_request_a_batch(self, keys: Any, requests: int) -> None:
        """1,000 new ones are ten bulk creates, and at most one look at the empty list."""
        emulator = Emulator()
        client, counting = client_of(emulator)

        outcomes = await upserted(client, people(1000, name="A", **keys))

        assert {type(one) for one in outcomes} == {Done}
        assert emulator.ledger()["dixa"]["users"] == 1000
        assert len(counting.letters) == requests

    @pytest.mark.costly
    @pytest.mark.parametrize("keys", [{"email": "{}@x.org"}, {"external_id": "id-{}"}])
    async def test_known_ones_are_learnt_from_the_list(self, keys: Any) -> None:
        """1,000 known ones are ten pages of the list and ten bulk patches, and a guess."""
        emulator = Emulator()
        for n in range(1000):
            emulator.add("dixa", {"email": f"{n}@x.org", "externalId": f"id-{n}"})
        client, counting = client_of(emulator)

        outcomes = await upserted(client, people(1000, name="B", **keys), concurrency=1)
        again = await upserted(client, people(1000, name="B", **keys), concurrency=1)

        assert {type(one) for one in outcomes + again} == {Done}
        assert emulator.ledger()["dixa"]["effects"]["patch"] == 1000
        assert counting.letters.count("B") == 10
        assert len(counting.letters) <= 32

    async def test_few_are_looked_up(self) -> None:
        """For a few end users the list is not read; each key is looked up."""
        emulator = Emulator()
        for n in range(3):
            emulator.add("dixa", {"email": f"{n}@x.org"})
        client, counting = client_of(emulator)

        outcomes = await upserted(client, people(3, name="B", email="{}@x.org"))

        assert [one.value.display_name for one in outcomes if isinstance(one, Done)] == ["B"] * 3
        assert counting.letters == "bGGGB"

    @pytest.mark.slow
    async def test_it_never_costs_double(self) -> None:
        """In a large organization the list is given up in time: pages cost no more than look-ups."""
        emulator = Emulator()
        for n in range(sized(20_000, 8_000)):
            emulator.add("dixa", {"externalId": f"id-{n}"})
        client, counting = client_of(emulator)

        outcomes = await upserted(client, people(60, name="B", external_id="id-{}"), batch_size=20)

        assert {type(one) for one in outcomes} == {Done}
        assert counting.letters.count("G") <= 2 * 60

    async def test_the_guess_learns(self) -> None:
        """After a run of known ones they are looked up first, after one of new ones created."""
        emulator = Emulator()
        for n in range(40):
            emulator.add("dixa", {"email": f"{n}@x.org"})
        client, counting = client_of(emulator)

        await upserted(client, people(80, name="B", email="{}@x.org"), batch_size=8, concurrency=1)

        assert counting.letters.count("b") == 1 + 1 + 4
        assert emulator.ledger()["dixa"]["users"] == 80

    async def test_a_row_may_undo_the_row_before(self) -> None:
        """A row is compared with the user as the row before left the user."""
        emulator = Emulator()
        emulator.add("dixa", {"externalId": "a", "email": "a@x.org", "displayName": "June"})
        client, _ = client_of(emulator)
        jane = CreateEndUserInput(external_id="a", display_name="Jane")
        june = CreateEndUserInput(email="a@x.org", display_name="June")

        outcomes = await upserted(client, [jane, june])

        assert {type(one) for one in outcomes} == {Done}
        assert emulator.users("dixa")[0]["displayName"] == "June"
        assert emulator.ledger()["dixa"]["effects"]["patch"] == 2

    async def test_several_rows_of_one_user_are_in_order(self) -> None:
        """Rows that lead to one user by different keys end as the last one says."""
        emulator = Emulator()
        emulator.add("dixa", {"externalId": "a", "email": "a@x.org", "firstName": "Old"})
        client, _ = client_of(emulator)
        bodies = [
            CreateEndUserInput(external_id="a", first_name="One"),
            CreateEndUserInput(email="a@x.org", first_name="Old"),
            CreateEndUserInput(external_id="a", first_name="Three"),
        ]

        outcomes = await upserted(client, bodies)

        assert {type(one) for one in outcomes} == {Done}
        assert [user["firstName"] for user in emulator.users("dixa")] == ["Three"]

    async def test_each_row_has_its_own_end(self) -> None:
        """Ambiguous, keyless, refused and good rows are told apart."""
        emulator = Emulator()
        emulator.add("dixa", {"externalId": "a"})
        emulator.add("dixa", {"externalId": "a"})
        emulator.add("dixa", {"email": "b@x.org"})
        client, _ = client_of(emulator)
        bodies = [
            CreateEndUserInput(external_id="a"),
            CreateEndUserInput(first_name="nobody"),
            CreateEndUserInput(phone_number="123"),
            CreateEndUserInput(email="b@x.org", first_name="B"),
            CreateEndUserInput(external_id="new"),
        ]

        outcomes = await upserted(client, bodies)

        kinds = [type(one) for one in outcomes]
        assert kinds == [Failed, Failed, Failed, Done, Done]
        codes = [
            one.error.code
            for one in outcomes
            if isinstance(one, Failed) and isinstance(one.error, ApiError)
        ]
        assert codes == ["AmbiguousMatch", None]

    async def test_a_race_is_looked_at_once_more(self) -> None:
        """One whom another made after the list was read is found by asking again."""
        emulator = Emulator()
        client, _ = client_of(emulator)
        first = people(100, name="A", email="{}@x.org", external_id="id-{}")

        async def bodies() -> Any:
            for body in first:
                yield body
            while len(emulator.dixa) < 100:  # created after the list was read
                await anyio.lowlevel.checkpoint()
            emulator.add("dixa", {"email": "new@x.org", "firstName": "Other"})
            yield CreateEndUserInput(email="new@x.org", first_name="Mine")

        outcomes = await upserted(client, bodies(), concurrency=1, linger=60)

        assert {type(one) for one in outcomes} == {Done}
        assert [u.get("firstName") for u in emulator.users("dixa")][-1] == "Mine"

    async def test_a_race_that_shows_nobody_is_final(self) -> None:
        """Refused as taken, and nobody found who has it: it has failed with that code."""
        emulator = Emulator()
        client, _ = client_of(emulator)
        emulator.add("dixa", {"email": "a@x.org"})
        emulator.faults = [Mishap(status=404, operation="getEndusers")]

        [outcome] = await upserted(client, [CreateEndUserInput(email="a@x.org")])

        assert isinstance(outcome, Failed)
        assert isinstance(outcome.error, ApiError)
        assert outcome.error.code == "EmailExists"

    async def test_a_list_that_breaks_is_done_without(self) -> None:
        """Where the list can't be read each is looked up; where that fails, so has the row."""
        emulator = Emulator()
        client, _ = client_of(emulator)
        emulator.faults = [Mishap(status=400, operation="getEndusers", times=2)]

        outcomes = await upserted(client, people(12, name="A", external_id="id-{}"))

        assert [type(one) for one in outcomes] == [Failed] + [Done] * 11

    @pytest.mark.parametrize("status", [401, 402, 403])
    @pytest.mark.parametrize("number", [2, 12])
    async def test_refused_credentials_end_the_batch(self, number: int, status: int) -> None:
        """Where a look-up is refused for its credentials, no row of the batch is sent any more."""
        emulator = Emulator()
        client, _ = client_of(emulator)
        emulator.faults = [Mishap(status=status, times=99)]
        rows = people(number, name="A", external_id="id-{}") + people(number, name="B")

        outcomes = await upserted(client, rows)

        assert [type(one) for one in outcomes] == [Failed] * len(rows)
        assert emulator.ledger()["requests"] == 1

    async def test_what_the_run_made_is_newer_than_the_list(self) -> None:
        """A page that comes later doesn't undo what is known of a user by then."""
        emulator = Emulator()
        user = emulator.add("dixa", {"externalId": "old"})
        client, _ = client_of(emulator)
        known = upserts.UserIndex(client.end_users.list().pages())

        known.put(EndUser(id=user["id"], external_id="new"))
        await known.read(upserts.MIN_LOOK_UPS)

        assert known.complete
        assert await known.look_up("external_id", "old") == []
        assert len(await known.look_up("external_id", "new")) == 1

    async def test_a_patch_that_is_refused_has_failed(self) -> None:
        """A refusal of the patch is the row's own."""
        emulator = Emulator()
        emulator.add("dixa", {"externalId": "a"})
        client, _ = client_of(emulator)
        emulator.faults = [Mishap(status=400, operation="patchEndusers")]

        [outcome] = await upserted(client, [CreateEndUserInput(external_id="a", first_name="A")])

        assert isinstance(outcome, Failed)
        assert "firstName" not in emulator.users("dixa")[0]

    @pytest.mark.parametrize(
        "record",
        [
            None,
            {"externalId": "a"},
            {"id": "u", "externalId": {"a": 1}},
            {"id": "u", "email": 5},
            {"id": "u", "additionalEmails": [None]},
        ],
    )
    async def test_a_list_with_an_unreadable_record_is_not_whole(self, record: object) -> None:
        """A record that can't be read may be anybody: nobody is known to be absent."""
        first = {"data": [{"id": "v", "externalId": 5}, record]}
        link = {"meta": {"next": "/v1/endusers?pageKey=a"}}
        client = dixa(ScriptedTransport([(200, {**first, **link}), (200, {"data": [{"id": "w"}]})]))
        known = upserts.UserIndex(client.end_users.list().pages())

        for _ in range(2):
            await known.read(upserts.MIN_LOOK_UPS)
            assert not known.complete

    async def test_a_key_that_was_changed_leads_to_nobody(self) -> None:
        """A user who got another e-mail address isn't the user of the address before."""
        known = upserts.UserIndex(dixa(ScriptedTransport([])).end_users.list().pages())

        known.put(EndUser(id="u", email="old@x.org"))
        known.put(EndUser(id="u", email="new@x.org"))

        assert await known.look_up("email", "old@x.org") == []
        assert len(await known.look_up("email", "new@x.org")) == 1

    async def test_a_create_with_an_unreadable_answer_is_not_forgotten(self) -> None:
        """A user whose key came back unreadable makes the list one that isn't whole any more."""
        transport = ScriptedTransport([(200, {"data": [{"id": "v", "externalId": 5}]})])
        client = dixa(transport)
        known = upserts.UserIndex(client.end_users.list().pages())

        await known.read(upserts.MIN_LOOK_UPS)
        assert known.complete
        assert len(await known.look_up("external_id", "5")) == 1
        known.put(EndUser(id="u", extra={"externalId": {"a": 1}}))

        assert not known.complete

    async def test_too_many_are_not_kept(self) -> None:
        """Of more end users than are kept in memory none is: each is looked up."""
        emulator = Emulator()
        for n in range(60):
            emulator.add("dixa", {"externalId": f"id-{n}"})
        client, counting = client_of(emulator)
        known = upserts.UserIndex(client.end_users.list(page_limit=20).pages(), 50)

        await known.read(upserts.MIN_LOOK_UPS)
        await known.read(upserts.MIN_LOOK_UPS)
        known.put(EndUser(id="a", external_id="id-0"))

        assert not known.complete
        assert await known.look_up("external_id", "id-0") == []
        assert counting.letters == "GGG"


class Meddling(Counting):
    """An emulator where another writer leaves *user* alone when somebody looks once more."""

    def __init__(self, emulator: Emulator, user: dict[str, str]) -> None:
        super().__init__(emulator)
        self.emulator = emulator
        self.user = user

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Take down a request and pass it on, after what the other writer does."""
        if self.letters.endswith("G") and self.user:
            self.emulator.reset()
            self.emulator.add("dixa", self.user)
            self.user = {}
        return await super().handle_async_request(request)


async def did(client: DixaClient, *bodies: CreateEndUserInput) -> list[UpsertEffect]:
    """Return what a batch of upserts says that it did with each of *bodies*, all of them done."""
    with no_waiting():
        results = await client.end_users.upserting().send(bodies)
    assert all(isinstance(one, UpsertResult) for one in results)
    return [one.effect for one in results if isinstance(one, UpsertResult)]


class TestTold:
    """Effects that an upsert reports."""

    @pytest.mark.parametrize("key", ["email", "external_id"])
    async def test_one(self, key: str) -> None:
        """Created, then updated where it differs, and left as it is where it doesn't."""
        emulator = Emulator()
        client, _ = client_of(emulator)
        bodies = [
            CreateEndUserInput(display_name=name, **{key: "a@x.org"})  # type: ignore[arg-type]
            for name in ("A", "B", "B")
        ]

        assert [await did(client, body) for body in bodies] == [
            [UpsertEffect.CREATED],
            [UpsertEffect.UPDATED],
            [UpsertEffect.UNCHANGED],
        ]
        assert emulator.ledger()["dixa"]["effects"]["patch"] == 1

    async def test_a_batch(self) -> None:
        """Each of a batch has its own."""
        emulator = Emulator()
        emulator.add("dixa", {"email": "0@x.org", "displayName": "A"})
        emulator.add("dixa", {"email": "1@x.org", "displayName": "B"})
        client, _ = client_of(emulator)

        assert await did(client, *people(3, name="B", email="{}@x.org")) == [
            UpsertEffect.UPDATED,
            UpsertEffect.UNCHANGED,
            UpsertEffect.CREATED,
        ]

    async def test_a_lost_create_is_either(self) -> None:
        """An end user found by a look-up after a lost answer may be another writer's."""
        emulator = Emulator()
        emulator.faults = [Mishap(reset=True, when="after", operation="postEndusersBulk")]
        client, _ = client_of(emulator)

        assert (
            await did(client, *people(2, name="A", email="{}@x.org")) == [UpsertEffect.EITHER] * 2
        )
        assert emulator.ledger()["dixa"]["effects"]["create"] == 2

    async def test_a_lost_create_that_was_not_made(self) -> None:
        """An end user whom the look-up doesn't find is created then, certainly by us."""
        emulator = Emulator()
        emulator.faults = [Mishap(reset=True, when="before", operation="postEndusersBulk")]
        client, _ = client_of(emulator)

        assert (
            await did(client, *people(2, name="A", email="{}@x.org")) == [UpsertEffect.CREATED] * 2
        )

    @pytest.mark.parametrize(
        "name", [pytest.param("B", id="differs"), pytest.param("A", id="is as sent by now")]
    )
    async def test_a_lost_create_that_another_has_changed(self, name: str) -> None:
        """A different end user after a lost create is patched, and may be ours."""
        emulator = Emulator()
        emulator.faults = [Mishap(reset=True, when="before", operation="postEndusersBulk")]
        emulator.add("dixa", {"email": "0@x.org", "displayName": "B"})
        meddling = Meddling(emulator, {"email": "0@x.org", "displayName": name})
        client = dixa(meddling)

        assert await did(client, *people(1, name="A", email="{}@x.org")) == [UpsertEffect.EITHER]
        assert meddling.letters == "bGG" + "B" * (name == "B")


FAULTS = st.lists(
    st.sampled_from(
        [
            None,
            Mishap(status=429),
            Mishap(status=400),
            Mishap(status=500, when="before"),
            Mishap(status=503, when="after"),
            Mishap(reset=True, when="after"),
            Mishap(cut=True),
            httpx.ConnectError("refused"),
        ]
    ),
    max_size=6,
)


@settings(max_examples=sized(120, 15))
@given(
    script=FAULTS,
    keys=st.sampled_from(["email", "external_id", "both"]),
    known=st.booleans(),
    many=st.booleans(),
)
def test_an_upsert_is_what_it_is_said_to_be(
    script: list[Any], keys: str, *, known: bool, many: bool
) -> None:
    """Done is one user as sent, made or changed as it says; failed isn't as sent; nobody is doubled."""
    emulator = Emulator()
    if known:
        emulator.add("dixa", {"email": "a@x.org", "externalId": "a", "displayName": "Old"})
    body = CreateEndUserInput(
        display_name="New",
        **({} if keys == "external_id" else {"email": "a@x.org"}),
        **({} if keys == "email" else {"external_id": "a"}),
    )
    client = dixa(Script(emulator, script))

    async def scenario() -> Outcome[Any, EndUser]:
        with no_waiting():
            if many:
                [result] = await client.end_users.upserting().send([body])
                if isinstance(result, UpsertResult):
                    certain = UpsertEffect.UPDATED if known else UpsertEffect.CREATED
                    assert result.effect in (certain, UpsertEffect.EITHER)
                [plain] = [result.value if isinstance(result, UpsertResult) else result]
                return outcome_of(0, body, plain)
            try:
                return Done(0, body, await client.end_users.upsert(body))
            except (ApiError, TransportError, NotFoundError, ServerError) as error:
                return Unknown(0, body, error) if error.maybe_applied else Failed(0, body, error)
            except Exception as error:  # noqa: BLE001 - an answer that can't be read
                return Unknown(0, body, error)

    outcome = anyio.run(scenario)
    there = Counter(user.get("displayName") for user in emulator.users("dixa"))
    match outcome:
        case Done():
            assert there == {"New": 1}
        case Failed():
            assert there == ({"Old": 1} if known else {})
        case Unknown():
            assert there.total() <= 1
