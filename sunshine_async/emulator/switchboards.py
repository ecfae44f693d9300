"""Operations of v2 on switchboards, switchboard integrations and the control of conversations.

Assumed, where the specification is silent:

- An enabled switchboard has a default switchboard integration (400).
- A ``switchboardIntegration`` by type alone has the integration of that type in the app, or an id
  without an integration if there is none.
- The default switchboard integration, and the next of another switchboard integration, can't be
  deleted (403).
- Control without a switchboard, or with a disabled switchboard, is a 404. So is control by a name
  that no switchboard integration has, and ``next`` of none. An ambiguous type or name is a 400.
- An offer to the switchboard integration in control is a 400. Nothing pending to accept and nobody
  in control to release are a 403. A caller with the key or the OAuth token of an integration accepts
  and releases for that integration only (403).
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from attrs import evolve

from sunshine_async.emulator.app_store import AppStore
from sunshine_async.emulator.fields import (
    BOOLEAN,
    METADATA,
    TEXT,
    JsonObject,
    Refusal,
    Schema,
    forbid,
    object_schema,
    omit,
    refuse,
    text_schema,
    without_none,
)
from sunshine_async.emulator.platform import V2, ApiPart, Platform
from sunshine_async.emulator.service import Operation, OperationRequest, Reply
from sunshine_async.emulator.tables import Row, Table, merged_metadata

MAX_RESPONDERS: Final = 10
UPDATE_BODY: Final = object_schema(enabled=BOOLEAN, defaultSwitchboardIntegrationId=TEXT)
RESPONDER_BODY: Final = object_schema(
    name=text_schema(0, 128),
    integrationId=TEXT,
    integrationType=TEXT,
    deliverStandbyEvents=BOOLEAN,
    nextSwitchboardIntegrationId=Schema(type="string", nullable=True),
    messageHistoryCount=Schema(type="integer", minimum=1, maximum=10, nullable=True),
)
CREATE_BODY: Final = evolve(RESPONDER_BODY, required=("name",))
METADATA_BODY: Final = object_schema(metadata=METADATA)
TARGET_BODY: Final = object_schema(
    "switchboardIntegration", switchboardIntegration=TEXT, metadata=METADATA
)
EFFECTS: Final[Mapping[str, str]] = {
    "passControl": "pass_control",
    "offerControl": "offer_control",
    "acceptControl": "accept_control",
    "releaseControl": "release_control",
}
"""The name of the effect, by the action in a trigger."""
_ONE_OF: Final = "should have one of integrationId and integrationType"
_DEFAULT: Final = "defaultSwitchboardIntegrationId"
_NEXT: Final = "nextSwitchboardIntegrationId"


class SwitchboardApi(ApiPart):
    """Switchboard of an app, the switchboard integrations, and the control of conversations."""

    def __init__(self, platform: Platform, count: Callable[[str], None]) -> None:
        super().__init__(platform, count)
        self.operations = (
            Operation(V2["CreateSwitchboard"], self._create),
            Operation(V2["ListSwitchboards"], self._list),
            Operation(V2["UpdateSwitchboard"], self._update, UPDATE_BODY),
            Operation(V2["DeleteSwitchboard"], self._delete),
            Operation(V2["CreateSwitchboardIntegration"], self._add, CREATE_BODY),
            Operation(V2["ListSwitchboardIntegrations"], self._list_responders),
            Operation(V2["UpdateSwitchboardIntegration"], self._change, RESPONDER_BODY),
            Operation(V2["DeleteSwitchboardIntegration"], self._remove),
            Operation(V2["PassControl"], self._pass, TARGET_BODY),
            Operation(V2["OfferControl"], self._offer, TARGET_BODY),
            Operation(V2["AcceptControl"], self._accept, METADATA_BODY, needs_body=False),
            Operation(V2["ReleaseControl"], self._release, METADATA_BODY, needs_body=False),
        )

    def _create(self, request: OperationRequest) -> Reply:
        table = self._app(request).table("switchboards")
        if table.rows:
            refuse("Only one switchboard can be created per app")
        switchboard = table.put({"id": self._platform.new_id(), "enabled": False})
        return self._done("create_switchboard", {"switchboard": switchboard}, status=201)

    def _list(self, request: OperationRequest) -> Reply:
        rows = self._app(request).table("switchboards").rows
        return Reply(200, {"switchboards": [*rows.values()]})

    def _update(self, request: OperationRequest) -> Reply:
        app, switchboard, responders = self._find(request)
        changed = {**switchboard, **request.body}
        if _DEFAULT in request.body:
            responders.get(request.body[_DEFAULT])
        if changed["enabled"] and _DEFAULT not in changed:
            refuse("Enabled switchboard must have an associated default switchboardIntegration")
        app.table("switchboards").put(changed)
        return self._done("update_switchboard", {"switchboard": changed})

    def _delete(self, request: OperationRequest) -> Reply:
        app, switchboard, responders = self._find(request)
        responders.clear()
        app.table("switchboards").remove(switchboard["id"])
        return self._done("delete_switchboard")

    def _add(self, request: OperationRequest) -> Reply:
        app, _, responders = self._find(request)
        body = request.body
        if ("integrationId" in body) is ("integrationType" in body):
            refuse(_ONE_OF)
        if len(responders.rows) >= MAX_RESPONDERS:
            title = f"Switchboard has reached the max number of switchboard integrations ({MAX_RESPONDERS})"
            raise Refusal(400, "too_many_switchboard_integrations", title)
        defaults = {"id": self._platform.new_id(), "deliverStandbyEvents": True}
        row = self._checked(app, responders, {**defaults, **body}, body)
        return self._respond("create_switchboard_integration", responders.put(row), status=201)

    def _list_responders(self, request: OperationRequest) -> Reply:
        _, _, responders = self._find(request)
        return Reply(200, {"switchboardIntegrations": [*responders.rows.values()]})

    def _change(self, request: OperationRequest) -> Reply:
        app, _, responders = self._find(request)
        row = responders.get(request.path["switchboard_integration_id"])
        changed = self._checked(app, responders, {**row, **request.body}, request.body)
        return self._respond("update_switchboard_integration", responders.put(changed))

    def _remove(self, request: OperationRequest) -> Reply:
        _, switchboard, responders = self._find(request)
        row = responders.get(request.path["switchboard_integration_id"])
        nexts = {other.get(_NEXT) for other in responders.rows.values()}
        if row["id"] in {switchboard.get(_DEFAULT), *nexts}:
            forbid()
        responders.remove(row["id"])
        return self._done("delete_switchboard_integration")

    def _pass(self, request: OperationRequest) -> Reply:
        app, row = self._conversation(request)
        target = self._target(app, row, request)
        changed = {**omit(row, "pending"), "active": target["id"]}
        return self._switch("passControl", request, app, changed)

    def _offer(self, request: OperationRequest) -> Reply:
        app, row = self._conversation(request)
        target = self._target(app, row, request)
        if target["id"] == row.get("active"):
            refuse("Cannot offer control to the active switchboard integration.")
        return self._switch("offerControl", request, app, {**row, "pending": target["id"]})

    def _accept(self, request: OperationRequest) -> Reply:
        app, row = self._conversation(request)
        self._require_own(app, row, "pending", request)
        changed = {**omit(row, "pending"), "active": row["pending"]}
        return self._switch("acceptControl", request, app, changed)

    def _release(self, request: OperationRequest) -> Reply:
        app, row = self._conversation(request)
        self._require_own(app, row, "active", request)
        return self._switch("releaseControl", request, app, omit(row, "active", "pending"))

    def _switch(self, action: str, request: OperationRequest, app: AppStore, row: Row) -> Reply:
        """Store the conversation *row* in other control, and tell the webhooks of the *action*."""
        app.conversations.all.put(row)
        metadata: JsonObject = request.body.get("metadata") or {}
        app.publish(f"switchboard:{action}", row=row, metadata=metadata)
        return self._done(EFFECTS[action])

    def _find(self, request: OperationRequest) -> tuple[AppStore, Row, Table]:
        """Return the app, the switchboard, and the table of the switchboard integrations."""
        app = self._app(request)
        switchboard = app.table("switchboards").get(request.path["switchboard_id"])
        return app, switchboard, app.table("switchboardIntegrations", switchboard["id"])

    def _checked(
        self, app: AppStore, responders: Table, row: Mapping[str, Any], body: Mapping[str, Any]
    ) -> Row:
        """Return a switchboard integration with id and type of the integration in *body*."""
        integrations = app.table("integrations")
        found: Mapping[str, Any] = {}
        if body.get(_NEXT) is not None:
            responders.get(body[_NEXT])
        if body.keys() >= {"integrationId", "integrationType"}:
            refuse(_ONE_OF)
        if "integrationId" in body:
            found = {"integrationType": integrations.get(body["integrationId"])["type"]}
        elif "integrationType" in body:
            of_type = [
                one["id"]
                for one in integrations.rows.values()
                if one["type"] == body["integrationType"]
            ]
            found = {"integrationId": [*of_type, self._platform.new_id()][0]}
        return without_none({**row, **found})

    def _target(self, app: AppStore, row: Row, request: OperationRequest) -> Row:
        """Return the switchboard integration of a body; raise `Refusal` (404) if missing."""
        merged_metadata({}, request.body.get("metadata"))
        wanted, responders = request.body["switchboardIntegration"], app.conversations.responders()
        if not any(one["enabled"] for one in app.table("switchboards").rows.values()):
            raise Refusal(404, "switchboard_not_found", "Switchboard not found")
        if wanted == "next":
            wanted = responders.get(row.get("active", ""), {}).get(_NEXT)
        for name in ("id", "name", "integrationType"):
            found = [one for one in responders.values() if one[name] == wanted]
            if len(found) > 1:
                refuse(f"switchboardIntegration should be one of several with this {name}")
            if found:
                return found[0]
        title = "SwitchboardIntegration not found"
        raise Refusal(404, "switchboard_integration_not_found", title)

    def _require_own(self, app: AppStore, row: Row, part: str, request: OperationRequest) -> None:
        """Raise `Refusal` (403) unless *part* is set, and the caller's own if known."""
        merged_metadata({}, request.body.get("metadata"))
        responder = app.conversations.responders().get(row.get(part, ""))
        caller = self._caller(app, request)
        if responder is None or caller not in (None, responder["integrationId"]):
            forbid()

    def _respond(self, effect: str, row: Row, *, status: int = 200) -> Reply:
        return self._done(effect, {"switchboardIntegration": row}, status=status)
