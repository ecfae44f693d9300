"""Tasks of Smooch v1.1 app users: a call for each row."""

from collections.abc import Callable
from typing import Any, Final

from sunshine_async._calls.endpoint import Endpoint
from sunshine_async._http.messages import Request
from sunshine_async.jobs.tasks.task import Entry, Mode, Recovery, Service, Task
from sunshine_async.rows import Shape
from sunshine_async.smooch.app_users import DELETE, PRE_CREATE, UPDATE
from sunshine_async.smooch.client import SmoochClient
from sunshine_async.smooch.models import AppUserPreCreate, AppUserUpdate

_IDS: Final = ("id", "_id", "userId")
_APP: Final = {"app_id": "app"}  # any id: the client has checked its own


def _request(endpoint: Endpoint[Any, Any]) -> Callable[[Entry], Request]:
    """Return the request builder for *endpoint*, with a user's id in the path."""
    return lambda entry: endpoint.request(entry.body, {**_APP, "user_id": entry.id}, {})


def _create_request(entry: Entry) -> Request:
    """Return the create; `ValueError` for an invalid body, or a key that no update could address."""
    UPDATE.request(AppUserUpdate(), {**_APP, "user_id": entry.body.user_id}, {})
    return PRE_CREATE.request(entry.body, _APP, {})


SMOOCH: Final = Service(
    "smooch",
    {
        Mode.CREATE: Task(
            Shape(AppUserPreCreate),
            send=lambda client, entry: client.app_users.pre_create(entry.body),
            key=lambda entry: entry.body.user_id,
            request=_create_request,
            key_fields=("userId",),
            done="created",
            recovery=lambda entry: (
                Recovery.LOOK_UP_OR_RESEND if entry.body.user_id else Recovery.UNKNOWN
            ),
            look_up=lambda client, entry: client.app_users.get(entry.body.user_id),
        ),
        Mode.UPDATE: Task(
            Shape(AppUserUpdate, ids=_IDS),
            send=lambda client, entry: client.app_users.update(entry.id, entry.body),
            request=_request(UPDATE),
            key_fields=_IDS,
            done="updated",
            recovery=lambda _: Recovery.RESEND,
        ),
        Mode.UPSERT: Task(
            Shape(AppUserPreCreate),
            send=lambda client, entry: client.app_users.upserted(entry.body),
            key=lambda entry: entry.body.user_id,
            request=_create_request,
            key_fields=("userId",),
            recovery=lambda entry: (
                Recovery.RESEND_UNCERTAIN if entry.body.user_id else Recovery.RESEND
            ),
        ),
        Mode.DELETE: Task(
            Shape(None, ids=_IDS),
            send=lambda client, entry: client.app_users.delete(entry.id),
            request=_request(DELETE),
            key_fields=_IDS,
            done="deleted",
            recovery=lambda _: Recovery.RESEND_DELETE,
        ),
    },
    probe=lambda client: client.app_users.get("is-the-service-back"),
    client=SmoochClient,
)
