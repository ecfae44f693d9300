"""What a job does with a row, by service and mode: tables of data."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from sunshine_async._calls.endpoint import Endpoint
from sunshine_async._http.messages import Request
from sunshine_async.jobs.tasks.dixa import DIXA
from sunshine_async.jobs.tasks.task import Again, Entry, Mode, Service, Task
from sunshine_async.rows import Shape
from sunshine_async.smooch import app_users
from sunshine_async.smooch.models import AppUserPreCreate, AppUserUpdate
from sunshine_async.sunshine.models import UserCreateBody, UserUpdateBody
from sunshine_async.sunshine.users import CREATE, DELETE, UPDATE

_IDS: Final = ("id", "externalId")
_BRAND: Final = ("brandId",)
_APP: Final = {"app_id": "app"}  # whichever: the client has looked at its own


def _asks(endpoint: Endpoint[Any, Any]) -> Callable[[Entry], Request]:
    """Return how *endpoint*, which has a user's id in its path, is asked."""

    def asks(entry: Entry) -> Request:
        path = {**_APP, "user_id_or_external_id": entry.id}
        return endpoint.request(entry.body, path, {"brandId": entry.beside.get("brandId")})

    return asks


def _asks_both(entry: Entry) -> Request:
    """Return what creates; raise `ValueError` for what can't be, or could never be changed."""
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
            asks=lambda entry: CREATE.request(entry.body, _APP, {}),
            names=("externalId",),
            within=_BRAND,
            done="created",
            again=lambda entry: Again.LOOK if entry.body.external_id else Again.NEVER,
            look=lambda client, entry: client.users.get(
                entry.body.external_id, brand_id=entry.body.brand_id or None
            ),
            remote_id=lambda user: user.id,
        ),
        Mode.UPDATE: Task(
            Shape(UserUpdateBody, ids=_IDS, beside=_BRAND),
            send=lambda client, entry: client.users.update(
                entry.id, entry.body, brand_id=entry.beside.get("brandId")
            ),
            key=lambda entry: entry.id,
            asks=_asks(UPDATE),
            names=_IDS,
            within=_BRAND,
            done="updated",
            again=lambda _: Again.HARMLESS,
            remote_id=lambda user: user.id,
        ),
        Mode.UPSERT: Task(
            Shape(UserCreateBody),
            send=lambda client, entry: client.users.upserted(entry.body),
            key=lambda entry: entry.body.external_id or None,
            asks=_asks_both,
            names=("externalId",),
            within=_BRAND,
            again=lambda entry: Again.BLURRED if entry.body.external_id else Again.HARMLESS,
            remote_id=lambda user: user.id,
        ),
        Mode.DELETE: Task(
            Shape(None, ids=_IDS, beside=_BRAND),
            send=lambda client, entry: client.users.delete(
                entry.id, brand_id=entry.beside.get("brandId")
            ),
            key=lambda entry: entry.id,
            asks=_asks(DELETE),
            names=_IDS,
            within=_BRAND,
            done="deleted",
            again=lambda _: Again.GONE,
        ),
    },
    probe=lambda client: client.users.get("is-the-service-back"),
)

_V1_IDS: Final = ("id", "_id", "userId")


def _asks_v1(endpoint: Endpoint[Any, Any]) -> Callable[[Entry], Request]:
    """Return how *endpoint* of v1.1, which has a user's id in its path, is asked."""
    return lambda entry: endpoint.request(entry.body, {**_APP, "user_id": entry.id}, {})


def _asks_both_v1(entry: Entry) -> Request:
    """Return what creates; raise `ValueError` for what can't be, or could never be changed."""
    app_users.UPDATE.request(AppUserUpdate(), {**_APP, "user_id": entry.body.user_id}, {})
    return app_users.PRE_CREATE.request(entry.body, _APP, {})


SMOOCH: Final = Service(
    "smooch",
    {
        Mode.CREATE: Task(
            Shape(AppUserPreCreate),
            send=lambda client, entry: client.app_users.pre_create(entry.body),
            key=lambda entry: entry.body.user_id,
            asks=_asks_both_v1,
            names=("userId",),
            done="created",
            again=lambda entry: Again.LOOK if entry.body.user_id else Again.NEVER,
            look=lambda client, entry: client.app_users.get(entry.body.user_id),
            remote_id=lambda user: user.id,
        ),
        Mode.UPDATE: Task(
            Shape(AppUserUpdate, ids=_V1_IDS),
            send=lambda client, entry: client.app_users.update(entry.id, entry.body),
            key=lambda entry: entry.id,
            asks=_asks_v1(app_users.UPDATE),
            names=_V1_IDS,
            done="updated",
            again=lambda _: Again.HARMLESS,
            remote_id=lambda user: user.id,
        ),
        Mode.UPSERT: Task(
            Shape(AppUserPreCreate),
            send=lambda client, entry: client.app_users.upserted(entry.body),
            key=lambda entry: entry.body.user_id,
            asks=_asks_both_v1,
            names=("userId",),
            again=lambda entry: Again.BLURRED if entry.body.user_id else Again.HARMLESS,
            remote_id=lambda user: user.id,
        ),
        Mode.DELETE: Task(
            Shape(None, ids=_V1_IDS),
            send=lambda client, entry: client.app_users.delete(entry.id),
            key=lambda entry: entry.id,
            asks=_asks_v1(app_users.DELETE),
            names=_V1_IDS,
            done="deleted",
            again=lambda _: Again.GONE,
        ),
    },
    probe=lambda client: client.app_users.get("is-the-service-back"),
)

SERVICES: Final[Mapping[str, Service]] = {
    service.name: service for service in (SUNSHINE, SMOOCH, DIXA)
}
