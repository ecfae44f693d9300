"""Dixa end users, as far as the documentation goes.

Assumed, where the documentation leaves something open:

- Ids are compared without regard to case. What isn't a UUID in a path is a 400, before the body is
  looked at. Only POST has ``/bulk``: for PATCH and PUT it is an id that is no UUID.
- E-mail addresses and phone numbers, the additional ones too, belong to one end user each; e-mail
  addresses without regard to case. An external id may be had by several.
- The filters of a list find additional addresses and numbers too. Lists are in the order of
  creation, and 50 a page unless ``pageLimit`` says otherwise. They have no custom attributes.
- What isn't an e-mail address, a phone number that isn't E.164 and what has a wrong type are a
  400; in bulk for the request as a whole, of which nothing is done then. So is an item for which
  `Dixa.refuses` gives a reason. All else fails item by item.
- Outcomes come in the order of the items, one for each.
- An address or number that is repeated in a list is stored once.
- A patch keeps what it leaves out and clears what is null; an update clears both. Custom
  attributes stay in either; null clears one of them. A Select takes the values of options, from a
  parent to a child; an attribute of conversations, an unknown option and an empty path are refused.
- An anonymization waits until its status has been asked for once, and is done by the next time:
  the end user isn't there any more then. It needs all conversations closed, or ``force``.
- Pictures keep the address that was sent.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final
from uuid import uuid4

from sunshine_async.dixa import custom_attributes, end_users
from sunshine_async.emulator.dixa_attributes import definition, fits
from sunshine_async.emulator.dixa_store import (
    INPUT,
    STORED,
    Store,
    Stored,
    is_id,
    known,
    paged,
    problems,
    refuse,
    time_now,
)
from sunshine_async.emulator.fields import Field, Refusal
from sunshine_async.emulator.service import Answer, Asked, Change, Operation

ORGANIZATION: Final = "b86a1842-437c-4c55-ac4b-0a9cd2f44dfb"
EFFECTS: Final = ("create", "patch", "update", "anonymize", "patch_custom_attributes")
FILTERS: Final = ("email", "phone", "externalId")
WORDS: Final[Mapping[int, str]] = {
    401: "Unauthorized",
    404: "The requested resource could not be found",
    429: "Too Many Requests",
    500: "There was an internal server error while processing the request",
}
"""What the service says for a status, whatever the reason."""

_PATH: Final = {"end_user_id": "userId", "request_id": "requestId"}
_ITEM: Final = Field(type="object", fields={"id": Field(type="string"), **(INPUT.fields or {})})
BULK: Final = Field(type="object", fields={"data": Field(type="array", items=_ITEM)})


class Dixa:
    """The end users of one organization, and what the API does with them."""

    def __init__(self) -> None:
        self.prefix: Final = "/v1/"
        self.operations: Final = (
            Operation(end_users.LIST, self._list),
            Operation(end_users.CREATE, self._create, INPUT),
            Operation(end_users.GET, lambda asked: Answer(200, {"data": self._found(asked)})),
            Operation(end_users.PATCH, lambda asked: self._change(asked, "patch"), INPUT),
            Operation(end_users.UPDATE, lambda asked: self._change(asked, "update"), INPUT),
            Operation(end_users.ANONYMIZE, self._anonymize),
            Operation(end_users.ANONYMIZATION, self._anonymization),
            Operation(
                end_users.PATCH_CUSTOM_ATTRIBUTES, self._patch_attributes, Field(type="object")
            ),
            Operation(end_users.CONVERSATIONS, self._list_conversations),
            Operation(end_users.CREATE_BULK, lambda asked: self._bulk(asked, "create"), BULK),
            Operation(end_users.PATCH_BULK, lambda asked: self._bulk(asked, "patch"), BULK),
            Operation(end_users.UPDATE_BULK, lambda asked: self._bulk(asked, "update"), BULK),
            Operation(custom_attributes.LIST, self._list_definitions),
        )
        self.refuses: Callable[[Mapping[str, Any]], str | None] | None = None
        """Says of an item why a request with it is a 400 as a whole; None: it isn't."""
        self.effects: Counter[str] = Counter()
        self._keep: Callable[[Change], None] = lambda _: None
        self._store = Store()
        self._conversations: dict[str, list[dict[str, Any]]] = {}
        self._anonymizations: dict[str, dict[str, Any]] = {}
        self._asked_for: set[str] = set()
        self._waiting: dict[str, set[str]] = {}
        """By end user: the ids of anonymizations that are to come."""
        self._definitions: dict[str, Mapping[str, Any]] = {}
        self.clear()

    def __len__(self) -> int:
        return len(self._store.by_id)

    def users(self, app_id: str | None = None) -> Iterator[Mapping[str, Any]]:  # noqa: ARG002
        """Yield the end users; Dixa has no apps."""
        return iter(self._store.by_id.values())

    def add(self, user: Mapping[str, Any], *, app_id: str = "") -> Mapping[str, Any]:  # noqa: ARG002
        """Store *user*, given as on the wire, and return it as stored. It is no effect.

        It may have what only the service sets: ``id``, ``createdAt``, ``customAttributes``. Raise
        `ValueError` for what a user can't be, and where its address or number is taken.
        """
        try:
            stored = self._store.made(STORED.checked(user))
        except Refusal as refusal:
            raise ValueError(str(refusal)) from None
        wrong = [*problems(stored), *self._store.taken(stored)]
        if not is_id(stored["id"]):
            wrong.append("id should be a UUID")
        stored["id"] = stored["id"].lower()
        if stored["id"] in self._store.by_id:
            wrong.append("id is taken")
        if wrong:
            raise ValueError("; ".join(wrong))
        self._store.put(stored)
        return stored

    def add_conversation(
        self, end_user_id: str, conversation: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """Let the end user have begun *conversation*, given as on the wire; return it as stored.

        Raise `ValueError` where there is no such end user.
        """
        id_ = end_user_id.lower()
        if id_ not in self._store.by_id:
            message = f"requesterId: there is no end user {end_user_id}"
            raise ValueError(message)
        stored = {**conversation, "requesterId": id_}
        self._conversations.setdefault(id_, []).append(stored)
        return stored

    def define(self, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """Let there be a custom attribute; return its definition as the service shows it.

        *data* is a definition as on the wire. It needs an ``id``, a ``label``, an ``identifier`` and
        an ``inputDefinition``. Raise `ValueError` for what can't be.
        """
        one = definition(data)
        self._definitions[one["id"]] = one
        return one

    def path(self, values: Mapping[str, str]) -> Mapping[str, str]:
        for name, value in values.items():
            if not is_id(value):
                hint = " (PATCH and PUT of several go to /v1/endusers)" if value == "bulk" else ""
                refuse(f"path parameter {_PATH[name]}{hint}")
        return {name: value.lower() for name, value in values.items()}

    def problem(self, refusal: Refusal) -> Answer:
        """Return the one sentence that the service has."""
        message = WORDS.get(refusal.status, str(refusal))
        return Answer(refusal.status, {"message": message})

    def clear(self) -> None:
        """Forget everything but what is defined."""
        self._store = Store(tell=lambda who, user: self._keep(["user", who, user]))
        self._conversations.clear()
        self._anonymizations.clear()
        self._asked_for.clear()
        self._waiting.clear()
        self.effects = Counter(dict.fromkeys(EFFECTS, 0))

    def restore(self, change: Change) -> None:
        """Make a *change* that was kept."""
        match change:
            case ["effect", name]:
                self.effects[name] += 1
            case ["asked", who]:
                self._asked_for.add(who)
            case ["anonymization", _, request]:
                self._request(request)
            case [_, who, None]:
                self._drop(self._store.by_id[who])
            case _:
                self._store.put(change[-1])

    def keep(self, write: Callable[[Change], None]) -> None:
        """Hand every change to *write* from now on, but for what only code gives."""
        self._keep = write

    def _list(self, asked: Asked) -> Answer:
        filters = [name for name in FILTERS if name in asked.query]
        if len(filters) > 1:
            title = "Invalid filters: Cannot provide more than one filter"
            raise Refusal(400, "bad_request", title)

        def take(offset: int, limit: int) -> tuple[list[Stored], bool]:
            if not filters:
                users, more = self._store.page(offset, limit)
            else:
                found = self._store.found(filters[0], asked.query[filters[0]])
                users, more = found[offset : offset + limit], offset + limit < len(found)
            return [_listed(user) for user in users], more

        own = {name: asked.query[name] for name in filters}
        return Answer(200, paged(end_users.LIST.path, asked.query, take, kept=own))

    def _create(self, asked: Asked) -> Answer:
        self._refuse([asked.body], "")
        user = self._store.made(asked.body)
        codes = self._store.taken(user)
        if codes:
            title = f"Create EndUser [id:None] failed with [errors:{','.join(codes)}]"
            raise Refusal(400, "bad_request", title)
        return Answer(201, {"data": self._put("create", user)})

    def _change(self, asked: Asked, effect: str) -> Answer:
        self._refuse([asked.body], "")
        if effect == "update" and asked.body.get("displayName") is None:
            refuse("body (displayName is missing)")
        user = self._store.changed(self._found(asked), asked.body, whole=effect == "update")
        codes = self._store.taken(user)
        if codes:
            title = f"Updating EndUser [id:{user['id']}] failed with [errors:{','.join(codes)}]"
            raise Refusal(400, "bad_request", title)
        return Answer(200, {"data": self._put(effect, user)})

    def _bulk(self, asked: Asked, effect: str) -> Answer:
        items = asked.body.get("data")
        if items is None:
            refuse("body (data is missing)")
        self._refuse(items, "data")
        for index, item in enumerate(items):
            if effect != "create" and not is_id(item.get("id", "")):
                refuse(f"body (data[{index}].id should be a UUID)")
            if effect == "update" and item.get("displayName") is None:
                refuse(f"body (data[{index}].displayName is missing)")
        outcomes = [self._outcome(item, effect) for item in items]
        return Answer(201 if effect == "create" else 200, {"data": outcomes})

    def _outcome(self, item: Mapping[str, Any], effect: str) -> dict[str, Any]:
        """Do what *item* of a bulk request asks, and say what became of it."""
        if effect == "create":
            user = self._store.made(known(item))
        else:
            there = self._store.by_id.get(item["id"].lower())
            if there is None:
                return _failure("NotFound", item["id"], WORDS[404])
            if not known(item):
                return _failure("EmptyPatchSet", item["id"], "The patch set is empty")
            user = self._store.changed(there, item, whole=effect == "update")
        codes = ",".join(self._store.taken(user))
        if codes and effect == "create":
            who = f"[userId={user['id']}] in [orgId={ORGANIZATION}]"
            return _failure(
                "Validation", user["id"], f"Create EndUser {who} failed with [errors={codes}]"
            )
        if codes:
            who = f"[id={user['id']}] in [org={ORGANIZATION}]"
            return _failure(
                "Validation", user["id"], f"Updating EndUser {who} failed with [errors={codes}]"
            )
        return {"data": self._put(effect, user), "_type": "BulkActionSuccess"}

    def _anonymize(self, asked: Asked) -> Answer:
        user = self._found(asked)
        conversations = self._conversations.get(user["id"], [])
        force = asked.query.get("force", "false")
        if force not in ("true", "false"):
            refuse("query parameter force")
        if force == "false" and not all(map(_is_closed, conversations)):
            raise Refusal(409, "conflict", "The end user has open conversations")
        for conversation in conversations:
            conversation["state"] = "Closed"
        request = {
            "id": str(uuid4()),
            "entityType": "UserAnonymizationType",
            "_type": "User",
            "initiatedAt": f"{time_now()}[GMT]",
            "targetEntityId": user["id"],
            "requestedBy": ORGANIZATION,
        }
        self._request(request)
        self._did("anonymize")
        return Answer(202, {"data": request})

    def _anonymization(self, asked: Asked) -> Answer:
        request = self._anonymizations.get(asked.path["request_id"])
        if request is None:
            raise Refusal(404, "not_found", WORDS[404])
        if request["id"] in self._asked_for and "processedAt" not in request:
            if request["id"] in self._waiting.get(request["targetEntityId"], ()):
                self._drop(self._store.by_id[request["targetEntityId"]])
            request = {**request, "processedAt": f"{time_now()}[GMT]"}
            self._request(request)
        self._asked_for.add(request["id"])
        self._keep(["asked", request["id"]])
        return Answer(200, {"data": request})

    def _patch_attributes(self, asked: Asked) -> Answer:
        user = self._found(asked)
        attributes = {one["id"]: one for one in user.get("customAttributes", ())}
        for key, value in asked.body.items():
            id_ = key.lower()
            defined = self._definitions.get(id_)
            if defined is None or not fits(defined, value):
                raise Refusal(400, "bad_request", "Invalid input for patching")
            attributes[id_] = {
                "id": id_,
                "name": defined["label"],
                "identifier": defined["identifier"],
                "value": value,
            }
        kept = [one for one in attributes.values() if one["value"] is not None]
        self._put("patch_custom_attributes", {**user, "customAttributes": kept})
        return Answer(200, {"data": kept})

    def _list_conversations(self, asked: Asked) -> Answer:
        user = self._found(asked)
        there = self._conversations.get(user["id"], [])
        path = end_users.CONVERSATIONS.path.format(end_user_id=user["id"])
        return Answer(
            200,
            paged(
                path,
                asked.query,
                lambda offset, limit: (there[offset : offset + limit], offset + limit < len(there)),
            ),
        )

    def _list_definitions(self, _: Asked) -> Answer:
        return Answer(200, {"data": [*self._definitions.values()]})

    def _found(self, asked: Asked) -> Stored:
        user = self._store.by_id.get(asked.path["end_user_id"])
        if user is None:
            raise Refusal(404, "not_found", WORDS[404])
        return user

    def _refuse(self, items: list[Mapping[str, Any]], within: str) -> None:
        """Raise `Refusal` where one of *items* makes the whole request a 400."""
        for index, item in enumerate(items):
            path = f"{within}[{index}]." if within else ""
            wrong = [*problems(item, path)]
            reason = self.refuses(item) if self.refuses else None
            if reason:
                wrong.append(f"{path}{reason}")
            if wrong:
                refuse(f"body ({'; '.join(wrong)})")

    def _put(self, effect: str, user: Stored) -> Stored:
        self._store.put(user)
        self._did(effect)
        return user

    def _request(self, request: dict[str, Any]) -> None:
        self._anonymizations[request["id"]] = request
        if "processedAt" not in request:
            self._waiting.setdefault(request["targetEntityId"], set()).add(request["id"])
        self._keep(["anonymization", request["id"], request])

    def _drop(self, user: Stored) -> None:
        """Forget *user* with conversations; the next user with that id has none of them."""
        self._store.drop(user)
        self._conversations.pop(user["id"], None)
        self._waiting.pop(user["id"], None)

    def _did(self, effect: str) -> None:
        self.effects[effect] += 1
        self._keep(["effect", effect])


def _listed(user: Stored) -> Stored:
    return {name: value for name, value in user.items() if name != "customAttributes"}


def _is_closed(conversation: Mapping[str, Any]) -> bool:
    return conversation.get("state") == "Closed"


def _failure(kind: str, id_: str, message: str) -> dict[str, Any]:
    error = {"id": id_, "message": message, "_type": kind}
    return {"error": error, "_type": "BulkActionFailure"}
