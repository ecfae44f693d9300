"""Store of Sunshine Conversations: each user with all parts, shared by the APIs v2 and v1.1."""

import os
import secrets
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain, count
from typing import Any, ClassVar, Final

from sunshine_async._calls.endpoint import Endpoint
from sunshine_async.emulator.app_store import AppStore
from sunshine_async.emulator.fields import (
    JsonObject,
    Refusal,
    format_time,
    pick,
    without_none,
)
from sunshine_async.emulator.records import (
    Record,
    apply_update,
    identity_key,
    with_primary_email,
)
from sunshine_async.emulator.service import (
    Change,
    Operation,
    OperationRequest,
    Reply,
    Store,
    UserApi,
    basic_key,
    bearer_token,
    is_signed,
    key_id_of,
)
from sunshine_async.emulator.tables import Row, Table
from sunshine_async.emulator.webhook_events import PlatformEvent
from sunshine_async.sunshine import (
    activities,
    app_keys,
    apps,
    attachments,
    clients,
    conversations,
    devices,
    integration_keys,
    integrations,
    messages,
    oauth,
    participants,
    switchboard_actions,
    switchboard_integrations,
    switchboards,
    users,
    webhooks,
)

V2: Final[Mapping[str, Endpoint[Any, Any]]] = {
    endpoint.operation: endpoint
    for resource in (
        activities,
        app_keys,
        apps,
        attachments,
        clients,
        conversations,
        devices,
        integration_keys,
        integrations,
        messages,
        oauth,
        participants,
        switchboard_actions,
        switchboard_integrations,
        switchboards,
        users,
        webhooks,
    )
    for endpoint in resource.ENDPOINTS
}
"""The endpoints of v2 by the name of the operation."""
MAX_MESSAGES: Final = 30_000
"""Messages that a conversation may have."""
_NAMES: Final = ("givenName", "surname")


class Platform(Store):
    """All apps, the users of each app, and the Support records of the account."""

    def __init__(self, *, max_messages: int = MAX_MESSAGES) -> None:
        super().__init__()
        self.max_messages: Final = max_messages
        self._run: Final = os.urandom(5).hex()
        self._number: Final = count()
        self._apps: dict[str, AppStore] = {}
        self._support: dict[str, Mapping[str, Any]] = {}
        self.events: Final[list[PlatformEvent]] = []
        """Events of webhooks of the running transaction."""

    def __len__(self) -> int:
        return sum(len(app.by_id) for app in self._apps.values())

    def app(self, app_id: str) -> AppStore:
        """Return an app; any id is an app. Raise `Refusal` (404) for a deleted app."""
        app = self._app(app_id)
        if app.is_deleted:
            raise Refusal(404, "app_not_found", "App not found")
        return app

    def apps(self) -> list[AppStore]:
        """Return the apps that hold anything."""
        apps = [app for app_id, app in self._apps.items() if app_id]
        return [app for app in apps if not app.is_empty and not app.is_deleted]

    @property
    def tokens(self) -> Table:
        """The issued tokens of OAuth."""
        return self._app("").table("tokens")

    def admits(self, authorization: str) -> bool | None:
        """Return True or False for a token or key that the platform issued; None for others."""
        bearer = bearer_token(authorization)
        token = self.tokens.rows.get(bearer)
        if token is not None:
            return bool(token["valid"])
        key_id = key_id_of(authorization)
        app = self._owner(key_id)
        key = None if app is None else app.key(key_id)
        if key is None:
            return None
        return is_signed(bearer, key["secret"]) or basic_key(authorization)[1] == key["secret"]

    def app_of(self, authorization: str) -> AppStore:
        """Return the app of a token or key that the platform issued.

        For other credentials return the first listed app, or a new app if no app is listed.
        """
        token = self.tokens.rows.get(bearer_token(authorization))
        if token is not None:
            return self._app(token["app"])
        found = [self._owner(key_id_of(authorization)), *self.apps()]
        return next(filter(None, found), None) or self._app(self.new_id())

    def _owner(self, key_id: str) -> AppStore | None:
        """Return the app that issued a key, for the app or for an integration of the app."""
        apps = self._apps.values() if key_id.startswith(("app_", "int_")) else ()
        return next((app for app in apps if app.key(key_id)), None)

    def _app(self, app_id: str) -> AppStore:
        if app_id not in self._apps:
            self._apps[app_id] = AppStore(
                app_id,
                self.new_id,
                lambda change: self._keep([app_id, *change]),
                self.max_messages,
                self.events.append,
            )
        return self._apps[app_id]

    def records(self, app_id: str | None = None) -> Iterator[Record]:
        """Yield the users of an app, or of all apps."""
        apps = self._apps.values() if app_id is None else [self._app(app_id)]
        return chain.from_iterable(app.by_id.values() for app in apps)

    @property
    def messages(self) -> int:
        """The number of stored messages."""
        tables = chain.from_iterable(app.tables.values() for app in self._apps.values())
        return sum(len(table.rows) for table in tables if table.name == "messages")

    def new_id(self) -> str:
        return f"{int(datetime.now(UTC).timestamp()):08x}{self._run}{next(self._number):06x}"

    def new_secret(self) -> str:
        return secrets.token_urlsafe(48)

    def new_user(self, body: Mapping[str, Any]) -> JsonObject:
        """Return a new user with the values of *body*; the user isn't stored yet."""
        user: JsonObject = {
            "id": body.get("id") or self.new_id(),
            **pick(body, "authenticated", "externalId", "zendeskId", "brandId"),
            "signedUpAt": format_time(),
            "hasPaymentInfo": body.get("hasPaymentInfo", False),
            "identities": body.get("identities", []),
            "profile": {},
            "metadata": {},
        }
        return apply_update(without_none(user), body)

    def add(self, record: Record, *, app_id: str) -> None:
        """Store a complete *record*; raise `ValueError` if an id of the record is taken."""
        app = self.app(app_id)
        for name, taken in {
            "id": record.id in app.by_id,
            "externalId": app.owner_of_external_id(record.user) is not None,
            "zendeskId": record.user.get("zendeskId") in app.by_zendesk_id,
        }.items():
            if taken:
                message = f"{name} is taken"
                raise ValueError(message)
        app.put(record)

    def add_support(self, record: Mapping[str, Any]) -> None:
        """Store a Support *record*; replace the record with the same ``zendeskId``."""
        self._support[record["zendeskId"]] = record
        self._keep(["support", record])

    def sync_with_support(self, app: AppStore, record: Record) -> Record:
        """Return a user with the values of the Support record; the caller stores the user.

        Users with the same external id or e-mail are merged, or lose the value. Without a Support
        record the user stays the same.
        """
        support = self._support.get(record.user["zendeskId"], {})
        if support.get("externalId") is not None:
            target = {**record.user, "externalId": support["externalId"]}
            owner = app.owner_of_external_id(target)
            record = _resolve_conflict(app, record, owner, externalId=None)
        if support.get("email") is not None:
            key = ("email", support["email"].lower())
            for other in app.find_by_email(support["email"], record.user.get("brandId")):
                identities = other.user["identities"]
                rest = [identity for identity in identities if identity_key(identity) != key]
                record = _resolve_conflict(app, record, other, identities=rest)
        values: dict[str, Any] = {
            "profile": without_none({**record.user["profile"], **pick(support, *_NAMES)}),
            **pick(support, "externalId"),
        }
        if "email" in support:
            values["identities"] = with_primary_email(record.user["identities"], support["email"])
        return record.with_values(**values)

    def clear(self) -> None:
        self._apps.clear()
        self._support.clear()
        self.events.clear()

    def restore(self, change: Change) -> None:
        match change:
            case ["support", record]:
                self.add_support(record)
            case [app_id, user_id, None]:
                app = self._app(app_id)
                app.forget(app.by_id[user_id])
            case [app_id, table, row_id, row]:
                self._app(app_id).table(*table.split("/")).restore(row_id, row)
            case _:
                self._app(change[0]).put(Record(**change[2]))


class PlatformApi(UserApi):
    """Base class of the APIs v2 and v1.1: operations on the records of one platform."""

    _envelope: ClassVar[str]
    """The key of a user in a response."""

    def __init__(self, platform: Platform) -> None:
        super().__init__()
        self._platform: Final = platform

    def __len__(self) -> int:
        return len(self._platform)

    def admits(self, authorization: str) -> bool | None:
        return self._platform.admits(authorization)

    def users(self, app_id: str | None = None) -> Iterator[Mapping[str, Any]]:
        return map(self._view, self._platform.records(app_id))

    def _add(self, user: Mapping[str, Any], app_id: str) -> Mapping[str, Any]:
        record = self._new_record(user)
        self._platform.add(record, app_id=app_id)
        return self._view(record)

    def _app(self, request: OperationRequest) -> AppStore:
        return self._platform.app(request.path["app_id"])

    def _create(self, app: AppStore, body: Mapping[str, Any]) -> Reply:
        """Create a user from a v2 *body*; raise `Refusal` (409) if the external id is taken."""
        if "externalId" in body and app.owner_of_external_id(body):
            raise Refusal(409, "conflict", "User already exists")
        return self._put("create", app, Record(user=self._platform.new_user(body)), status=201)

    def _clear_profile(self, effect: str, request: OperationRequest) -> Reply:
        app, record = self._find(request)
        return self._put(effect, app, record.without_personal_information())

    def _get(self, request: OperationRequest) -> Reply:
        _, record = self._find(request)
        return self._respond(record)

    def _delete(self, request: OperationRequest) -> Reply:
        app, record = self._find(request)
        app.remove(record)
        return self._done("delete")

    def _put(self, effect: str, app: AppStore, record: Record, *, status: int = 200) -> Reply:
        """Store *record*, count *effect*, and respond with the user."""
        app.put(record)
        self._count(effect)
        return self._respond(record, status=status)

    def _respond(self, record: Record, *, status: int = 200) -> Reply:
        return Reply(status, {self._envelope: self._view(record)})

    def _done(self, effect: str) -> Reply:
        self._count(effect)
        return Reply(200, {})

    @abstractmethod
    def _find(self, request: OperationRequest) -> tuple[AppStore, Record]:
        """Return the app and the user of *request*; raise `Refusal` (404) for a missing user."""

    @abstractmethod
    def _new_record(self, user: Mapping[str, Any]) -> Record:
        """Return a record of *user*, given as on the wire; raise `Refusal` if invalid."""

    @abstractmethod
    def _view(self, record: Record) -> Mapping[str, Any]:
        """Return the user in the format of the API."""


class ApiPart:
    """Base class of a part of the API v2: operations on the apps of one platform."""

    operations: Sequence[Operation]

    def __init__(self, platform: Platform, count: Callable[[str], None]) -> None:
        self._platform: Final = platform
        self._count: Final = count
        """Counts an effect by name."""

    def _app(self, request: OperationRequest) -> AppStore:
        return self._platform.app(request.path["app_id"])

    def _conversation(self, request: OperationRequest) -> tuple[AppStore, Row]:
        app = self._app(request)
        return app, app.conversations.all.get(request.path["conversation_id"])

    def _user(self, request: OperationRequest) -> tuple[AppStore, Record]:
        app = self._app(request)
        key = request.path["user_id_or_external_id"]
        return app, app.get(key, request.query.get("brandId"))

    def _caller(self, app: AppStore, request: OperationRequest) -> str | None:
        """Return the id of the integration with the caller's key or token, if any."""
        token = self._platform.tokens.rows.get(request.token, {})
        return token.get("integration") or app.integration_of_key(request.key_id)

    def _done(self, effect: str, body: object = None, *, status: int = 200) -> Reply:
        self._count(effect)
        return Reply(status, {} if body is None else body)


def _resolve_conflict(
    app: AppStore, record: Record, other: Record | None, **without: Any
) -> Record:
    """Resolve a conflict with *other* over an external id or an e-mail; return the synced user.

    An *other* user with a link to Support loses the value. Without a link, *other* is merged.
    """
    if other is None or other.id == record.id:
        return record
    if "zendeskId" not in other.user:
        return app.merge(record, other)
    app.put(other.with_values(**without))
    return record
