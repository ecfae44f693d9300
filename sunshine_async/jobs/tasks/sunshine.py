"""Tasks of Sunshine Conversations v2: a call for each row."""

from collections.abc import Callable
from typing import Any, Final

from sunshine_async._calls.endpoint import Endpoint
from sunshine_async._http.messages import Request
from sunshine_async.jobs.tasks.task import Entry, Mode, Recovery, Service, Task
from sunshine_async.rows import Shape
from sunshine_async.sunshine.models import UserCreateBody, UserUpdateBody
from sunshine_async.sunshine.users import CREATE, DELETE, UPDATE

_IDS: Final = ("id", "externalId")
_BRAND: Final = ("brandId",)
_APP: Final = {"app_id": "app"}  # any id: the client has checked its own


def _request(endpoint: Endpoint[Any, Any]) -> Callable[[Entry], Request]:
    """Return the request builder for *endpoint*, with a user's id in the path."""

    def request(entry: Entry) -> Request:
        path = {**_APP, "user_id_or_external_id": entry.id}
        return endpoint.request(entry.body, path, {"brandId": entry.address.get("brandId")})

    return request


def _upsert_request(entry: Entry) -> Request:
    """Return the create; `ValueError` for an invalid body, or a key that no update could address."""
    key = entry.body.external_id
    if not key:
        message = "no externalId: without it nobody can tell whether the user is there"
        raise ValueError(message)
    UPDATE.request(UserUpdateBody(), {**_APP, "user_id_or_external_id": key}, {})
    return CREATE.request(entry.body, _APP, {})


SUNSHINE: Final = Service(
    "sunshine",
    {
        Mode.CREATE: Task(
            Shape(UserCreateBody),
            send=lambda client, entry: client.users.create(entry.body),
            key=lambda entry: entry.body.external_id or None,
            request=lambda entry: CREATE.request(entry.body, _APP, {}),
            key_fields=("externalId",),
            key_scope=_BRAND,
            done="created",
            recovery=lambda entry: (
                Recovery.LOOK_UP_OR_RESEND if entry.body.external_id else Recovery.UNKNOWN
            ),
            look_up=lambda client, entry: client.users.get(
                entry.body.external_id, brand_id=entry.body.brand_id or None
            ),
        ),
        Mode.UPDATE: Task(
            Shape(UserUpdateBody, ids=_IDS, beside=_BRAND),
            send=lambda client, entry: client.users.update(
                entry.id, entry.body, brand_id=entry.address.get("brandId")
            ),
            key=lambda entry: entry.id,
            request=_request(UPDATE),
            key_fields=_IDS,
            key_scope=_BRAND,
            done="updated",
            recovery=lambda _: Recovery.RESEND,
        ),
        Mode.UPSERT: Task(
            Shape(UserCreateBody),
            send=lambda client, entry: client.users.upserted(entry.body),
            key=lambda entry: entry.body.external_id or None,
            request=_upsert_request,
            key_fields=("externalId",),
            key_scope=_BRAND,
            recovery=lambda entry: (
                Recovery.RESEND_UNCERTAIN if entry.body.external_id else Recovery.RESEND
            ),
        ),
        Mode.DELETE: Task(
            Shape(None, ids=_IDS, beside=_BRAND),
            send=lambda client, entry: client.users.delete(
                entry.id, brand_id=entry.address.get("brandId")
            ),
            key=lambda entry: entry.id,
            request=_request(DELETE),
            key_fields=_IDS,
            key_scope=_BRAND,
            done="deleted",
            recovery=lambda _: Recovery.RESEND_DELETE,
        ),
    },
    probe=lambda client: client.users.get("is-the-service-back"),
)
