"""What a user's checker sees of Dixa. Never run: mypy and pyright read it, both strict.

A line with an ignore is one that has to be reported, as in ``api.py``.
"""

# pyright: reportUnnecessaryTypeIgnoreComment=true
# mypy: warn-unused-ignores

from collections.abc import AsyncIterator
from datetime import datetime
from typing import assert_never, assert_type

from sunshine_async import bulk
from sunshine_async.auth import ApiToken, BasicAuth
from sunshine_async.dixa import (
    AnonymizationRequest,
    BulkActionFailure,
    BulkActionSuccess,
    BulkPatchEndUserInput,
    BulkUpdateEndUserInput,
    Conversation,
    CreateEndUserInput,
    CustomAttribute,
    CustomAttributeDefinition,
    DixaClient,
    EmailConversation,
    EndUser,
    Outcome,
    Page,
    PatchEndUserInput,
    SmsConversation,
    UnknownConversation,
    UnknownOutcome,
    UpdateEndUserInput,
)


async def calls(client: DixaClient, body: CreateEndUserInput) -> None:
    """Each method takes its ids and its body, and gives what the operation answers."""
    users = client.end_users
    assert_type(await users.create(body), EndUser)
    assert_type(await users.get("id"), EndUser)
    assert_type(await users.patch("id", PatchEndUserInput(email=None)), EndUser)
    assert_type(await users.update("id", UpdateEndUserInput(display_name="Jane")), EndUser)
    assert_type(await users.upsert(body), EndUser)
    assert_type(await users.get_or_create(body), EndUser)
    assert_type(await users.anonymize("id", force=True), AnonymizationRequest)
    assert_type(await users.anonymization("id"), AnonymizationRequest)
    values = {"id": "gold", "other": ["dk", "cph"], "gone": None}
    assert_type(await users.patch_custom_attributes("id", values), list[CustomAttribute])
    assert_type(await users.create_bulk([body]), list[Outcome])
    assert_type(await client.custom_attributes.list(), list[CustomAttributeDefinition])
    async for user in users.list(email="jane@example.org"):
        assert_type(user, EndUser)
        assert_type(user.created_at, datetime | None)
    async for page in users.list(page_limit=50, from_page=None).pages():
        assert_type(page, Page[EndUser])
        assert_type(page.next, str | None)
    async for conversation in users.conversations("id"):
        assert_type(conversation, Conversation)


async def mistakes(client: DixaClient, body: CreateEndUserInput) -> None:
    """Each of the mistakes that are easily made is reported."""
    await client.end_users.list()  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]
    await client.end_users.patch("id", body)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await client.end_users.update("id", UpdateEndUserInput())  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    client.end_users.patch_many([body])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    BulkPatchEndUserInput(email="a")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    DixaClient(auth=BasicAuth("id", "secret"))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    DixaClient(ApiToken("token"))  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


async def many(client: DixaClient, bodies: AsyncIterator[CreateEndUserInput]) -> None:
    """Give outcomes of the types of the items and the results."""
    async with client.end_users.create_many(bodies, batch_size=50, linger=1) as outcomes:
        assert_type(outcomes, bulk.Outcomes[CreateEndUserInput, EndUser])
        async for outcome in outcomes:
            match outcome:
                case bulk.Done(_, item, value):
                    assert_type(item, CreateEndUserInput)
                    assert_type(value, EndUser)
                case bulk.Failed() | bulk.Unknown():
                    assert_type(outcome.error, Exception)
                case _:
                    assert_never(outcome)
    async with client.end_users.update_many(
        [BulkUpdateEndUserInput(id="id", display_name="Jane")], ordered=True
    ) as updated:
        assert_type(updated, bulk.Outcomes[BulkUpdateEndUserInput, EndUser])


def matching(conversation: Conversation, outcome: Outcome) -> object:
    """Match what is told apart by its kind by its class."""
    match outcome:
        case BulkActionSuccess(data=user):
            assert_type(user, EndUser)
        case BulkActionFailure(error=error):
            assert_type(error.message, str | None)
        case UnknownOutcome():
            pass
        case _:
            assert_never(outcome)
    match conversation:
        case EmailConversation(subject=subject) | SmsConversation(from_number=subject):
            return assert_type(subject, str | None)
        case UnknownConversation(type=kind, extra=everything):
            return kind, everything
        case _:
            return assert_type(conversation.id, int)
