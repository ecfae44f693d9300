"""API of Dixa end users, as far as the documentation goes. ``/beta`` is the same API as ``/v1``.

Assumed, where the documentation is silent:

- Ids are compared without regard to case. A path value that is no UUID is a 400, before the body is
  read. Only POST has ``/bulk``: for PATCH and PUT the word is an id that is no UUID.
- E-mail addresses and phone numbers, additional addresses and numbers too, belong to one end user
  each; e-mail addresses without regard to case. Several end users may have the same external id.
- The filters of a list find additional addresses and numbers too. Lists are in the order of
  creation, 50 end users a page without a ``pageLimit``, and without custom attributes.
- An invalid e-mail address, a phone number that isn't E.164 and a wrong type are a 400; so is an
  item for which `Dixa.refuses` gives a reason. In bulk such a 400 is for the whole request, and no
  item is done. Any further error fails only the item. Outcomes come in the order of the items.
- An address or number that is repeated in a list is stored once.
- A patch keeps missing fields and clears null fields; an update clears both. Custom attributes
  stay in either; null clears an attribute. A Select takes the values of options, from a parent to
  a child; an attribute of conversations, an unknown option and an empty path are refused.
- An anonymization is pending until a first read of the status, and is done by the second read:
  then the end user is gone. An anonymization needs all conversations closed, or ``force``.
- Pictures keep the address that was sent.
- A create and a patch may be empty; an empty item of a bulk update fails. Bulk takes any number of
  items, up to the library's limit in bytes. Changes can be read at once.
- A 429 has the message ``Too Many Requests``.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, ClassVar, Final
from uuid import uuid4

from sunshine_async.dixa import custom_attributes, end_users
from sunshine_async.emulator.dixa_store import (
    ATTRIBUTES,
    BULK,
    INPUT,
    STORED,
    EndUserStore,
    contact_errors,
    is_uuid,
    is_valid_value,
    page_of,
    paginate,
    parse_definition,
    refuse_value,
)
from sunshine_async.emulator.fields import (
    JsonObject,
    Refusal,
    format_time,
    json_copy,
    omit,
    pick,
    refuse,
)
from sunshine_async.emulator.service import Change, Operation, OperationRequest, Reply, UserApi

ORGANIZATION: Final = "b86a1842-437c-4c55-ac4b-0a9cd2f44dfb"
MESSAGES: Final[Mapping[int, str]] = {
    401: "Unauthorized",
    404: "The requested resource could not be found",
    429: "Too Many Requests",
    500: "There was an internal server error while processing the request",
}
"""The message of the service for a status, for any reason."""

_PATH: Final = {"end_user_id": "userId", "request_id": "requestId"}


class Dixa(UserApi):
    """The end users of an organization, with conversations and custom attributes."""

    prefix = ("/v1/", "/beta/")
    effect_names: ClassVar = ("create", "patch", "update", "anonymize", "patch_custom_attributes")
    _effect_tag: ClassVar = ["effect"]

    def __init__(self) -> None:
        super().__init__()
        self.operations = (
            Operation(end_users.LIST, self._list),
            Operation(end_users.CREATE, self._create, INPUT),
            Operation(end_users.GET, lambda request: _data(self._find(request))),
            Operation(end_users.PATCH, lambda request: self._change(request, "patch"), INPUT),
            Operation(end_users.UPDATE, lambda request: self._change(request, "update"), INPUT),
            Operation(end_users.ANONYMIZE, self._anonymize),
            Operation(end_users.ANONYMIZATION, self._anonymization),
            Operation(end_users.PATCH_CUSTOM_ATTRIBUTES, self._patch_attributes, ATTRIBUTES),
            Operation(end_users.CONVERSATIONS, self._list_conversations),
            Operation(end_users.CREATE_BULK, lambda request: self._bulk(request, "create"), BULK),
            Operation(end_users.PATCH_BULK, lambda request: self._bulk(request, "patch"), BULK),
            Operation(end_users.UPDATE_BULK, lambda request: self._bulk(request, "update"), BULK),
            Operation(custom_attributes.LIST, lambda _: _data([*self._definitions.values()])),
        )
        self.refuses: Callable[[Mapping[str, Any]], str | None] | None = None
        """Return the reason why an item makes the whole request a 400, or None."""
        self._store = self._new_store()
        self._conversations: Final[dict[str, list[JsonObject]]] = {}
        self._anonymizations: Final[dict[str, JsonObject]] = {}
        self.webhooks: Final[list[Mapping[str, Any]]] = []
        """The webhooks, for ``Emulator.add_webhook``. The state file doesn't keep webhooks."""
        self._polled: Final[set[str]] = set()
        """The ids of anonymizations after a first read of the status."""
        self._pending: Final[dict[str, set[str]]] = {}
        """By end user: the ids of pending anonymizations."""
        self._definitions: Final[dict[str, Mapping[str, Any]]] = {}

    def __len__(self) -> int:
        return len(self._store.by_id)

    def users(self, app_id: str | None = None) -> Iterator[Mapping[str, Any]]:  # noqa: ARG002
        """Yield the end users; Dixa has no apps."""
        return iter(self._store.by_id.values())

    def add_conversation(
        self, end_user_id: str, conversation: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """Store and return a copy of *conversation*, as on the wire; raise `ValueError` if invalid."""
        id_ = end_user_id.lower()
        if id_ not in self._store.by_id:
            message = f"requesterId: there is no end user {end_user_id}"
            raise ValueError(message)
        stored = {**json_copy(conversation), "requesterId": id_}
        self._conversations.setdefault(id_, []).append(stored)
        return stored

    def add_webhook(self, webhook: Mapping[str, Any]) -> Mapping[str, Any]:
        """Store and return a *webhook*; raise `ValueError` for a secret that isn't hexadecimal."""
        if not re.fullmatch("([0-9a-fA-F]{2})+", webhook["secret"]):
            message = "secret: hexadecimal digits"
            raise ValueError(message)
        self.webhooks.append(webhook)
        return webhook

    def define(self, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """Define a custom attribute, given as on the wire; return the definition with all fields.

        Needs ``id``, ``label``, ``identifier``, ``inputDefinition``. Raise `ValueError` if invalid.
        """
        definition = parse_definition(data)
        self._definitions[definition["id"]] = definition
        return definition

    def spelled(self, path: str, authorization: str) -> str:  # noqa: ARG002
        return f"/v1/{path.removeprefix('/beta/')}" if path.startswith("/beta/") else path

    def path(self, values: Mapping[str, str]) -> Mapping[str, str]:
        for name, value in values.items():
            if not is_uuid(value):
                hint = " (PATCH and PUT of several go to /v1/endusers)" if value == "bulk" else ""
                refuse_value(f"path parameter {_PATH[name]}{hint}")
        return {name: value.lower() for name, value in values.items()}

    def error_response(self, refusal: Refusal) -> Reply:
        message = MESSAGES.get(refusal.status, str(refusal))
        return Reply(refusal.status, {"message": message})

    def clear(self) -> None:
        """Delete everything but definitions."""
        super().clear()
        self._store = self._new_store()
        for stored in (self._conversations, self._anonymizations, self._polled, self._pending):
            stored.clear()
        self.webhooks.clear()

    def restore(self, change: Change) -> None:
        match change:
            case ["effect", _]:
                super().restore(change)
            case ["asked", request_id]:
                self._polled.add(request_id)
            case ["anonymization", _, anonymization]:
                self._store_anonymization(anonymization)
            case [_, user_id, None]:
                self._remove(self._store.by_id[user_id])
            case _:
                self._store.put(change[-1])

    def _new_store(self) -> EndUserStore:
        return EndUserStore(on_change=lambda user_id, user: self._keep(["user", user_id, user]))

    def _add(self, user: Mapping[str, Any], app_id: str) -> JsonObject:  # noqa: ARG002
        stored = self._store.new_user(STORED.validate(user))
        errors = [*contact_errors(stored), *self._store.conflicts(stored)]
        if not is_uuid(stored["id"]):
            errors.append("id should be a UUID")
        stored["id"] = stored["id"].lower()
        if stored["id"] in self._store.by_id:
            errors.append("id is taken")
        if errors:
            raise ValueError("; ".join(errors))
        self._store.put(stored)
        return stored

    def _list(self, request: OperationRequest) -> Reply:
        filters = pick(request.query, "email", "phone", "externalId")
        if len(filters) > 1:
            refuse("Invalid filters: Cannot provide more than one filter")

        def take(offset: int, limit: int) -> tuple[list[JsonObject], bool]:
            if filters:
                [(name, value)] = filters.items()
                users, more = page_of(self._store.find(name, value), offset, limit)
            else:
                users, more = self._store.page(offset, limit)
            return [omit(user, "customAttributes") for user in users], more

        return Reply(200, paginate(request.target, request.query, take, filters))

    def _create(self, request: OperationRequest) -> Reply:
        self._validate([request.body], "")
        user = self._store.new_user(request.body)
        self._refuse_conflicts(user, "Create EndUser [id:None]")
        return _data(self._put("create", user), status=201)

    def _change(self, request: OperationRequest, effect: str) -> Reply:
        self._validate([request.body], "")
        if effect == "update" and request.body.get("displayName") is None:
            refuse_value("body (displayName is missing)")
        user = self._store.apply_update(
            self._find(request), request.body, replace=effect == "update"
        )
        self._refuse_conflicts(user, f"Updating EndUser [id:{user['id']}]")
        return _data(self._put(effect, user))

    def _bulk(self, request: OperationRequest, effect: str) -> Reply:
        items = request.body.get("data")
        if items is None:
            refuse_value("body (data is missing)")
        self._validate(items, "data")
        for index, item in enumerate(items):
            if effect != "create" and not is_uuid(item.get("id", "")):
                refuse_value(f"body (data[{index}].id should be a UUID)")
            if effect == "update" and item.get("displayName") is None:
                refuse_value(f"body (data[{index}].displayName is missing)")
        outcomes = [self._bulk_outcome(item, effect) for item in items]
        return _data(outcomes, status=201 if effect == "create" else 200)

    def _bulk_outcome(self, item: Mapping[str, Any], effect: str) -> JsonObject:
        values = pick(item, *(INPUT.fields or {}))
        if effect == "create":
            user = self._store.new_user(values)
            failed = f"Create EndUser [userId={user['id']}] in [orgId={ORGANIZATION}]"
        else:
            stored = self._store.by_id.get(item["id"].lower())
            if stored is None:
                return _failure("NotFound", item["id"], MESSAGES[404])
            if not values:
                return _failure("EmptyPatchSet", item["id"], "The patch set is empty")
            user = self._store.apply_update(stored, values, replace=effect == "update")
            failed = f"Updating EndUser [id={user['id']}] in [org={ORGANIZATION}]"
        codes = ",".join(self._store.conflicts(user))
        if codes:
            return _failure("Validation", user["id"], f"{failed} failed with [errors={codes}]")
        return {"data": self._put(effect, user), "_type": "BulkActionSuccess"}

    def _anonymize(self, request: OperationRequest) -> Reply:
        user = self._find(request)
        conversations = self._conversations.get(user["id"], [])
        force = request.query.get("force", "false")
        if force not in ("true", "false"):
            refuse_value("query parameter force")
        if force == "false" and any(one.get("state") != "Closed" for one in conversations):
            raise Refusal(409, "conflict", "The end user has open conversations")
        for conversation in conversations:
            conversation["state"] = "Closed"
        anonymization = {
            "id": str(uuid4()),
            "entityType": "UserAnonymizationType",
            "_type": "User",
            "initiatedAt": f"{format_time()}[GMT]",
            "targetEntityId": user["id"],
            "requestedBy": ORGANIZATION,
        }
        self._store_anonymization(anonymization)
        self._count("anonymize")
        return _data(anonymization, status=202)

    def _anonymization(self, request: OperationRequest) -> Reply:
        id_ = request.path["request_id"]
        anonymization = self._anonymizations.get(id_)
        if anonymization is None:
            raise Refusal(404, "not_found", MESSAGES[404])
        if id_ in self._polled and "processedAt" not in anonymization:
            user_id = anonymization["targetEntityId"]
            if id_ in self._pending.get(user_id, ()):
                self._remove(self._store.by_id[user_id])
            anonymization = {**anonymization, "processedAt": f"{format_time()}[GMT]"}
            self._store_anonymization(anonymization)
        self._polled.add(id_)
        self._keep(["asked", id_])
        return _data(anonymization)

    def _patch_attributes(self, request: OperationRequest) -> Reply:
        user = self._find(request)
        attributes = {attribute["id"]: attribute for attribute in user.get("customAttributes", ())}
        for key, value in request.body.items():
            id_ = key.lower()
            definition = self._definitions.get(id_)
            if definition is None or not is_valid_value(definition, value):
                refuse("Invalid input for patching")
            attributes[id_] = {
                "id": id_,
                "name": definition["label"],
                "identifier": definition["identifier"],
                "value": value,
            }
        kept = [attribute for attribute in attributes.values() if attribute["value"] is not None]
        self._put("patch_custom_attributes", {**user, "customAttributes": kept})
        return _data(kept)

    def _list_conversations(self, request: OperationRequest) -> Reply:
        user_id = self._find(request)["id"]
        conversations = self._conversations.get(user_id, [])
        take = partial(page_of, conversations)
        return Reply(200, paginate(request.target, request.query, take))

    def _find(self, request: OperationRequest) -> JsonObject:
        user = self._store.by_id.get(request.path["end_user_id"])
        if user is None:
            raise Refusal(404, "not_found", MESSAGES[404])
        return user

    def _validate(self, items: list[Mapping[str, Any]], within: str) -> None:
        """Raise `Refusal` if an item makes the whole request a 400."""
        for index, item in enumerate(items):
            path = f"{within}[{index}]." if within else ""
            errors = [*contact_errors(item, path)]
            reason = self.refuses(item) if self.refuses else None
            if reason:
                errors.append(f"{path}{reason}")
            if errors:
                refuse_value(f"body ({'; '.join(errors)})")

    def _refuse_conflicts(self, user: JsonObject, action: str) -> None:
        codes = ",".join(self._store.conflicts(user))
        if codes:
            refuse(f"{action} failed with [errors:{codes}]")

    def _put(self, effect: str, user: JsonObject) -> JsonObject:
        self._store.put(user)
        self._count(effect)
        return user

    def _store_anonymization(self, anonymization: JsonObject) -> None:
        id_ = anonymization["id"]
        self._anonymizations[id_] = anonymization
        if "processedAt" not in anonymization:
            self._pending.setdefault(anonymization["targetEntityId"], set()).add(id_)
        self._keep(["anonymization", id_, anonymization])

    def _remove(self, user: JsonObject) -> None:
        """Remove *user* and the conversations; a later user with that id has no conversations."""
        self._store.remove(user)
        self._conversations.pop(user["id"], None)
        self._pending.pop(user["id"], None)


def _data(data: object, *, status: int = 200) -> Reply:
    return Reply(status, {"data": data})


def _failure(kind: str, id_: str, message: str) -> JsonObject:
    error = {"id": id_, "message": message, "_type": kind}
    return {"error": error, "_type": "BulkActionFailure"}
