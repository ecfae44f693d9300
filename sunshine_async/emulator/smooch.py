"""Smooch v1.1 app users: the users of Sunshine Conversations v2 by their older interface.

It is one platform: a user made here is there, and the other way round. ``_id`` is ``id``,
``userId`` is ``externalId``, ``properties`` are ``metadata``; names, e-mail and avatar are the
profile. Where the reference leaves something open, this is assumed:

- What v2 says of the length and the form of a value holds here too, and of what null clears.
- Users with a brand are found by ``_id`` only.
- A ``userId`` that is taken is a 409. So is a change of a user while another one is under way:
  from when it comes until it has been answered, the latency included.
- Only what `smooch_bodies.LINKABLE` has can be linked. The answer has the client among ``pendingClients``; where
  its confirmation is ``immediate``, it is one of ``clients`` from then on. What was linked before
  on that channel gives way.
- To unlink what isn't linked is a 400.
- An integration whose id begins with a channel's name (``telegram-1``) is of that channel; any
  other is of ``messenger``.
- A merge leaves the survivor with the clients and the conversation of both, and, where it has none
  of its own, with the names, properties and ``userId`` of who is discarded.
- An image is said to be one (``image/...``), or to be ``application/octet-stream``.
- Only `Smooch.add` gives a user business systems.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from attrs import asdict, define, field, frozen

from sunshine_async.emulator.refusal import Refusal
from sunshine_async.emulator.service import Answer, Asked, Operation
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
    without,
)
from sunshine_async.emulator.state import Change
from sunshine_async.emulator.sunshine import App, Stored, Sunshine, merged, not_found, with_changes
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


@define(eq=False)
class _Beside:
    """What v1.1 shows of a user, and v2 doesn't."""

    conversation_started: bool = False
    clients: list[dict[str, Any]] = field(factory=list)
    pending: list[dict[str, Any]] = field(factory=list)
    business_systems: list[dict[str, Any]] = field(factory=list)
    conversation_id: str = ""


class Smooch:
    """The users of `Sunshine` by the v1.1 interface, and what only that has."""

    def __init__(self, sunshine: Sunshine) -> None:
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
        self._sunshine: Final = sunshine
        self._beside: defaultdict[str, _Beside] = defaultdict(_Beside)
        self._keep: Callable[[Change], None] = lambda _: None
        self.effects: Counter[str] = Counter()
        self.clear()

    def __len__(self) -> int:
        return len(self._sunshine)

    def users(self, app_id: str | None = None) -> Iterator[Mapping[str, Any]]:
        return map(self._shown, self._sunshine.users(app_id))

    def add(self, user: Mapping[str, Any], *, app_id: str) -> Mapping[str, Any]:
        """Store *user*, given as on the wire, and return it as stored. It is no effect.

        It may have what only the service sets: ``_id``, ``conversationStarted``, ``clients``,
        ``pendingClients``, ``businessSystems``. Raise `ValueError` for what a user can't be, and
        where one of its ids is taken.
        """
        try:
            checked = STORED.checked(user)
        except Refusal as refusal:
            message = "; ".join(refusal.titles)
            raise ValueError(message) from None
        stored = self._sunshine.add(as_v2(checked), app_id=app_id)
        beside = self._beside[stored["id"]]
        beside.conversation_started = checked.get("conversationStarted", False)
        beside.clients = checked.get("clients", [])
        beside.pending = checked.get("pendingClients", [])
        beside.business_systems = checked.get("businessSystems", [])
        self._kept(stored["id"])
        return self._shown(stored)

    def problem(self, refusal: Refusal) -> Answer:
        error = {"code": refusal.code, "description": "; ".join(refusal.titles)}
        return Answer(refusal.status, {"error": error})

    def clear(self) -> None:
        self.images.clear()
        self._beside.clear()
        self.effects = Counter(dict.fromkeys(EFFECTS, 0))

    def restore(self, change: Change) -> None:
        """Make a *change* that was kept."""
        if len(change) == 1:
            self.effects[change[0]] += 1
            return
        who, beside = change
        self._beside[who] = _Beside(**beside)

    def keep(self, write: Callable[[Change], None]) -> None:
        """Hand every change to *write* from now on, but for the images."""
        self._keep = write

    def _pre_create(self, asked: Asked) -> Answer:
        require(asked.body, "userId")
        app = self._sunshine.app(asked.path["app_id"])
        body = as_v2(asked.body)
        if app.has_external_id_of(body):
            raise Refusal(409, "conflict", "User already exists")
        user = of_v1(lambda: self._sunshine.made(body))
        app.put(user)
        return self._changed("create", user, status=201)

    def _get(self, asked: Asked) -> Answer:
        _, user = self._found(asked)
        return Answer(200, {"appUser": self._shown(user)})

    def _update(self, asked: Asked) -> Answer:
        app, user = self._found(asked)
        updated = of_v1(lambda: with_changes(user, as_v2(asked.body)))
        app.put(updated)
        return self._changed("update", updated)

    def _delete(self, asked: Asked) -> Answer:
        app, user = self._found(asked)
        app.drop(user)
        self._beside.pop(user["id"], None)
        return self._did("delete")

    def _delete_profile(self, asked: Asked) -> Answer:
        app, user = self._found(asked)
        cleared: Stored = {**user, "profile": {}, "metadata": {}}
        app.put(cleared)
        beside = self._beside[user["id"]]
        personal = {"displayName", "avatarUrl", "info", "raw"}
        beside.clients = [
            {name: value for name, value in client.items() if name not in personal}
            for client in beside.clients
        ]
        self._kept(user["id"])
        return self._changed("delete_profile", cleared)

    def _auth_code(self, asked: Asked) -> Answer:
        self._found(asked)
        return Answer(200, {"authCode": f"ac_{self._sunshine.new_id()}"})

    def _entity_ids(self, asked: Asked) -> Answer:
        _, user = self._found(asked)
        channels = [
            {
                "type": client["platform"],
                **some(client, "integrationId"),
                ENTITIES[client["platform"]]: client.get("externalId"),
            }
            for client in self._beside[user["id"]].clients
            if client.get("platform") in ENTITIES
        ]
        return Answer(200, {"channels": channels})

    def _business_system_ids(self, asked: Asked) -> Answer:
        _, user = self._found(asked)
        return Answer(200, {"businessSystems": self._beside[user["id"]].business_systems})

    def _link_requests(self, asked: Asked) -> Answer:
        self._found(asked)
        ids = [one for one in asked.query.get("integrationIds", "").split(",") if one]
        if not ids:
            raise Refusal(400, "bad_request", "should have required query parameter integrationIds")
        return Answer(200, {"linkRequests": [self._link_request(one) for one in ids]})

    def _link_request(self, integration_id: str) -> dict[str, str]:
        channel = next((one for one in ENTITIES if integration_id.startswith(one)), "messenger")
        code = f"lr_{self._sunshine.new_id()}"
        url = URLS.get(channel, "https://link.example/{}").format(code)
        return {"integrationId": integration_id, "type": channel, "code": code, "url": url}

    def _link(self, asked: Asked) -> Answer:
        _, user = self._found(asked)
        who = who_is_linked(asked.body)
        channel = asked.body["type"]
        client = {
            "id": self._sunshine.new_id(),
            "platform": channel,
            "status": "pending",
            "displayName": who,
            "externalId": who,
            **some(asked.body, "integrationId", "primary"),
        }
        beside = self._beside[user["id"]]
        beside.clients = without(beside.clients, channel)
        beside.pending = [*without(beside.pending, channel), client]
        answer = self._changed("link", user)
        if asked.body["confirmation"]["type"] == "immediate":
            beside.pending = without(beside.pending, channel)
            beside.clients = [*beside.clients, {**client, "status": "active"}]
        self._kept(user["id"])
        return answer

    def _unlink(self, asked: Asked) -> Answer:
        _, user = self._found(asked)
        beside = self._beside[user["id"]]
        channel = asked.path["channel"]
        before = len(beside.clients) + len(beside.pending)
        beside.clients = without(beside.clients, channel)
        beside.pending = without(beside.pending, channel)
        if len(beside.clients) + len(beside.pending) == before:
            raise Refusal(400, "bad_request", f"the app user isn't linked to {channel}")
        self._kept(user["id"])
        return self._did("unlink")

    def _merge(self, asked: Asked) -> Answer:
        app = self._sunshine.app(asked.path["app_id"])
        pair: list[Stored] = []
        for name in ("surviving", "discarded"):
            require(asked.body, name)
            require(asked.body[name], "_id", within=name)
            user = app.by_id.get(asked.body[name]["_id"])
            if user is None:
                raise not_found()
            pair.append(user)
        survivor, discarded = pair
        if survivor is discarded:
            raise Refusal(400, "bad_request", "surviving and discarded should be two users")
        app.drop(discarded)
        app.put(merged(survivor, discarded))
        kept, left = self._beside[survivor["id"]], self._beside.pop(discarded["id"], _Beside())
        kept.clients = kept.clients + left.clients
        kept.pending = kept.pending + left.pending
        kept.business_systems = kept.business_systems + left.business_systems
        kept.conversation_started |= left.conversation_started
        self._kept(survivor["id"])
        return self._did("merge")

    def _post_image(self, asked: Asked) -> Answer:
        _, user = self._found(asked)
        role, source = parts_of(asked.body)
        self.images.append(
            Image(
                user["id"],
                role,
                source.file_name or "",
                source.content_type,
                source.size,
                source.digest,
            )
        )
        beside = self._beside[user["id"]]
        beside.conversation_started = True
        beside.conversation_id = beside.conversation_id or self._sunshine.new_id()
        self._kept(user["id"])
        self._did("post_image")
        message_id = self._sunshine.new_id()
        message = {
            "_id": message_id,
            "authorId": user["id"],
            "role": role,
            "type": "image",
            "mediaUrl": f"https://media.example/{message_id}",
            "mediaType": source.content_type,
            "altText": source.file_name,
            "received": round(datetime.now(UTC).timestamp(), 3),
            "source": {"type": "api"},
        }
        conversation = {"_id": beside.conversation_id, "unreadCount": 0}
        return Answer(201, {"message": message, "conversation": conversation})

    def _found(self, asked: Asked) -> tuple[App, Stored]:
        app = self._sunshine.app(asked.path["app_id"])
        key = asked.path["user_id"]
        user = app.by_id.get(key) or app.by_external_id.get((None, key))
        if user is None:
            raise not_found()
        return app, user

    def _who(self, asked: Asked) -> str:
        _, user = self._found(asked)
        return str(user["id"])

    def _shown(self, user: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a stored user as v1.1 has it."""
        beside = self._beside.get(user["id"]) or _Beside()
        profile = {name: value for name, value in user["profile"].items() if name != "locale"}
        return {
            "_id": user["id"],
            **({"userId": user["externalId"]} if "externalId" in user else {}),
            **profile,
            "signedUpAt": user["signedUpAt"],
            "properties": user["metadata"],
            "conversationStarted": beside.conversation_started,
            "clients": beside.clients,
            "pendingClients": beside.pending,
        }

    def _changed(self, effect: str, user: Stored, *, status: int = 200) -> Answer:
        self._did(effect)
        return Answer(status, {"appUser": self._shown(user)})

    def _did(self, effect: str) -> Answer:
        self.effects[effect] += 1
        self._keep([effect])
        return Answer(200, {})

    def _kept(self, who: str) -> None:
        self._keep([who, asdict(self._beside[who])])
