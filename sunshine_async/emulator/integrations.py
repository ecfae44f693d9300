"""Operations of v2 on integrations, and on webhooks and keys of an integration.

Assumed, where the specification is silent:

- Webhooks of an integration that isn't ``custom`` are a 403, keys a 400.
- An eleventh webhook of an app, and an eleventh key of an integration, are a 400.
- A custom integration may have several webhooks; ``webhooks`` of the integration is the first, for
  the specification allows one there. Without a webhook the list is empty.
- An update of an integration takes the fields of the type only, and ignores the rest.
- Status, and fields of the channel (as ``username`` of Telegram), aren't made up, except ``status``
  ``active``.
- ``me`` is the custom integration of the caller's key or OAuth token; else a 404.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final

from attrs import evolve

from sunshine_async.emulator.app_store import AppStore
from sunshine_async.emulator.fields import (
    DISPLAY_NAME,
    OBJECT,
    JsonObject,
    Schema,
    forbid,
    object_schema,
    omit,
    refuse,
    without_none,
)
from sunshine_async.emulator.integration_bodies import (
    INTEGRATIONS,
    ONE_OF,
    UPDATES,
    WEBHOOK_BODY,
    WEBHOOK_UPDATE_BODY,
    WRITE_ONLY,
)
from sunshine_async.emulator.platform import V2, ApiPart, Platform
from sunshine_async.emulator.service import Operation, OperationRequest, Reply
from sunshine_async.emulator.tables import Row, Table, page

MAX_WEBHOOKS: Final = 10
MAX_KEYS: Final = 10
INTEGRATION: Final = Schema(type="object", kinds=INTEGRATIONS)
KEY_BODY: Final = object_schema("displayName", displayName=evolve(DISPLAY_NAME, nullable=False))


class KeyApi(ApiPart):
    """Base class of a part with keys: keys of an app, or of a custom integration."""

    _owner: ClassVar[tuple[str, str, str]]
    """The owner of the keys in the names of operations and of effects, and before the id of a key."""

    @abstractmethod
    def _keys(self, request: OperationRequest) -> Table:
        """Return the keys of the owner; raise `Refusal` for an owner without keys."""

    def _key_operations(self) -> tuple[Operation, ...]:
        owner, _, _ = self._owner
        return (
            Operation(V2[f"Create{owner}Key"], self._create_key, KEY_BODY),
            Operation(V2[f"List{owner}Keys"], self._list_keys),
            Operation(V2[f"Get{owner}Key"], self._get_key),
            Operation(V2[f"Delete{owner}Key"], self._delete_key),
        )

    def _create_key(self, request: OperationRequest) -> Reply:
        table, (_, owner, prefix) = self._keys(request), self._owner
        if len(table.rows) >= MAX_KEYS:
            refuse(f"the number of keys is limited to {MAX_KEYS}")
        key_id, secret = f"{prefix}_{self._platform.new_id()}", self._platform.new_secret()
        key = table.put({"id": key_id, **request.body, "secret": secret})
        return self._done(f"create_{owner}_key", {"key": key}, status=201)

    def _list_keys(self, request: OperationRequest) -> Reply:
        return Reply(200, {"keys": [*self._keys(request).rows.values()]})

    def _get_key(self, request: OperationRequest) -> Reply:
        return Reply(200, {"key": self._keys(request).get(request.path["key_id"])})

    def _delete_key(self, request: OperationRequest) -> Reply:
        self._keys(request).remove(request.path["key_id"])
        return self._done(f"delete_{self._owner[1]}_key")


class IntegrationApi(KeyApi):
    """Integrations of an app, and webhooks and keys of custom integrations."""

    _owner = ("CustomIntegration", "integration", "int")

    def __init__(self, platform: Platform, count: Callable[[str], None]) -> None:
        super().__init__(platform, count)
        self.operations = (
            Operation(V2["CreateIntegration"], self._create, OBJECT),
            Operation(V2["ListIntegrations"], self._list),
            Operation(V2["GetIntegration"], self._get),
            Operation(V2["UpdateIntegration"], self._update, OBJECT),
            Operation(V2["DeleteIntegration"], self._delete),
            Operation(V2["CreateWebhook"], self._create_webhook, WEBHOOK_BODY),
            Operation(V2["ListWebhooks"], self._list_webhooks),
            Operation(V2["GetWebhook"], self._get_webhook),
            Operation(V2["UpdateWebhook"], self._update_webhook, WEBHOOK_UPDATE_BODY),
            Operation(V2["DeleteWebhook"], self._delete_webhook),
            *self._key_operations(),
        )

    def _create(self, request: OperationRequest) -> Reply:
        app, body = self._app(request), _checked(request.body)
        webhooks = body.get("webhooks", [])
        if webhooks:
            _require_room(app)
        row = app.table("integrations").put(
            {"id": self._platform.new_id(), "status": "active", **omit(body, "webhooks")}
        )
        for webhook in webhooks:
            self._put_webhook(app.table("webhooks", row["id"]), webhook)
        return self._respond("create_integration", app, row, 201)

    def _list(self, request: OperationRequest) -> Reply:
        app = self._app(request)
        rows = [*app.table("integrations").rows.values()]
        if "filter[types]" in request.query:
            types = request.query["filter[types]"].split(",")
            rows = [row for row in rows if row["type"] in types]
        rows_of_page, envelope = page(rows, request, "Invalid query parameters")
        return Reply(200, {"integrations": [_view(app, row) for row in rows_of_page], **envelope})

    def _get(self, request: OperationRequest) -> Reply:
        app, row = self._integration(request)
        return Reply(200, {"integration": _view(app, row)})

    def _update(self, request: OperationRequest) -> Reply:
        app, row = self._integration(request)
        changes = UPDATES[row["type"]].validate(request.body)
        changed = app.table("integrations").put(without_none({**row, **changes}))
        return self._respond("update_integration", app, changed)

    def _delete(self, request: OperationRequest) -> Reply:
        app, row = self._integration(request)
        app.remove_integration(row["id"])
        return self._done("delete_integration")

    def _create_webhook(self, request: OperationRequest) -> Reply:
        app, table = self._webhooks(request)
        _require_room(app)
        webhook = self._put_webhook(table, request.body)
        return self._done("create_webhook", {"webhook": webhook}, status=201)

    def _list_webhooks(self, request: OperationRequest) -> Reply:
        _, table = self._webhooks(request)
        return Reply(200, {"webhooks": [*table.rows.values()]})

    def _get_webhook(self, request: OperationRequest) -> Reply:
        _, table = self._webhooks(request)
        return Reply(200, {"webhook": table.get(request.path["webhook_id"])})

    def _update_webhook(self, request: OperationRequest) -> Reply:
        _, table = self._webhooks(request)
        row = table.get(request.path["webhook_id"])
        return self._done("update_webhook", {"webhook": table.put({**row, **request.body})})

    def _delete_webhook(self, request: OperationRequest) -> Reply:
        _, table = self._webhooks(request)
        table.remove(request.path["webhook_id"])
        return self._done("delete_webhook")

    def _integration(self, request: OperationRequest) -> tuple[AppStore, Row]:
        app, integration_id = self._app(request), request.path["integration_id"]
        if integration_id == "me":
            integration_id = self._caller(app, request) or "me"
        return app, app.table("integrations").get(integration_id)

    def _webhooks(self, request: OperationRequest) -> tuple[AppStore, Table]:
        app, row = self._integration(request)
        if row["type"] != "custom":
            forbid()
        return app, app.table("webhooks", row["id"])

    def _keys(self, request: OperationRequest) -> Table:
        app, row = self._integration(request)
        if row["type"] != "custom":
            refuse("API keys are available only for custom integrations")
        return app.table("keys", row["id"])

    def _put_webhook(self, table: Table, body: Mapping[str, Any]) -> Row:
        return table.put(
            {
                "id": self._platform.new_id(),
                "version": "v2",
                "secret": self._platform.new_secret(),
                "includeFullUser": False,
                "includeFullSource": False,
                **body,
            }
        )

    def _respond(self, effect: str, app: AppStore, row: Row, status: int = 200) -> Reply:
        return self._done(effect, {"integration": _view(app, row)}, status=status)


def _require_room(app: AppStore) -> None:
    """Raise `Refusal` (400) if the app has as many webhooks as an app may have."""
    tables = [table for table in app.tables.values() if table.name == "webhooks"]
    if sum(len(table.rows) for table in tables) >= MAX_WEBHOOKS:
        refuse(f"the number of webhooks is limited to {MAX_WEBHOOKS}")


def _checked(body: Mapping[str, Any]) -> JsonObject:
    """Return the known fields of a new integration; raise `Refusal` (400) for an invalid body."""
    if str(body.get("type", "custom")) not in INTEGRATIONS:
        refuse("Invalid integration type")
    checked: JsonObject = INTEGRATION.validate(body)
    one_of = ONE_OF.get(checked["type"], ())
    if one_of and not checked.keys() & set(one_of):
        refuse(f"one of {' and '.join(one_of)} should be present")
    return checked


def _view(app: AppStore, row: Row) -> JsonObject:
    """Return an integration in the format of the API: without secrets, with the first webhook."""
    shown = omit(row, "defaultResponderId", *WRITE_ONLY.get(row["type"], ()))
    if row["type"] == "custom":
        shown["webhooks"] = [*app.table("webhooks", row["id"]).rows.values()][:1]
    return shown
