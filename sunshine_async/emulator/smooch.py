"""API of Smooch v1.1 app users: the older interface to the users of Sunshine Conversations v2.

Both APIs share a platform with a single store, `platform`: each API has the users of both, with
all clients, pending clients and conversations. ``_id`` is ``id``, ``userId`` is ``externalId``,
``properties`` are ``metadata``; names, e-mail and avatar are the profile.

A path without the app (``/v1.1/appusers/...``) is of the app of the credentials. ``authCode`` is
``authcode``.

Assumed, where the reference is silent:

- Credentials that the emulator didn't issue are of the first app that holds anything, or of a new
  app.
- v2's rules for length and form of a value, and for null, hold here too. So do the codes of errors.
- Users with a brand are found by ``_id`` only.
- A taken ``userId`` is a 409. So is a change of a user during another change of the same user:
  from the request to the end of the response, latency included.
- Only the channels of `smooch_bodies.LINKABLE` can be linked. The response has the client in
  ``pendingClients``; with the confirmation ``immediate``, the client is in ``clients`` from then
  on. A new link replaces the previous link of that channel.
- Unlinking a channel without a link is a 400.
- An integration with an id that begins with a channel's name (``telegram-1``) is of that channel;
  any other integration is of ``messenger``.
- A merge gives the survivor all clients, business systems and conversations of both users, and
  the values that the survivor lacked: names, properties, ``userId``. The result is as in v2's sync.
- ``conversationStarted`` means that there is a conversation. An image is a message of the default
  conversation, which begins with the first image; a role but ``appUser`` is the business.
- Properties have v2's limit of 4 KB. The limits of a key and of a value aren't kept: only a
  customer's own documentation has these limits.
- The type of an image is ``image/...`` or ``application/octet-stream``. A file without a type is of
  the latter.
- Only `Smooch.add` gives a user business systems.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar, Final
from urllib.parse import quote

from attrs import evolve, frozen

from sunshine_async.emulator.app_store import API_SOURCE, AppStore
from sunshine_async.emulator.conversations import author_of
from sunshine_async.emulator.fields import JsonObject, Refusal, omit, pick, refuse
from sunshine_async.emulator.platform import Platform, PlatformApi
from sunshine_async.emulator.records import Record, apply_update, not_found
from sunshine_async.emulator.service import Operation, OperationRequest, Reply
from sunshine_async.emulator.smooch_bodies import (
    ENTITIES,
    LINK_BODY,
    MERGE_BODY,
    PRE_CREATE_BODY,
    STORED,
    UPDATE_BODY,
    URLS,
    as_v1,
    as_v2,
    external_id_of_link,
    image_part,
    in_v1_terms,
    require,
)
from sunshine_async.emulator.webhook_events import v1_message
from sunshine_async.smooch import app_users

_IMPLICIT: Final = "/v1.1/appusers"
"""The beginning of a path without the app."""


@frozen
class ImageRecord:
    """A posted image: the user, and the measured file."""

    user_id: str
    role: str
    file_name: str
    content_type: str
    size: int
    sha256: str


class Smooch(PlatformApi):
    """The v1.1 API for the users of every app."""

    prefix = "/v1.1/"
    effect_names: ClassVar = (
        "create", "update", "delete", "delete_profile", "link", "unlink", "merge", "post_image",
    )  # fmt: skip
    _envelope = "appUser"

    def __init__(self, platform: Platform) -> None:
        super().__init__(platform)
        clear_profile = partial(self._clear_profile, "delete_profile")
        self.operations = (
            Operation(app_users.PRE_CREATE, self._pre_create, PRE_CREATE_BODY),
            Operation(app_users.GET, self._get),
            Operation(app_users.UPDATE, self._update, UPDATE_BODY, lock_key=self._user_id),
            Operation(app_users.DELETE, self._delete, lock_key=self._user_id),
            Operation(app_users.DELETE_PROFILE, clear_profile, lock_key=self._user_id),
            Operation(app_users.AUTH_CODE, self._auth_code),
            Operation(app_users.ENTITY_IDS, self._entity_ids),
            Operation(app_users.BUSINESS_SYSTEM_IDS, self._business_system_ids),
            Operation(app_users.LINK_REQUESTS, self._link_requests),
            Operation(app_users.LINK, self._link, LINK_BODY),
            Operation(app_users.UNLINK, self._unlink),
            Operation(app_users.MERGE, self._merge, MERGE_BODY),
            Operation(app_users.POST_IMAGE, self._post_image, takes_form=True),
        )
        self.images: Final[list[ImageRecord]] = []
        """The posted images in order. The state file doesn't keep images."""

    def spelled(self, path: str, authorization: str) -> str:
        if path.endswith("/authCode"):
            path = path.removesuffix("Code") + "code"
        if path == _IMPLICIT or path.startswith(f"{_IMPLICIT}/"):
            app_id = quote(self._platform.app_of(authorization).id, safe="")
            path = f"/v1.1/apps/{app_id}{path.removeprefix('/v1.1')}"
        return path

    def error_response(self, refusal: Refusal) -> Reply:
        error = {"code": refusal.code, "description": str(refusal)}
        return Reply(refusal.status, {"error": error})

    def clear(self) -> None:
        super().clear()
        self.images.clear()

    def _pre_create(self, request: OperationRequest) -> Reply:
        require(request.body, "userId")
        with in_v1_terms():
            return self._create(self._app(request), as_v2(request.body))

    def _update(self, request: OperationRequest) -> Reply:
        app, record = self._find(request)
        with in_v1_terms():
            user = apply_update(record.user, as_v2(request.body))
        return self._put("update", app, evolve(record, user=user))

    def _auth_code(self, request: OperationRequest) -> Reply:
        self._find(request)
        return Reply(200, {"authCode": f"ac_{self._platform.new_id()}"})

    def _entity_ids(self, request: OperationRequest) -> Reply:
        _, record = self._find(request)
        channels = [
            {
                "type": client["platform"],
                **pick(client, "integrationId"),
                ENTITIES[client["platform"]]: client.get("externalId"),
            }
            for client in record.clients
            if client.get("platform") in ENTITIES
        ]
        return Reply(200, {"channels": channels})

    def _business_system_ids(self, request: OperationRequest) -> Reply:
        _, record = self._find(request)
        return Reply(200, {"businessSystems": record.business_systems})

    def _link_requests(self, request: OperationRequest) -> Reply:
        self._find(request)
        ids = filter(None, request.query.get("integrationIds", "").split(","))
        requests = [self._link_request(integration_id) for integration_id in ids]
        if not requests:
            refuse("should have required query parameter integrationIds")
        return Reply(200, {"linkRequests": requests})

    def _link_request(self, integration_id: str) -> dict[str, str]:
        channel = next(filter(integration_id.startswith, ENTITIES), "messenger")
        code = f"lr_{self._platform.new_id()}"
        url = URLS.get(channel, "https://link.example/{}").format(code)
        return {"integrationId": integration_id, "type": channel, "code": code, "url": url}

    def _link(self, request: OperationRequest) -> Reply:
        app, record = self._find(request)
        external_id = external_id_of_link(request.body)
        client = app.new_client(request.body, external_id)
        others = record.without_channel(client["platform"])
        pending = [*others.pending_clients, client]
        response = self._put("link", app, evolve(others, pending_clients=pending))
        app.publish_client("client:add", client, record, reason="channelLinking")
        if request.body["confirmation"]["type"] == "immediate":
            active = {**client, "status": "active"}
            app.put(evolve(others, clients=[*others.clients, active]))
            app.publish_client("client:update", active, record, reason="confirmed")
        return response

    def _unlink(self, request: OperationRequest) -> Reply:
        app, record = self._find(request)
        channel = request.path["channel"]
        others = record.without_channel(channel)
        if others == record:
            refuse(f"the app user isn't linked to {channel}")
        app.put(others)
        for client in record.all_clients:
            if client.get("platform") == channel:
                app.publish_client("client:remove", client, others, reason="api")
        return self._done("unlink")

    def _merge(self, request: OperationRequest) -> Reply:
        app = self._app(request)
        pair: list[Record] = []
        for name in ("surviving", "discarded"):
            require(request.body, name)
            require(request.body[name], "_id", within=name)
            record = app.by_id.get(request.body[name]["_id"])
            if record is None:
                raise not_found()
            pair.append(record)
        survivor, discarded = pair
        if survivor is discarded:
            refuse("surviving and discarded should be two users")
        app.merge(survivor, discarded)
        return self._done("merge")

    def _post_image(self, request: OperationRequest) -> Reply:
        app, record = self._find(request)
        role, source = image_part(request.body)
        name, kind = source.file_name or "", source.content_type
        self.images.append(ImageRecord(record.id, role, name, kind, source.size, source.digest))
        row = app.default_conversation(record)
        by = {"type": "user", "userId": record.id} if role == "appUser" else {"type": "business"}
        content = {
            "type": "image",
            "mediaUrl": f"https://media.example/{self._platform.new_id()}",
            "mediaType": source.content_type,
            "mediaSize": source.size,
            "altText": source.file_name,
        }
        author = author_of(app, row, by)
        stored = app.post(row, {"author": author, "content": content, "source": API_SOURCE})
        self._count("post_image")
        [participant] = app.conversations.all.get(row["id"])["participants"]
        conversation = {"_id": row["id"], **pick(participant, "unreadCount")}
        message = omit(v1_message(stored), "mediaSize")
        return Reply(201, {"message": message, "conversation": conversation})

    def _find(self, request: OperationRequest) -> tuple[AppStore, Record]:
        app = self._app(request)
        return app, app.get(request.path["user_id"])

    def _user_id(self, request: OperationRequest) -> str:
        _, record = self._find(request)
        return record.id

    def _new_record(self, user: Mapping[str, Any]) -> Record:
        checked = STORED.validate(user)
        with in_v1_terms():
            stored = self._platform.new_user(as_v2(checked))
        return Record(
            user=stored,
            clients=checked.get("clients", []),
            pending_clients=checked.get("pendingClients", []),
            business_systems=checked.get("businessSystems", []),
            conversations=[self._platform.new_id()] if checked.get("conversationStarted") else [],
        )

    def _view(self, record: Record) -> JsonObject:
        return {
            **as_v1(record.user),
            "conversationStarted": bool(record.conversations),
            "clients": record.clients,
            "pendingClients": record.pending_clients,
        }
