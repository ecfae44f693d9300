"""What a job does with a row at Dixa: a hundred rows a request, where there is one for many."""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

import attrs

from sunshine_async._calls.upsert import UpsertEffect, UpsertResult
from sunshine_async._http.messages import Request
from sunshine_async.bulk.batching import Sender
from sunshine_async.dixa.bulk_requests import AMBIGUOUS, CONFLICT, is_taken, noting, of_look
from sunshine_async.dixa.client import NOBODY, DixaClient
from sunshine_async.dixa.end_users import ANONYMIZE, CREATE_BULK, LIST, PATCH_BULK
from sunshine_async.dixa.matching import Key, all_keys, holds
from sunshine_async.dixa.models import (
    BulkPatchEndUserInput,
    BulkPatchEndUsersInput,
    CreateEndUserInput,
    CreateEndUsersInput,
    EndUser,
    PatchEndUserInput,
)
from sunshine_async.dixa.upserts import Ended
from sunshine_async.errors import NotFoundError
from sunshine_async.jobs.tasks.task import Again, Entry, Mode, Parcels, Service, Task
from sunshine_async.rows import Shape

_PHONES: Final = ("phoneNumber", "additionalPhoneNumbers")
_NO_KEY: Final = (
    "no externalId, no email and no phoneNumber: "
    "without one of them nobody can tell whether the end user is there"
)
_NO_ID: Final = "id: not one of Dixa's, which are UUIDs"


def _patch_of(body: Any, id: str) -> BulkPatchEndUserInput:
    """Return the patch that sets what *body* does on the end user with the *id*."""
    names = (one.name for one in attrs.fields(PatchEndUserInput))
    return BulkPatchEndUserInput(id=id, **{name: getattr(body, name) for name in names})


def _asks_create(entry: Entry) -> Request:
    return CREATE_BULK.request(CreateEndUsersInput(data=[entry.body]), {}, {})


def _asks_patch(entry: Entry) -> Request:
    """Return what patches; raise `ValueError` for what would have a whole batch refused."""
    _require_id(entry)
    body = BulkPatchEndUsersInput(data=[_patch_of(entry.body, entry.id)])
    return PATCH_BULK.request(body, {}, {})


def _asks_both(entry: Entry) -> Request:
    """Return the larger of what creates and what patches."""
    body = entry.body
    if not (body.external_id or body.email or body.phone_number):
        raise ValueError(_NO_KEY)
    return PATCH_BULK.request(
        BulkPatchEndUsersInput(data=[_patch_of(body, entry.remote_id or NOBODY)]), {}, {}
    )


def _asks_anonymize(entry: Entry) -> Request:
    _require_id(entry)
    return ANONYMIZE.request(None, {"end_user_id": entry.id}, {})


def _require_id(entry: Entry) -> None:
    try:
        UUID(entry.id)
    except ValueError:
        pass
    else:
        return
    raise ValueError(_NO_ID)


def _size(entry: Entry) -> int:
    return entry.size


def _keys(entry: Entry) -> frozenset[Key]:
    """Return what no two that are under way at once may share: whose it is, and what is unique."""
    known = {("id", one.lower()) for one in (entry.id, entry.remote_id) if one}
    return all_keys(entry.body) | known


def _creating(client: DixaClient) -> Sender[Entry, Any]:
    create = client.end_users.creating().send
    return Sender(_size, _keys, lambda entries: create([entry.body for entry in entries]))


def _patching(client: DixaClient) -> Sender[Entry, Any]:
    patch = client.end_users.patching().send
    return Sender(
        _size,
        _keys,
        lambda entries: patch([_patch_of(entry.body, entry.id) for entry in entries]),
    )


def _upserting(client: DixaClient) -> Sender[Entry, Any]:
    """Return the way of those whose id is known: they are patched, if they are still there."""
    patch, upsert = client.end_users.patching().send, client.end_users.upserting().send

    async def send(entries: Sequence[Entry]) -> list[Ended]:
        results: dict[int, Ended] = {}
        with noting(results):
            ids = {index: entry.remote_id for index, entry in enumerate(entries) if entry.remote_id}
            if ids:
                bodies = [_patch_of(entries[index].body, known) for index, known in ids.items()]
                for index, result in zip(ids, await patch(bodies), strict=True):
                    results[index] = (
                        UpsertResult(result, UpsertEffect.UPDATED)
                        if isinstance(result, EndUser)
                        else result
                    )
            others = [
                index
                for index in range(len(entries))
                if isinstance(results.get(index), NotFoundError | None)
            ]
            if others:
                upserted = await upsert([entries[index].body for index in others])
                results.update(zip(others, upserted, strict=True))
        return [results[index] for index in range(len(entries))]

    return Sender(_size, _keys, send)


async def _guarded(client: DixaClient, entry: Entry) -> EndUser | None:
    """Return who has the e-mail address of *entry*, or else the phone number."""
    body = entry.body
    for email, phone in ((body.email, None), (None, body.phone_number)):
        if email or phone:
            for user in await client.end_users.list(email=email, phone=phone).first(1):
                return user
    return None


async def _named(client: DixaClient, entry: Entry) -> EndUser | None:
    """Return who has the external id of *entry*; raise `ConflictError` where several do."""
    users = await client.end_users.list(external_id=entry.body.external_id).first(2)
    if len(users) > 1:
        raise of_look(CONFLICT, AMBIGUOUS, endpoint=str(LIST))
    return users[0] if users else None


def _is_guarded(entry: Entry) -> bool:
    """Return whether the service lets only one have what *entry* sets."""
    return bool(entry.body.email or entry.body.phone_number)


DIXA: Final = Service(
    "dixa",
    {
        Mode.CREATE: Task(
            Shape(CreateEndUserInput, phones=_PHONES),
            send=Parcels(_creating),
            key=lambda entry: entry.body.email or entry.body.phone_number or None,
            asks=_asks_create,
            names=("email", "phoneNumber"),
            apart=True,
            done="created",
            again=lambda entry: Again.LOOK if _is_guarded(entry) else Again.NEVER,
            look=_guarded,
            as_sent=holds,
            is_taken=is_taken,
            remote_id=lambda user: user.id,
        ),
        Mode.UPDATE: Task(
            Shape(PatchEndUserInput, ids=("id",), phones=_PHONES),
            send=Parcels(_patching),
            key=lambda entry: entry.id,
            asks=_asks_patch,
            names=("id",),
            also=(BulkPatchEndUserInput,),
            done="updated",
            again=lambda _: Again.HARMLESS,
            remote_id=lambda user: user.id,
        ),
        Mode.UPSERT: Task(
            Shape(CreateEndUserInput, phones=_PHONES),
            send=Parcels(_upserting),
            key=lambda entry: entry.body.external_id or entry.body.email or entry.body.phone_number,
            asks=_asks_both,
            names=("externalId", "email", "phoneNumber"),
            apart=True,
            again=lambda entry: Again.BLURRED if _is_guarded(entry) else Again.FIND,
            look=_named,
            remote_id=lambda user: user.id,
        ),
        Mode.DELETE: Task(
            Shape(None, ids=("id",)),
            send=lambda client, entry: client.end_users.anonymize(entry.id),
            key=lambda entry: entry.id,
            asks=_asks_anonymize,
            names=("id",),
            done="deleted",
            again=lambda _: Again.GONE,
        ),
    },
    probe=lambda client: client.end_users.get(NOBODY),
)
