"""What a user's checker sees. Never run: mypy and pyright read it, both strict.

A line with an ignore is one that has to be reported: a checker that doesn't is told of an ignore
that nothing needs. mypy reads the first of two ignores, pyright the second only.
"""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import Any, assert_never, assert_type

import httpx

from sunshine_async import (
    UNSET,
    ApiError,
    BasicAuth,
    BearerAuth,
    ConflictError,
    ErrorDetail,
    Fault,
    Pace,
    Replay,
    RequestTimeoutError,
    Retry,
    SmoochClient,
    SunshineClient,
    SunshineError,
    TransportError,
    Unset,
    bulk,
    from_dict,
    from_json,
    to_dict,
    to_json,
)
from sunshine_async.errors import ResponseDecodeError
from sunshine_async.smooch import (
    AppUser,
    AppUserLink,
    AppUserMerge,
    AppUserPreCreate,
    AppUserUpdate,
    BusinessSystemItem,
    ChannelEntityItem,
    Confirmation,
    LinkRequest,
    MessageResponse,
)
from sunshine_async.sunshine import (
    Identity,
    Profile,
    SyncUserBody,
    User,
    UserCreateBody,
    UserProfile,
    Users,
    UserUpdateBody,
)
from sunshine_async.telemetry import AttemptEnded, OpenTelemetry


async def clients() -> None:
    """See a client made of its settings, and a view of it of the same kind."""
    async with SunshineClient("app", auth=BasicAuth("id", "secret")) as client:
        assert_type(client, SunshineClient)
        assert_type(client.users, Users)
        assert_type(client.with_options(timeout=1), SunshineClient)
        assert_type(client.with_options(retry=Retry(max_attempts=1)).users, Users)
        assert_type(client.base_url, str)
    SunshineClient(
        auth=BearerAuth("token"),
        base_url="https://api.eu-1.smooch.io",
        timeout=httpx.Timeout(5),
        retry=Retry(deadline=60),
        pace=Pace(rate=10, burst=2, max_in_flight=5),
        transport=httpx.MockTransport(lambda _: httpx.Response(204)),
    )
    SunshineClient("app", BasicAuth("id", "secret"))  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    SunshineClient("app", auth=("id", "secret"))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    SunshineClient("app", timeout="30")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    BasicAuth("id")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    Retry(5)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


async def calls(client: SunshineClient, body: UserCreateBody, changes: UserUpdateBody) -> None:
    """See each method take its ids and its body, and give what the operation answers."""
    assert_type(await client.users.create(body), User)
    assert_type(await client.users.get("jane-1"), User)
    assert_type(await client.users.get("jane-1", brand_id="1"), User)
    assert_type(await client.users.update("jane-1", changes), User)
    assert_type(await client.users.upsert(body), User)
    assert_type((await client.users.upserted(body)).value, User)
    assert_type(await client.users.get_or_create(body), User)
    assert_type(await client.users.sync("42"), User)
    assert_type(await client.users.sync("42", SyncUserBody(surviving_zendesk_id="43")), User)
    assert_type(await client.users.list_by_email("jane@example.org"), list[User])
    assert_type(await client.users.delete_personal_information("jane-1"), User)
    await client.users.delete("jane-1", brand_id=None)
    assert_type(await client.request("GET", "/v2/apps/{app_id}", query={"a": 1}), Any)
    assert_type(await client.request("POST", "/v2", json=[1], replay=Replay.SAFE), Any)


async def app_users(client: SmoochClient, body: AppUserPreCreate, image: bytes) -> None:
    """See the same of v1.1."""
    users = client.app_users
    assert_type(await users.pre_create(body), AppUser)
    assert_type(await users.get("jane-1"), AppUser)
    assert_type(await users.update("jane-1", AppUserUpdate(given_name="Jane")), AppUser)
    assert_type(await users.upsert(body), AppUser)
    assert_type((await users.upserted(body)).value, AppUser)
    assert_type(await users.get_or_create(body), AppUser)
    assert_type(await users.delete_profile("jane-1"), AppUser)
    assert_type(await users.auth_code("jane-1"), str)
    assert_type(await users.entity_ids("jane-1"), list[ChannelEntityItem])
    assert_type(await users.business_system_ids("jane-1"), list[BusinessSystemItem])
    assert_type(await users.link_requests("jane-1", ["integration"]), list[LinkRequest])
    immediate = Confirmation(type="immediate")
    link = AppUserLink.twilio(phone_number="+15145555555", confirmation=immediate)
    assert_type(await users.link("jane-1", link), AppUser)
    assert_type(await users.post_image("jane-1", image, role="appMaker"), MessageResponse)
    await users.delete("jane-1")
    await users.unlink("jane-1", "twilio")
    await users.merge(AppUserMerge(surviving="a", discarded="b"))
    AppUserPreCreate()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    AppUserLink.twilio(confirmation=immediate)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await users.pre_create(AppUserUpdate())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await users.post_image("jane-1", image)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


async def mistakes(client: SunshineClient, body: UserCreateBody) -> None:
    """See each of the mistakes that are easily made reported."""
    client.users.create(body)  # type: ignore[unused-coroutine]  # pyright: ignore[reportUnusedCoroutine]
    client.users.delete("jane-1")  # type: ignore[unused-coroutine]  # pyright: ignore[reportUnusedCoroutine]
    client.users.create(body).id  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]  # noqa: B018
    await client.users.create()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await client.users.create(UserUpdateBody())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await client.users.create({"externalId": "a"})  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await client.users.create(None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await client.users.update(UserUpdateBody())  # type: ignore[call-arg, arg-type]  # pyright: ignore[reportCallIssue]
    await client.users.update("jane-1")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await client.users.update("jane-1", body)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await client.users.get(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await client.users.get("jane-1", "brand")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await client.users.list_by_email()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    client.users.no_such_method  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]  # noqa: B018


def bodies() -> list[UserCreateBody]:
    """See that a body takes what the service takes, and nothing else."""
    whole = UserCreateBody(
        external_id="jane-1",
        brand_id=None,
        signed_up_at=datetime.now(UTC),
        to_be_retained=True,
        profile=Profile(given_name="Jane", surname=None, email=UNSET),
        metadata={"tier": "gold", "age": 30, "score": 1.5, "vip": True, "note": None},
        extra={"newField": [1]},
    )
    assert_type(whole.external_id, str | Unset)
    assert_type(whole.brand_id, str | Unset | None)
    assert_type(whole.external_id or None, str | None)
    if whole.external_id is not UNSET:
        assert_type(whole.external_id, str)
    UserCreateBody("jane-1")  # type: ignore[call-arg, arg-type]  # pyright: ignore[reportCallIssue]
    UserCreateBody(externalId="jane-1")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    UserCreateBody(external_id=None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    UserCreateBody(signed_up_at="2020-05-21")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    UserCreateBody(profile={"givenName": "Jane"})  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    UserCreateBody(metadata={"tags": ["a"]})  # type: ignore[dict-item]  # pyright: ignore[reportArgumentType]
    whole.external_id = "jane-2"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    return [whole, UserCreateBody()]


def answers(user: User) -> None:
    """See that in an answer nothing is `UNSET`, and all but the id may be None."""
    assert_type(user.id, str)
    assert_type(user.external_id, str | None)
    assert_type(user.signed_up_at, datetime | None)
    assert_type(user.profile, UserProfile | None)
    assert_type(user.identities, list[Identity] | None)
    assert_type(user.metadata, Mapping[str, Any] | None)
    assert_type(user.extra, Mapping[str, Any])
    user.profile.email  # type: ignore[union-attr]  # pyright: ignore[reportOptionalMemberAccess]  # noqa: B018


async def run(client: SunshineClient, items: list[UserCreateBody]) -> None:
    """See the types of its items and its results in the outcomes of a run."""
    async with bulk.run(client.users.create, items, concurrency=64) as outcomes:
        assert_type(outcomes, bulk.Outcomes[UserCreateBody, User])
        async for outcome in outcomes:
            match outcome:
                case bulk.Done(index, item, value):
                    assert_type(index, int)
                    assert_type(item, UserCreateBody)
                    assert_type(value, User)
                case bulk.Failed(index, item, error):
                    assert_type(item, UserCreateBody)
                    assert_type(error, Exception)
                case bulk.Unknown(index, item, error):
                    assert_type(item, UserCreateBody)
                    assert_type(error, Exception)
                case _:
                    assert_never(outcome)
        outcomes.stop()

    async with bulk.run(client.users.create, items) as outcomes:
        async for outcome in outcomes:
            match outcome:
                case bulk.Done():
                    assert_type(outcome.value, User)
                case bulk.Failed():
                    assert_type(outcome.item, UserCreateBody)
                case _:
                    assert_never(outcome)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

    bulk.run(client.users.create, ["jane-1"])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    bulk.run(client.users.create, items, 64)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    async for _ in bulk.run(client.users.create, items):  # type: ignore[attr-defined]  # pyright: ignore[reportGeneralTypeIssues, reportUnknownVariableType]
        pass


async def run_anything(client: SunshineClient, ids: AsyncIterator[str]) -> None:
    """See any coroutine run over any iterable or async iterable."""
    async with bulk.run(client.users.get, ids, key=str.lower, ordered=True) as users:
        assert_type(users, bulk.Outcomes[str, User])
    async with bulk.run(client.users.delete, iter([str(5)])) as deleted:
        assert_type(deleted, bulk.Outcomes[str, None])
    collected = await bulk.collect(client.users.get, ["jane-1"], concurrency="auto")
    assert_type(collected, list[bulk.Outcome[str, User]])


async def run_many(client: SunshineClient, items: list[UserCreateBody]) -> None:
    """See that the methods for many items are runs of the methods for one."""
    async with client.users.create_many(items) as created:
        assert_type(created, bulk.Outcomes[UserCreateBody, User])
    async with client.users.upsert_many(iter(items), ordered=True) as upserted:
        assert_type(upserted, bulk.Outcomes[UserCreateBody, User])
    async with client.users.update_many([("jane-1", UserUpdateBody())]) as updated:
        assert_type(updated, bulk.Outcomes[tuple[str, UserUpdateBody], User])
    async with client.users.delete_many(["jane-1"], concurrency=2) as deleted:
        assert_type(deleted, bulk.Outcomes[str, None])
    client.users.create_many(["jane-1"])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    client.users.update_many([UserUpdateBody()])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]


async def errors(client: SunshineClient, body: UserCreateBody) -> None:
    """See what each kind of error has."""
    try:
        await client.users.create(body)
    except ConflictError as error:
        assert_type(error.resent, bool)
    except ApiError as error:
        assert_type(error.status, int)
        assert_type(error.code, str | None)
        assert_type(error.errors, tuple[ErrorDetail, ...])
        assert_type(error.retry_after, float | None)
        error.status = 200  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    except RequestTimeoutError as error:
        late: TimeoutError = error
        assert_type(late.errno, int | None)
    except TransportError as error:
        assert_type(error.fault, Fault)
        assert_type(error.fault == Fault.LOST, bool)
    except ResponseDecodeError as error:
        assert_type(error.path, str)
    except SunshineError as error:
        assert_type(error.maybe_applied, bool)


class Hook:
    """A hook with one of the methods."""

    def attempt_ended(self, attempt: AttemptEnded) -> None:
        """See the types of a value."""
        assert_type(attempt.status, int | None)
        assert_type(attempt.fault, Fault | None)
        assert_type(attempt.seconds, float)


def hooks_and_conversions(user: User) -> None:
    """See hooks of any kind, and conversions with the types of the models."""
    client = SunshineClient(hooks=[OpenTelemetry(), Hook()])
    client.with_options(hooks=[])
    SunshineClient(hooks=Hook())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    assert_type(to_dict(user), dict[str, Any])
    assert_type(to_json(user), str)
    assert_type(from_dict(User, {"id": "1"}), User)
    assert_type(from_json(UserCreateBody, b"{}"), UserCreateBody)
