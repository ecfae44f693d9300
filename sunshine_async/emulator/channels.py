"""Operations of v2 on the clients and devices of a user.

The clients are those of v1.1 too: ``platform`` is ``type``, and a client of a web or mobile SDK is
of the type ``sdk``.

Assumed, where the specification is silent:

- The integration of a link is there, and of the same type (400); so is the target conversation, and
  the user is in the conversation (404).
- The response has the client with the status ``pending``. With the confirmation ``immediate`` the
  client is ``active`` from then on, and in the target conversation. Without, the client stays
  pending.
- A new link replaces the previous link of that channel. As in v1.1, the confirmation
  ``userActivity`` needs a message (400).
- Clients are listed in the order of linking, pending clients last; devices the latest seen first.
- Only `Emulator.add` gives a user devices.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from attrs import evolve

from sunshine_async.emulator.app_store import AppStore, client_id, client_type, client_view
from sunshine_async.emulator.contents import MESSAGE_POST, checked_content
from sunshine_async.emulator.fields import (
    BOOLEAN,
    PHONE_NUMBER,
    TEXT,
    Refusal,
    Schema,
    format_time,
    object_schema,
    refuse,
    text_schema,
)
from sunshine_async.emulator.platform import V2, ApiPart, Platform
from sunshine_async.emulator.service import Operation, OperationRequest, Reply
from sunshine_async.emulator.tables import page

_CRITERIA: Final[Mapping[str, Schema]] = {"type": TEXT, "integrationId": TEXT, "primary": BOOLEAN}
_PHONE: Final = object_schema("integrationId", "phoneNumber", **_CRITERIA, phoneNumber=PHONE_NUMBER)
CRITERIA: Final[Mapping[str, Schema]] = {
    "mailgun": object_schema(
        "integrationId", "address", **_CRITERIA, address=text_schema(format="email"), subject=TEXT
    ),
    "messagebird": _PHONE,
    "twilio": _PHONE,
    "whatsapp": _PHONE,
}
CREATE_BODY: Final = object_schema(
    "matchCriteria",
    "confirmation",
    "target",
    matchCriteria=Schema(type="object", kinds=CRITERIA),
    confirmation=object_schema(
        "type",
        type=text_schema(enum=("immediate", "userActivity", "prompt")),
        message=MESSAGE_POST,
    ),
    target=object_schema("conversationId", conversationId=TEXT),
)
_IMMEDIATE: Final = "immediate"


class ChannelApi(ApiPart):
    """Clients and devices of a user."""

    def __init__(self, platform: Platform, count: Callable[[str], None]) -> None:
        super().__init__(platform, count)
        self.operations = (
            Operation(V2["CreateClient"], self._create, CREATE_BODY),
            Operation(V2["ListClients"], self._list),
            Operation(V2["RemoveClient"], self._remove),
            Operation(V2["ListDevices"], self._list_devices),
            Operation(V2["GetDevice"], self._get_device),
        )

    def _create(self, request: OperationRequest) -> Reply:
        app, record = self._user(request)
        criteria, confirmation = request.body["matchCriteria"], request.body["confirmation"]
        row = app.conversations.all.get(request.body["target"]["conversationId"])
        app.conversations.participant(row, record.id)
        _check_link(app, criteria, confirmation)
        external_id: str = criteria.get("phoneNumber") or criteria["address"]
        client = app.new_client(criteria, external_id)
        others = record.without_channel(criteria["type"])
        app.publish_client("client:add", client, others, reason="channelLinking", row=row)
        if confirmation["type"] == _IMMEDIATE:
            linked = {**client, "status": "active", "linkedAt": format_time()}
            app.put(evolve(others, clients=[*others.clients, linked]))
            first = {"type": criteria["type"], "clientId": client["id"]}
            app.conversations.associate(row, record.id, first)
            app.publish_client("client:update", linked, others, reason="confirmed", row=row)
        else:
            app.put(evolve(others, pending_clients=[*others.pending_clients, client]))
        return self._done("create_client", {"client": client_view(client)}, status=201)

    def _list(self, request: OperationRequest) -> Reply:
        _, record = self._user(request)
        clients = [*map(client_view, record.all_clients)]
        rows, envelope = page(clients, request)
        return Reply(200, {"clients": rows, **envelope})

    def _remove(self, request: OperationRequest) -> Reply:
        app, record = self._user(request)
        removed = request.path["client_id"]
        found = [one for one in record.all_clients if client_id(one) == removed]
        if not found:
            raise Refusal(404, "client_not_found", "Client not found")
        if client_type(found[0]) == "sdk":
            refuse("Cannot remove a client of type 'sdk'")
        app.put(record.with_clients(lambda client: client_id(client) != removed))
        for conversation_id in record.conversations:
            row = app.conversations.all.get(conversation_id)
            app.conversations.dissociate(row, record.id, removed)
        app.publish_client("client:remove", found[0], record, reason="api")
        return self._done("remove_client")

    def _list_devices(self, request: OperationRequest) -> Reply:
        _, record = self._user(request)
        devices = sorted(record.devices, key=lambda one: str(one.get("lastSeen")), reverse=True)
        return Reply(200, {"devices": devices})

    def _get_device(self, request: OperationRequest) -> Reply:
        _, record = self._user(request)
        for device in record.devices:
            if device.get("id") == request.path["device_id"]:
                return Reply(200, {"device": device})
        raise Refusal(404, "device_not_found", "Device not found")


def _check_link(
    app: AppStore, criteria: Mapping[str, Any], confirmation: Mapping[str, Any]
) -> None:
    """Raise `Refusal` (400) for a link that can't be."""
    integration = app.table("integrations").rows.get(criteria["integrationId"])
    if integration is None or integration["type"] != criteria["type"]:
        refuse(f"matchCriteria.integrationId should be of an integration {criteria['type']}")
    if confirmation["type"] == "userActivity" and "message" not in confirmation:
        refuse("confirmation should have required property 'message'")
    if "message" in confirmation:
        content = checked_content(confirmation["message"])
        if content.get("type") not in ("text", "image"):
            refuse("confirmation.message.content.type should be one of text, image")
        if any(action["type"] != "link" for action in content.get("actions", ())):
            refuse("confirmation.message.content.actions should be of the type link")
