"""Batches against the emulator: halved, looked up, sent again, and no end user twice."""

import json
from collections import Counter
from random import Random
from typing import Any

import anyio
import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.clients import dixa_on
from support.size import sized

from sunshine_async import (
    ApiError,
    AuthenticationError,
    BadRequestError,
    ConflictError,
    ConnectError,
    NotFoundError,
    Pace,
    ResponseDecodeError,
    Retry,
    ServerError,
    bulk,
)
from sunshine_async._codec import structure
from sunshine_async.auth import ApiToken
from sunshine_async.bulk import Done, Failed, Outcome, Unknown
from sunshine_async.dixa import (
    BulkActionFailure,
    BulkPatchEndUserInput,
    BulkUpdateEndUserInput,
    CreateEndUserInput,
    DixaClient,
    EndUser,
    ErrorResponse,
    Infrastructure,
    Integrity,
    NotFound,
    UnknownBulkError,
    UnknownOutcome,
    Validation,
)
from sunshine_async.dixa.bulk_requests import BulkRequest
from sunshine_async.dixa.end_users import CREATE_BULK
from sunshine_async.dixa.matching import match_creates
from sunshine_async.emulator import Emulator, Mishap
from sunshine_async.testing import ScriptedTransport, no_waiting

BULK = "postEndusersBulk"
LIST = "getEndusers"
NEW = CreateEndUserInput(email="a@x.org", display_name="A")


async def created(
    emulator: Emulator, *bodies: CreateEndUserInput, **options: Any
) -> list[Outcome[CreateEndUserInput, EndUser]]:
    """Return what became of *bodies*, in their order."""
    with no_waiting():
        async with dixa_on(emulator).end_users.create_many(
            bodies, **{"ordered": True, "linger": 60, **options}
        ) as outcomes:
            return [outcome async for outcome in outcomes]


def code(outcome: Outcome[Any, Any]) -> str | None:
    """Return the code of an outcome that failed."""
    assert isinstance(outcome, Failed | Unknown)
    assert isinstance(outcome.error, ApiError)
    return outcome.error.code


class TestRefused:
    """A batch that is refused as a whole."""

    @pytest.mark.parametrize("seed", range(20))
    async def test_the_bad_ones_are_found(self, seed: int) -> None:
        """Of 100 with 3 bad ones in random places 97 are made once, in at most 40 requests."""
        bad = Random(seed).sample(range(100), 3)
        emulator = Emulator()
        bodies = [
            CreateEndUserInput(email=f"{n}@x.org", phone_number="1" if n in bad else None)
            for n in range(100)
        ]

        outcomes = await created(emulator, *bodies)

        assert [one.index for one in outcomes if isinstance(one, Failed)] == sorted(bad)
        assert all("phoneNumber should be" in str(outcomes[n].error) for n in bad)  # type: ignore[union-attr]
        assert Counter(type(one) for one in outcomes) == {Done: 97, Failed: 3}
        assert emulator.ledger()["dixa"]["effects"]["create"] == 97
        assert emulator.requests <= 40

    async def test_a_batch_that_is_too_large_is_halved(self) -> None:
        """A 413 is halved like a 400."""
        emulator = Emulator()
        emulator.faults = [Mishap(status=413, operation=BULK)]

        outcomes = await created(emulator, NEW, CreateEndUserInput(), CreateEndUserInput())

        assert [type(one) for one in outcomes] == [Done] * 3
        assert emulator.requests == 3

    @pytest.mark.parametrize("status", [401, 403, 404])
    async def test_any_other_no_is_for_all(self, status: int) -> None:
        """A refusal that no half could change isn't halved: all have failed, and nothing is created."""
        emulator = Emulator()
        emulator.faults = [Mishap(status=status, operation=BULK)]

        outcomes = await created(emulator, NEW, CreateEndUserInput())

        assert [type(one) for one in outcomes] == [Failed] * 2
        assert emulator.requests == 1
        assert len(emulator.dixa) == 0

    async def test_items_that_fail_say_why(self) -> None:
        """An item that is refused has the service's code; the others are made."""
        emulator = Emulator()
        emulator.add("dixa", {"email": "a@x.org"})

        failed, done = await created(emulator, NEW, CreateEndUserInput(display_name="B"))

        assert code(failed) == "EmailExists"
        assert "end_users.list(email=...) finds that end user" in str(failed.error)
        assert isinstance(failed, Failed)
        assert isinstance(failed.error, BadRequestError)
        assert isinstance(done, Done)

    async def test_what_is_no_body_fails_alone(self) -> None:
        """An item of another kind, or one that JSON can't hold, is a `Failed` of its own."""
        odd: Any = {"email": "b@x.org"}
        nan = CreateEndUserInput(extra={"a": float("nan")})

        outcomes = await created(Emulator(), odd, nan, NEW)

        assert [type(one) for one in outcomes] == [Failed, Failed, Done]


async def test_no_item_shows_the_token() -> None:
    """A token that the service repeats in an item's error isn't shown."""
    echo = {
        "_type": "BulkActionFailure",
        "error": {"_type": "Validation", "message": "a top-secret b"},
    }
    client = DixaClient(
        auth=ApiToken("top-secret"),
        pace=Pace(),
        transport=ScriptedTransport([(201, {"data": [echo]})]),
    )

    async with client.end_users.create_many([NEW]) as outcomes:
        [outcome] = [one async for one in outcomes]

    assert isinstance(outcome, Failed)
    assert "a ... b" in str(outcome.error)


class TestLost:
    """A create whose answer is lost is settled item by item."""

    @pytest.mark.parametrize(
        "fault",
        [
            Mishap(status=503, when="after", operation=BULK),
            Mishap(reset=True, when="after", operation=BULK),
            Mishap(cut=True, operation=BULK),
            Mishap(garbled=True, operation=BULK),
        ],
        ids=str,
    )
    async def test_what_was_made_is_found(self, fault: Mishap) -> None:
        """By e-mail, then by phone number: there as sent, it is ours, and isn't made again."""
        emulator = Emulator()
        emulator.faults = [fault]
        bodies = [NEW, CreateEndUserInput(phone_number="+4512345", avatar_url="http://a")]

        outcomes = await created(emulator, *bodies)

        assert [type(one) for one in outcomes] == [Done, Done]
        assert emulator.ledger()["dixa"]["effects"]["create"] == 2
        assert emulator.requests == 3

    @pytest.mark.parametrize(
        "fault",
        [Mishap(status=500, operation=BULK), Mishap(reset=True, when="before", operation=BULK)],
        ids=str,
    )
    async def test_what_was_not_made_is_sent_again(self, fault: Mishap) -> None:
        """A missing end user is sent again if the body has an e-mail address or phone number."""
        emulator = Emulator()
        emulator.faults = [fault]
        bodies = [NEW, CreateEndUserInput(phone_number="+4512345")]

        outcomes = await created(emulator, *bodies)

        assert [type(one) for one in outcomes] == [Done, Done]
        assert emulator.ledger()["dixa"]["effects"]["create"] == 2
        assert emulator.requests == 4

    @pytest.mark.parametrize("when", ["before", "after"])
    async def test_what_nothing_guards_stays_unknown(self, when: Any) -> None:
        """With an external id alone, or with nothing, it is never sent again."""
        emulator = Emulator()
        emulator.faults = [Mishap(status=503, when=when, operation=BULK)]

        outcomes = await created(
            emulator, CreateEndUserInput(external_id="x"), CreateEndUserInput(first_name="A")
        )

        assert [type(one) for one in outcomes] == [Unknown, Unknown]
        assert emulator.requests == 1
        assert len(emulator.dixa) == (2 if when == "after" else 0)

    @pytest.mark.parametrize(
        "there",
        [
            {"email": "a@x.org", "displayName": "Other"},
            {"email": "a@x.org", "displayName": "A", "createdAt": "2020-01-01T00:00:00Z"},
        ],
    )
    async def test_another_one_is_not_taken_for_ours(self, there: Any) -> None:
        """A different or older end user belongs to somebody else: the create has failed."""
        emulator = Emulator()
        emulator.add("dixa", there)
        emulator.faults = [Mishap(status=503, operation=BULK)]

        [outcome] = await created(emulator, NEW)

        assert isinstance(outcome, Failed)
        assert code(outcome) == "EmailExists"
        assert "end_users.list(email=...) finds that end user" in str(outcome.error)

    async def test_the_phone_number_is_looked_at_too(self) -> None:
        """Where the e-mail is free and the number another's, it has failed for that."""
        emulator = Emulator()
        emulator.add("dixa", {"phoneNumber": "+4512345"})
        emulator.faults = [Mishap(status=503, operation=BULK)]

        [outcome] = await created(
            emulator, CreateEndUserInput(email="a@x.org", phone_number="+4512345")
        )

        assert code(outcome) == "PhoneNumberExists"

    async def test_a_look_that_fails_leaves_it_open(self) -> None:
        """Where nobody can look, nothing is guessed."""
        emulator = Emulator()
        emulator.faults = [
            Mishap(status=503, operation=BULK),
            Mishap(status=403, operation=LIST, times=3),
        ]

        [outcome] = await created(emulator, NEW)

        assert isinstance(outcome, Unknown)
        assert emulator.requests == 2

    async def test_a_service_that_is_gone_is_not_asked_for_each(self) -> None:
        """A look-up that has no answer is the last of its round: all are unknown, in the end."""
        emulator = Emulator()
        emulator.faults = [
            Mishap(reset=True, when="after", operation=BULK),
            Mishap(status=503, operation=LIST, times=999),
        ]

        outcomes = await created(
            emulator, *(CreateEndUserInput(email=f"{n}@x.org") for n in range(100))
        )

        assert all(isinstance(one, Unknown) for one in outcomes)
        assert emulator.requests < 60

    async def test_a_service_that_comes_back_is_asked_again(self) -> None:
        """The next round asks for those that the first one couldn't: each is done, once."""
        emulator = Emulator()
        emulator.faults = [
            Mishap(reset=True, when="after", operation=BULK),
            Mishap(status=503, operation=LIST, times=5),
        ]

        outcomes = await created(
            emulator, *(CreateEndUserInput(email=f"{n}@x.org") for n in range(100))
        )

        assert all(isinstance(one, Done) for one in outcomes)
        assert emulator.ledger()["dixa"]["effects"]["create"] == 100

    async def test_an_outage_has_an_end(self) -> None:
        """A create that is lost again and again is unknown after a few rounds."""
        emulator = Emulator()
        emulator.faults = [Mishap(status=503, operation=BULK, times=99)]

        [outcome] = await created(emulator, NEW)

        assert isinstance(outcome, Unknown)
        assert emulator.requests == 7

    async def test_a_doubt_is_not_forgotten(self) -> None:
        """Where the second sending is not even let in, the first may still have been applied."""
        emulator = Emulator()
        emulator.faults = [
            Mishap(status=503, operation=BULK),
            Mishap(status=401, operation=BULK),
        ]

        [outcome] = await created(emulator, NEW)

        assert isinstance(outcome, Unknown)
        assert isinstance(outcome.error, AuthenticationError)
        assert outcome.error.maybe_applied

    async def test_an_answer_without_it_leaves_a_doubt(self) -> None:
        """Where the answer to the second sending doesn't speak of it, and no look-up tells, it is unknown."""
        emulator = Emulator()
        mangling = Mangling(emulator, ["503 before", "short"], [None, "403"], Random(0))

        with no_waiting():
            users = dixa_on(emulator, transport=mangling).end_users
            async with users.create_many([NEW]) as outcomes:
                [outcome] = [one async for one in outcomes]

        assert isinstance(outcome, Unknown)
        assert isinstance(outcome.error, ResponseDecodeError)

    async def test_an_error_of_the_way_out_is_the_outcome(self) -> None:
        """An exception of a transport is the outcome of the items: applied or not is unknown."""
        client = dixa_on(Emulator(), transport=ScriptedTransport([]))

        async with client.end_users.create_many([NEW, CreateEndUserInput()]) as outcomes:
            errors = [one.error async for one in outcomes if isinstance(one, Unknown)]

        assert len(errors) == 2
        assert all(isinstance(error, AssertionError) for error in errors)

    async def test_a_refusal_settles_a_doubt(self) -> None:
        """An item that the service refuses by itself has failed: nothing is created."""
        emulator = Emulator()
        emulator.faults = [Mishap(status=503, operation=BULK), Mishap(status=400, operation=BULK)]

        [outcome] = await created(emulator, NEW)

        assert isinstance(outcome, Failed)

    async def test_one_that_appears_in_between_is_looked_at_again(self) -> None:
        """A second sending that finds it taken is settled by one more look."""
        emulator = Emulator()
        emulator.faults = [Mishap(status=503, operation=BULK)]
        late = Late(emulator)
        client = dixa_on(emulator, transport=late)

        with no_waiting():
            async with client.end_users.create_many([NEW], linger=60) as outcomes:
                [outcome] = [one async for one in outcomes]

        assert isinstance(outcome, Done)
        assert len(emulator.dixa) == 1


class Late(httpx.AsyncBaseTransport):
    """Lets the first create, of which there was no answer, be applied after the first look."""

    def __init__(self, emulator: Emulator) -> None:
        self.inner = emulator.transport()
        self.held: httpx.Request | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Pass on; after the first look, pass on the create that was held."""
        if self.held is None and request.method == "POST":
            self.held = httpx.Request(
                "POST", request.url, headers=request.headers, content=request.content
            )
        answer = await self.inner.handle_async_request(request)
        if self.held is not None and request.method == "GET":
            again, self.held = self.held, httpx.Request("GET", request.url)
            if again.method == "POST":
                await self.inner.handle_async_request(again)
        return answer


class TestChanges:
    """Patches and updates."""

    @pytest.mark.parametrize(
        "fault", [None, Mishap(status=503), Mishap(status=503, when="after"), Mishap(cut=True)]
    )
    async def test_they_are_sent_again(self, fault: Mishap | None) -> None:
        """A batch without an answer is sent again, and each item has its outcome."""
        emulator = Emulator()
        ids = [emulator.add("dixa", {"email": f"{n}@x.org"})["id"] for n in range(3)]
        emulator.faults = [fault] if fault else []
        patches = [BulkPatchEndUserInput(id=one, first_name="A") for one in ids]
        updates = [BulkUpdateEndUserInput(id=one, display_name="B") for one in ids]
        users = dixa_on(emulator).end_users

        with no_waiting():
            async with users.patch_many(patches) as outcomes:
                patched = [outcome async for outcome in outcomes]
            async with users.update_many(updates) as outcomes:
                updated = [outcome async for outcome in outcomes]

        assert [type(one) for one in patched + updated] == [Done] * 6
        assert {user.get("displayName") for user in emulator.users("dixa")} == {"B"}
        assert emulator.requests == (2 if fault is None else 3)

    async def test_items_fail_for_themselves(self) -> None:
        """A patch of nobody, an empty one and one to what is another's fail; the rest is done."""
        emulator = Emulator()
        one, two = (emulator.add("dixa", {"email": f"{n}@x.org"})["id"] for n in range(2))
        patches = [
            BulkPatchEndUserInput(id="00000000-0000-4000-8000-000000000000", first_name="A"),
            BulkPatchEndUserInput(id=one),
            BulkPatchEndUserInput(id=two, email="0@x.org"),
            BulkPatchEndUserInput(id=one, phone_number="+4512345"),
        ]

        async with dixa_on(emulator).end_users.patch_many(patches, ordered=True) as outcomes:
            *failed, done = [outcome async for outcome in outcomes]

        assert [code(outcome) for outcome in failed] == ["NotFound", "EmptyPatchSet", "EmailExists"]
        assert isinstance(done, Done)

    async def test_a_doubt_outlives_a_refusal(self) -> None:
        """A patch that may have been applied and is then refused is unknown."""
        emulator = Emulator()
        id_ = emulator.add("dixa", {})["id"]
        emulator.faults = [Mishap(status=503, when="after"), Mishap(status=400)]

        with no_waiting():
            patch = BulkPatchEndUserInput(id=id_, first_name="A")
            async with dixa_on(emulator).end_users.patch_many([patch]) as outcomes:
                [outcome] = [one async for one in outcomes]

        assert isinstance(outcome, Unknown)

    async def test_no_connection_is_a_failure(self) -> None:
        """An item that never left is not done."""
        emulator = Emulator()
        emulator.faults = [httpx.ConnectError("refused")]
        client = dixa_on(emulator, retry=Retry(max_attempts=1))

        async with client.end_users.patch_many([BulkPatchEndUserInput(id="a")]) as outcomes:
            [outcome] = [one async for one in outcomes]

        assert isinstance(outcome, Failed)
        assert isinstance(outcome.error, ConnectError)


STEPS = st.sampled_from(
    [
        None, "lost before", "lost after", "503 before", "503 after", "refused", "throttled",
        "shuffled", "short", "long", "one twice", "cut", "garbled", "infrastructure",
    ]
)  # fmt: skip
"""Fate of a bulk request; None is an ordinary answer."""
LOOKS = st.sampled_from([None, None, None, "lost before", "403"])
"""Fate of a look-up."""


class Mangling(httpx.AsyncBaseTransport):
    """An emulator to which each request gets through, and from which it comes back, as is scripted."""

    def __init__(
        self, emulator: Emulator, steps: list[str | None], looks: list[str | None], luck: Random
    ) -> None:
        self.inner = emulator.transport()
        self.steps = iter(steps)
        self.looks = iter(looks)
        self.luck = luck

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Do with *request* what is next in the script."""
        step = next(self.looks if request.method == "GET" else self.steps, None)
        if step == "lost before":
            raise httpx.ReadError(step)
        early = {"503 before": 503, "refused": 400, "throttled": 429, "403": 403}.get(step or "")
        if early:
            return httpx.Response(early, json={"message": step})
        answer = await self.inner.handle_async_request(request)
        if step == "lost after":
            raise httpx.ReadError(step)
        if step == "503 after":
            return httpx.Response(503)
        body = await answer.aread()
        if step is None or answer.status_code >= 400:
            return httpx.Response(answer.status_code, content=body)
        return httpx.Response(answer.status_code, content=self.mangled(body, step))

    def mangled(self, body: bytes, step: str) -> bytes:
        """Return *body*, which has outcomes, as *step* leaves it."""
        if step == "cut":
            return body[: self.luck.randrange(len(body))]
        if step == "garbled":
            return b"<html>"
        outcomes = json.loads(body)["data"]
        one = self.luck.randrange(len(outcomes))
        if step == "shuffled":
            self.luck.shuffle(outcomes)
        elif step == "short":
            del outcomes[one]
        elif step == "long":
            outcomes.append(outcomes[one])
        elif step == "one twice":
            outcomes[self.luck.randrange(len(outcomes))] = outcomes[one]
        elif step == "infrastructure" and outcomes[one]["_type"] == "BulkActionFailure":
            outcomes[one]["error"]["_type"] = "Infrastructure"
        return json.dumps({"data": outcomes}).encode()


@st.composite
def new_users(draw: st.DrawFn) -> list[CreateEndUserInput]:
    """Return bodies, known by their names, some of whose keys are shared or taken."""
    keys = st.fixed_dictionaries(
        {},
        optional={
            "email": st.sampled_from([f"{n}@x.org" for n in range(8)]),
            "phone_number": st.sampled_from([f"+4512345{n}" for n in range(4)]),
            "external_id": st.sampled_from("xy"),
        },
    )
    return [
        CreateEndUserInput(display_name=f"user {n}", **each)
        for n, each in enumerate(draw(st.lists(keys, min_size=1, max_size=9)))
    ]


def check(outcomes: list[Outcome[Any, EndUser]], emulator: Emulator, sent: dict[int, str]) -> None:
    """Hold *outcomes* against what is stored, where each item is known by a name."""
    assert sorted(one.index for one in outcomes) == sorted(sent)
    there = Counter(user.get("displayName") for user in emulator.users("dixa"))
    for outcome in outcomes:
        name = sent[outcome.index]
        match outcome:
            case Done(value=value):
                assert there[name] == 1
                assert value.display_name == name
            case Failed():
                assert there[name] == 0
            case Unknown():
                assert there[name] <= 1


@settings(max_examples=sized(250, 31))
@given(
    bodies=new_users(),
    steps=st.lists(STEPS, max_size=8),
    looks=st.lists(LOOKS, max_size=6),
    luck=st.integers(0, 2**16),
    batch_size=st.integers(1, 9),
)
def test_a_create_is_what_it_is_said_to_be(
    bodies: list[CreateEndUserInput],
    steps: list[str | None],
    looks: list[str | None],
    luck: int,
    batch_size: int,
) -> None:
    """Each item has one outcome: done is there as sent, failed isn't, and nobody is there twice."""
    emulator = Emulator()
    emulator.add("dixa", {"email": "0@x.org", "displayName": "before"})
    mangling = Mangling(emulator, steps, looks, Random(luck))

    async def scenario() -> None:
        users = dixa_on(emulator, transport=mangling).end_users
        with no_waiting():
            async with users.create_many(bodies, batch_size=batch_size, concurrency=2) as stream:
                outcomes = [outcome async for outcome in stream]
        check(outcomes, emulator, {n: f"user {n}" for n in range(len(bodies))})

    anyio.run(scenario, backend="asyncio" if luck % 3 else "trio")


@settings(max_examples=sized(120, 15))
@given(
    clashes=st.lists(st.booleans(), min_size=1, max_size=9),
    steps=st.lists(STEPS, max_size=8),
    luck=st.integers(0, 2**16),
    batch_size=st.integers(1, 9),
)
def test_a_patch_is_what_it_is_said_to_be(
    clashes: list[bool], steps: list[str | None], luck: int, batch_size: int
) -> None:
    """Done is there as sent, and failed isn't, whatever became of requests and answers."""
    emulator = Emulator()
    emulator.add("dixa", {"email": "taken@x.org"})
    patches = [
        BulkPatchEndUserInput(
            id=emulator.add("dixa", {})["id"],
            display_name=f"user {n}",
            **({"additional_emails": ["taken@x.org"]} if clash else {}),
        )
        for n, clash in enumerate(clashes)
    ]
    mangling = Mangling(emulator, steps, [], Random(luck))

    async def scenario() -> None:
        users = dixa_on(emulator, transport=mangling).end_users
        with no_waiting():
            async with users.patch_many(patches, batch_size=batch_size, concurrency=2) as stream:
                outcomes = [outcome async for outcome in stream]
        check(outcomes, emulator, {n: f"user {n}" for n in range(len(patches))})

    anyio.run(scenario)


async def test_bulk_collect_is_for_single_calls() -> None:
    """The single calls run under `bulk.run` as those of any service do."""
    emulator = Emulator()
    bodies = [CreateEndUserInput(email=f"{n}@x.org") for n in range(5)]

    outcomes = await bulk.collect(dixa_on(emulator).end_users.create, bodies)

    assert [type(one) for one in outcomes] == [Done] * 5


class TestItemErrors:
    """Errors of items, from outcomes."""

    @pytest.mark.parametrize(
        ("error", "kind", "code", "unknown"),
        [
            (Validation(id="x", message="failed with [errors=A,B]"), BadRequestError, "A", False),
            (Validation(message="failed with [errors=...]"), BadRequestError, "Validation", False),
            (NotFound(id="x", message="no"), NotFoundError, "NotFound", False),
            (ErrorResponse(), BadRequestError, "ErrorResponse", True),
            (structure({"_type": "Integrity"}, Integrity), ConflictError, "Integrity", True),
            (Infrastructure(id="x", message="oops"), ServerError, "Infrastructure", True),
            (UnknownBulkError(type="New"), ServerError, "New", True),
        ],
    )  # fmt: skip
    def test_an_error_is_that_of_a_single_call(
        self, error: Any, kind: type[ApiError], code: str, *, unknown: bool
    ) -> None:
        """Each kind is the error that a call of its own would have met, with code and sentence."""
        request = BulkRequest(pytest.fail, match_creates, CREATE_BULK)
        found = request.result(BulkActionFailure(error=error))

        assert isinstance(found, kind)
        assert found.code == code
        assert found.title == error.message
        assert found.maybe_applied is unknown

    @pytest.mark.parametrize("outcome", [None, UnknownOutcome(type="New")])
    def test_what_says_nothing_leaves_it_open(self, outcome: UnknownOutcome | None) -> None:
        """Without an outcome that can be read, it may be done or not."""
        request = BulkRequest(pytest.fail, match_creates, CREATE_BULK)
        found = request.result(outcome)

        assert isinstance(found, ResponseDecodeError)
        assert found.maybe_applied
