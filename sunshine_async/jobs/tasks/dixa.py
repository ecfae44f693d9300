"""Tasks of Dixa: 100 rows a request, except for deletes."""

from collections.abc import Sequence
from operator import attrgetter
from typing import Any, Final
from uuid import UUID

import attrs

from sunshine_async._calls.upsert import UpsertEffect, UpsertResult
from sunshine_async._http.messages import Request
from sunshine_async.bulk.batching import Sender
from sunshine_async.dixa.bulk_requests import (
    AMBIGUOUS,
    CONFLICT,
    REFUSED_CREDENTIALS,
    is_taken,
    note_if_sent,
)
from sunshine_async.dixa.client import UNUSED_ID, DixaClient
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
from sunshine_async.dixa.upserts import UpsertOutcome
from sunshine_async.errors import ConflictError, NotFoundError
from sunshine_async.jobs.tasks.task import Batched, Entry, Mode, Recovery, Service, Task
from sunshine_async.rows import Shape

_PHONES: Final = ("phoneNumber", "additionalPhoneNumbers")
_NO_KEY: Final = (
    "no externalId, no email and no phoneNumber: "
    "without one of them nobody can tell whether the end user is there"
)
_NO_ID: Final = "id: not one of Dixa's, which are UUIDs"
_SIZE: Final = attrgetter("size")
_FIELDS: Final = tuple(each.name for each in attrs.fields(PatchEndUserInput))


def _patch_of(body: Any, id: str) -> BulkPatchEndUserInput:
    """Return the patch of the end user *id* that sets the values of *body*."""
    return BulkPatchEndUserInput(id=id, **{name: getattr(body, name) for name in _FIELDS})


def _create_request(entry: Entry) -> Request:
    return CREATE_BULK.request(CreateEndUsersInput(data=[entry.body]), {}, {})


def _patch_request(entry: Entry) -> Request:
    """Return the patch of *entry*; raise `ValueError` if Dixa would refuse the whole batch."""
    _require_id(entry)
    body = BulkPatchEndUsersInput(data=[_patch_of(entry.body, entry.id)])
    return PATCH_BULK.request(body, {}, {})


def _upsert_request(entry: Entry) -> Request:
    """Return the patch of an upsert, which is larger than the create."""
    body = entry.body
    if not (body.external_id or body.email or body.phone_number):
        raise ValueError(_NO_KEY)
    return PATCH_BULK.request(
        BulkPatchEndUsersInput(data=[_patch_of(body, entry.remote_id or UNUSED_ID)]), {}, {}
    )


def _anonymize_request(entry: Entry) -> Request:
    _require_id(entry)
    return ANONYMIZE.request(None, {"end_user_id": entry.id}, {})


def _require_id(entry: Entry) -> None:
    try:
        UUID(entry.id)
    except ValueError:
        raise ValueError(_NO_ID) from None


def _keys(entry: Entry) -> frozenset[Key]:
    """Return the keys that no two entries in flight may share: ids, and the keys of the body."""
    ids = {("id", each.lower()) for each in (entry.id, entry.remote_id) if each}
    return all_keys(entry.body) | ids


def _create_sender(client: DixaClient) -> Sender[Entry, Any]:
    create = client.end_users.creating().send
    return Sender(_SIZE, _keys, lambda entries: create([entry.body for entry in entries]))


def _patch_sender(client: DixaClient) -> Sender[Entry, Any]:
    patch = client.end_users.patching().send
    return Sender(
        _SIZE, _keys, lambda entries: patch([_patch_of(entry.body, entry.id) for entry in entries])
    )


def _upsert_sender(client: DixaClient) -> Sender[Entry, Any]:
    """Return the sender: patches by remote id; without, or if the end user is gone, upserts by key."""
    patch, upsert = client.end_users.patching().send, client.end_users.upserting().send

    async def send(entries: Sequence[Entry]) -> list[UpsertOutcome]:
        results: dict[int, UpsertOutcome] = {}
        with note_if_sent(results):
            ids = {index: entry.remote_id for index, entry in enumerate(entries) if entry.remote_id}
            if ids:
                patches = [_patch_of(entries[index].body, known) for index, known in ids.items()]
                for index, result in zip(ids, await patch(patches), strict=True):
                    if isinstance(result, EndUser):
                        results[index] = UpsertResult(result, UpsertEffect.UPDATED)
                    else:
                        results[index] = result
            missing = [
                index
                for index in range(len(entries))
                if isinstance(results.get(index), NotFoundError | None)
            ]
            refused = [one for one in results.values() if isinstance(one, REFUSED_CREDENTIALS)]
            if refused:
                results.update(dict.fromkeys(missing, refused[0]))
            elif missing:
                upserted = await upsert([entries[index].body for index in missing])
                results.update(zip(missing, upserted, strict=True))
        return [results[index] for index in range(len(entries))]

    return Sender(_SIZE, _keys, send)


async def _by_unique_key(client: DixaClient, entry: Entry) -> EndUser | None:
    """Return the end user with the e-mail address of *entry*, else with the phone number."""
    body = entry.body
    for email, phone in ((body.email, None), (None, body.phone_number)):
        if email or phone:
            for user in await client.end_users.list(email=email, phone=phone).first(1):
                return user
    return None


async def _by_external_id(client: DixaClient, entry: Entry) -> EndUser | None:
    """Return the end user with the external id of *entry*; `ConflictError` if there are several."""
    users = await client.end_users.list(external_id=entry.body.external_id).first(2)
    if len(users) > 1:
        raise ConflictError(CONFLICT, endpoint=str(LIST), errors=(AMBIGUOUS,))
    return users[0] if users else None


def _has_unique_key(entry: Entry) -> bool:
    return bool(entry.body.email or entry.body.phone_number)


DIXA: Final = Service(
    "dixa",
    {
        Mode.CREATE: Task(
            Shape(CreateEndUserInput, phones=_PHONES),
            send=Batched(_create_sender),
            key=lambda entry: entry.body.email or entry.body.phone_number or None,
            request=_create_request,
            key_fields=("email", "phoneNumber"),
            key_includes_field=True,
            done="created",
            recovery=lambda entry: (
                Recovery.LOOK_UP_OR_RESEND if _has_unique_key(entry) else Recovery.UNKNOWN
            ),
            look_up=_by_unique_key,
            matches=holds,
            is_taken=is_taken,
        ),
        Mode.UPDATE: Task(
            Shape(PatchEndUserInput, ids=("id",), phones=_PHONES),
            send=Batched(_patch_sender),
            request=_patch_request,
            key_fields=("id",),
            extra_models=(BulkPatchEndUserInput,),
            done="updated",
            recovery=lambda _: Recovery.RESEND,
        ),
        Mode.UPSERT: Task(
            Shape(CreateEndUserInput, phones=_PHONES, key=("externalId", "email", "phoneNumber")),
            send=Batched(_upsert_sender),
            key=lambda entry: entry.body.external_id or entry.body.email or entry.body.phone_number,
            request=_upsert_request,
            key_fields=("externalId", "email", "phoneNumber"),
            key_includes_field=True,
            recovery=lambda entry: (
                Recovery.RESEND_UNCERTAIN if _has_unique_key(entry) else Recovery.LOOK_UP_OR_UNKNOWN
            ),
            look_up=_by_external_id,
        ),
        Mode.DELETE: Task(
            Shape(None, ids=("id",)),
            send=lambda client, entry: client.end_users.anonymize(entry.id),
            request=_anonymize_request,
            key_fields=("id",),
            done="deleted",
            recovery=lambda _: Recovery.RESEND_DELETE,
            remote_id=lambda _: None,
        ),
    },
    probe=lambda client: client.end_users.get(UNUSED_ID),
    client=DixaClient,
)
