"""Smooch v1.1 app users: the users of Sunshine Conversations v2 by their older interface.

Both are one platform with one store, `platform`: a user made by one API is there for the other,
with all clients, pending clients and conversations. ``_id`` is ``id``,
``userId`` is ``externalId``, ``properties`` are ``metadata``; names, e-mail and avatar are the
profile. Where the reference leaves something open, this is assumed:

- What v2 says of the length and the form of a value holds here too, and of what null clears.
- Users with a brand are found by ``_id`` only.
- A ``userId`` that is taken is a 409. So is a change of a user while another one is under way:
  from when it comes until it has been answered, the latency included.
- Only what `smooch_bodies.LINKABLE` has can be linked. The answer has the client among
  ``pendingClients``; where its confirmation is ``immediate``, it is one of ``clients`` from then
  on. What was linked before on that channel gives way.
- To unlink what isn't linked is a 400.
- An integration whose id begins with a channel's name (``telegram-1``) is of that channel; any
  other is of ``messenger``.
- A merge leaves the survivor with all clients, business systems and conversations of both, and with
  what else the survivor lacked: names, properties, ``userId``. It ends as a merge in v2's sync.
- ``conversationStarted`` says that there is a conversation; an image is the first message of one.
- Properties have v2's limit of 4 KB; the limits of one key and one value, which only a customer's
  own documentation has, are not kept.
- An image is said to be one (``image/...``), or to be ``application/octet-stream``.
- Only `Smooch.add` gives a user business systems.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from attrs import evolve, frozen

from sunshine_async.emulator.fields import Refusal
from sunshine_async.emulator.platform import (
    App,
    Platform,
    Record,
    Several,
    not_found,
    with_changes,
)
from sunshine_async.emulator.service import Answer, Asked, Change, Operation
from sunshine_async.emulator.smooch_bodies import (
    ENTITIES,
    LINK_BODY,
    MERGE_BODY,
    PRE_CREATE_BODY,
    STORED,
    UPDATE_BODY,
    URLS,
    as_v2,
    of_v1,
    parts_of,
    require,
    some,
    who_is_linked,
)
from sunshine_async.smooch import app_users

EFFECTS: Final = (
    "create", "update", "delete", "delete_profile", "link", "unlink", "merge", "post_image",
)  # fmt: skip


@frozen
class Image:
    """An image that was posted: whose, and what it was."""

    user_id: str
    role: str
    file_name: str
    content_type: str
    size: int
    sha256: str


class Smooch:
    """The v1.1 API for the users of every app."""

    def __init__(self, platform: Platform) -> None:
        self.prefix: Final = "/v1.1/"
        self.operations: Final = (
            Operation(app_users.PRE_CREATE, self._pre_create, PRE_CREATE_BODY),
            Operation(app_users.GET, self._get),
            Operation(app_users.UPDATE, self._update, UPDATE_BODY, changes=self._who),
            Operation(app_users.DELETE, self._delete, changes=self._who),
            Operation(app_users.DELETE_PROFILE, self._delete_profile, changes=self._who),
            Operation(app_users.AUTH_CODE, self._auth_code),
            Operation(app_users.ENTITY_IDS, self._entity_ids),
            Operation(app_users.BUSINESS_SYSTEM_IDS, self._business_system_ids),
            Operation(app_users.LINK_REQUESTS, self._link_requests),
            Operation(app_users.LINK, self._link, LINK_BODY),
            Operation(app_users.UNLINK, self._unlink),
            Operation(app_users.MERGE, self._merge, MERGE_BODY),
            Operation(app_users.POST_IMAGE, self._post_image, takes_form=True),
        )
        self.images: Final[list[Image]] = []
        """What was posted, in that order."""
        self._platform: Final = platform
        self._keep: Callable[[Change], None] = lambda _: None
        self.effects: Counter[str] = Counter()
        self.clear()

    def __len__(self) -> int:
        return len(self._platform)

    def users(self, app_id: str | None = None) -> Iterator[Mapping[str, Any]]:
        return map(_shown, self._platform.records(app_id))

    def add(self, user: Mapping[str, Any], *, app_id: str) -> Mapping[str, Any]:
        """Store *user*, given as on the wire, and return it as stored. It is no effect.

        It may have what only the service sets: ``_id``, ``conversationStarted``, ``clients``,
        ``pendingClients``, ``businessSystems``. Raise `ValueError` for what a user can't be, and
        where one of its ids is taken.
        """
        try:
            checked = STORED.checked(user)
            made = of_v1(lambda: self._platform.made(as_v2(checked)))
        except Refusal as refusal:
            raise ValueError(str(refusal)) from None
        record = Record(
            user=made,
            clients=checked.get("clients", []),
            pending_clients=checked.get("pendingClients", []),
            business_systems=checked.get("businessSystems", []),
            conversations=[self._platform.new_id()] if checked.get("conversationStarted") else [],
        )
        self._platform.add(record, app_id=app_id)
        return _shown(record)

    def path(self, values: Mapping[str, str]) -> Mapping[str, str]:
        return values

    def problem(self, refusal: Refusal) -> Answer:
        error = {"code": refusal.code, "description": str(refusal)}
        return Answer(refusal.status, {"error": error})

    def clear(self) -> None:
        self.images.clear()
        self.effects = Counter(dict.fromkeys(EFFECTS, 0))

    def restore(self, change: Change) -> None:
        """Count an effect that was kept."""
        self.effects[change[0]] += 1

    def keep(self, write: Callable[[Change], None]) -> None:
        """Hand every effect to *write* from now on; images are not kept."""
        self._keep = write

    def _pre_create(self, asked: Asked) -> Answer:
        require(asked.body, "userId")
        app = self._platform.app(asked.path["app_id"])
        body = as_v2(asked.body)
        if app.with_external_id_of(body):
            raise Refusal(409, "conflict", "User already exists")
        record = Record(user=of_v1(lambda: self._platform.made(body)))
        return self._changed("create", app, record, status=201)

    def _get(self, asked: Asked) -> Answer:
        _, record = self._found(asked)
        return Answer(200, {"appUser": _shown(record)})

    def _update(self, asked: Asked) -> Answer:
        app, record = self._found(asked)
        user = of_v1(lambda: with_changes(record.user, as_v2(asked.body)))
        return self._changed("update", app, evolve(record, user=user))

    def _delete(self, asked: Asked) -> Answer:
        app, record = self._found(asked)
        app.drop(record)
        return self._did("delete")

    def _delete_profile(self, asked: Asked) -> Answer:
        app, record = self._found(asked)
        return self._changed("delete_profile", app, record.without_personal_information())

    def _auth_code(self, asked: Asked) -> Answer:
        self._found(asked)
        return Answer(200, {"authCode": f"ac_{self._platform.new_id()}"})

    def _entity_ids(self, asked: Asked) -> Answer:
        _, record = self._found(asked)
        channels = [
            {
                "type": client["platform"],
                **some(client, "integrationId"),
                ENTITIES[client["platform"]]: client.get("externalId"),
            }
            for client in record.clients
            if client.get("platform") in ENTITIES
        ]
        return Answer(200, {"channels": channels})

    def _business_system_ids(self, asked: Asked) -> Answer:
        _, record = self._found(asked)
        return Answer(200, {"businessSystems": record.business_systems})

    def _link_requests(self, asked: Asked) -> Answer:
        self._found(asked)
        ids = [one for one in asked.query.get("integrationIds", "").split(",") if one]
        if not ids:
            raise Refusal(400, "bad_request", "should have required query parameter integrationIds")
        return Answer(200, {"linkRequests": [self._link_request(one) for one in ids]})

    def _link_request(self, integration_id: str) -> dict[str, str]:
        channel = next((one for one in ENTITIES if integration_id.startswith(one)), "messenger")
        code = f"lr_{self._platform.new_id()}"
        url = URLS.get(channel, "https://link.example/{}").format(code)
        return {"integrationId": integration_id, "type": channel, "code": code, "url": url}

    def _link(self, asked: Asked) -> Answer:
        app, record = self._found(asked)
        who = who_is_linked(asked.body)
        channel = asked.body["type"]
        client = {
            "id": self._platform.new_id(),
            "platform": channel,
            "status": "pending",
            "displayName": who,
            "externalId": who,
            **some(asked.body, "integrationId", "primary"),
        }
        others = _without(record, channel)
        pending = evolve(others, pending_clients=[*others.pending_clients, client])
        answer = self._changed("link", app, pending)
        if asked.body["confirmation"]["type"] == "immediate":
            active = {**client, "status": "active"}
            app.put(evolve(others, clients=[*others.clients, active]))
        return answer

    def _unlink(self, asked: Asked) -> Answer:
        app, record = self._found(asked)
        channel = asked.path["channel"]
        others = _without(record, channel)
        if others == record:
            raise Refusal(400, "bad_request", f"the app user isn't linked to {channel}")
        app.put(others)
        return self._did("unlink")

    def _merge(self, asked: Asked) -> Answer:
        app = self._platform.app(asked.path["app_id"])
        pair: list[Record] = []
        for name in ("surviving", "discarded"):
            require(asked.body, name)
            require(asked.body[name], "_id", within=name)
            record = app.by_id.get(asked.body[name]["_id"])
            if record is None:
                raise not_found()
            pair.append(record)
        survivor, discarded = pair
        if survivor is discarded:
            raise Refusal(400, "bad_request", "surviving and discarded should be two users")
        app.merge(survivor, discarded)
        return self._did("merge")

    def _post_image(self, asked: Asked) -> Answer:
        app, record = self._found(asked)
        role, source = parts_of(asked.body)
        self.images.append(
            Image(
                record.id,
                role,
                source.file_name or "",
                source.content_type,
                source.size,
                source.digest,
            )
        )
        if not record.conversations:
            record = evolve(record, conversations=[self._platform.new_id()])
            app.put(record)
        self._did("post_image")
        message_id = self._platform.new_id()
        message = {
            "_id": message_id,
            "authorId": record.id,
            "role": role,
            "type": "image",
            "mediaUrl": f"https://media.example/{message_id}",
            "mediaType": source.content_type,
            "altText": source.file_name,
            "received": round(datetime.now(UTC).timestamp(), 3),
            "source": {"type": "api"},
        }
        conversation = {"_id": record.conversations[0], "unreadCount": 0}
        return Answer(201, {"message": message, "conversation": conversation})

    def _found(self, asked: Asked) -> tuple[App, Record]:
        app = self._platform.app(asked.path["app_id"])
        return app, app.found(asked.path["user_id"])

    def _who(self, asked: Asked) -> str:
        _, record = self._found(asked)
        return record.id

    def _changed(self, effect: str, app: App, record: Record, *, status: int = 200) -> Answer:
        app.put(record)
        self._did(effect)
        return Answer(status, {"appUser": _shown(record)})

    def _did(self, effect: str) -> Answer:
        self.effects[effect] += 1
        self._keep([effect])
        return Answer(200, {})


def _shown(record: Record) -> Mapping[str, Any]:
    """Return a user as v1.1 has it."""
    user = record.user
    profile = {name: value for name, value in user["profile"].items() if name != "locale"}
    return {
        "_id": record.id,
        **({"userId": user["externalId"]} if "externalId" in user else {}),
        **profile,
        "signedUpAt": user["signedUpAt"],
        "properties": user["metadata"],
        "conversationStarted": bool(record.conversations),
        "clients": record.clients,
        "pendingClients": record.pending_clients,
    }


def _without(record: Record, channel: str) -> Record:
    """Return *record* without the clients of *channel*."""

    def others(clients: Several) -> Several:
        return [client for client in clients if client.get("platform") != channel]

    return evolve(
        record,
        clients=others(record.clients),
        pending_clients=others(record.pending_clients),
    )
