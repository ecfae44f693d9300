"""Operations of v2 on conversations, participants and activities.

Assumed, where the specification is silent:

- Every CreateConversation begins a conversation, whatever ``multiConvoEnabled`` says.
- ``subscribeSDKClient`` is required in every participant of an ``sdkGroup``.
- A user who joins twice is the same participant; the second call is a 201 too.
- Nobody joins or leaves a personal conversation (400).
- A user who isn't in a conversation can't read the conversation (404).
- DownloadMessageRef downloads nothing: the result is empty.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from attrs import evolve

from sunshine_async.emulator.app_store import API_SOURCE, AppStore
from sunshine_async.emulator.contents import AUTHOR
from sunshine_async.emulator.fields import (
    BOOLEAN,
    DISPLAY_NAME,
    METADATA,
    OBJECTS,
    TEXT,
    JsonObject,
    array_schema,
    format_time,
    object_schema,
    pick,
    refuse,
    text_schema,
    without_none,
)
from sunshine_async.emulator.platform import V2, ApiPart, Platform
from sunshine_async.emulator.records import Record
from sunshine_async.emulator.service import Operation, OperationRequest, Reply
from sunshine_async.emulator.tables import Row, merged_metadata, page

PARTICIPANT: Final = object_schema(userId=TEXT, userExternalId=TEXT, subscribeSDKClient=BOOLEAN)
LEAVE_BODY: Final = object_schema(userId=TEXT, userExternalId=TEXT, participantId=TEXT)
UPDATE_BODY: Final = object_schema(
    displayName=DISPLAY_NAME,
    description=DISPLAY_NAME,
    iconUrl=text_schema(1, 2048, format="uri", nullable=True),
    metadata=METADATA,
)
CREATE_BODY: Final = evolve(
    UPDATE_BODY.with_fields(
        type=text_schema(enum=("personal", "sdkGroup")),
        participants=array_schema(PARTICIPANT, 0, 10),
    ),
    required=("type",),
)
ACTIVITY_BODY: Final = object_schema(
    "author",
    "type",
    author=AUTHOR,
    type=text_schema(enum=("conversation:read", "typing:start", "typing:stop")),
)
_REF: Final = ("url", "bid", "key", "signature", "owner")
DOWNLOAD_BODY: Final = object_schema(
    "userId",
    userId=TEXT,
    apple=object_schema(
        "interactiveDataRef",
        interactiveDataRef=object_schema(*_REF, **dict.fromkeys(_REF, TEXT)),
    ),
)
_EVENT: Final = object_schema("payload", payload=object_schema("data", data=OBJECTS))
EVENTS_BODY: Final = object_schema(messenger=_EVENT, instagram=_EVENT, whatsapp=_EVENT)


class ConversationApi(ApiPart):
    """Conversations of an app, with participants and activities."""

    def __init__(self, platform: Platform, count: Callable[[str], None]) -> None:
        super().__init__(platform, count)
        self.operations = (
            Operation(V2["CreateConversation"], self._create, CREATE_BODY),
            Operation(V2["ListConversations"], self._list),
            Operation(V2["GetConversation"], self._get),
            Operation(V2["UpdateConversation"], self._update, UPDATE_BODY),
            Operation(V2["DeleteConversation"], self._delete),
            Operation(V2["DownloadMessageRef"], self._download, DOWNLOAD_BODY),
            Operation(V2["PostConversionEvents"], self._post_events, EVENTS_BODY),
            Operation(V2["JoinConversation"], self._join, PARTICIPANT),
            Operation(V2["ListParticipants"], self._list_participants),
            Operation(V2["LeaveConversation"], self._leave, LEAVE_BODY),
            Operation(V2["PostActivity"], self._post_activity, ACTIVITY_BODY),
        )

    def _create(self, request: OperationRequest) -> Reply:
        app, body = self._app(request), request.body
        kind, participants = body["type"], body.get("participants", [])
        if kind == "personal" and len(participants) != 1:
            refuse("participants should have exactly 1 item in a personal conversation")
        users = [
            _participating(app, kind, participant, f"participants[{index}]")
            for index, participant in enumerate(participants)
        ]
        if len({user.id for user in users}) < len(users):
            refuse("participants should be users that differ")
        described = {**body, "metadata": merged_metadata({}, body.get("metadata"))}
        subscribed = {
            user.id
            for user, participant in zip(users, participants, strict=True)
            if participant.get("subscribeSDKClient")
        }
        row = app.start_conversation(kind, users, subscribed=subscribed)
        row = app.conversations.describe(row, described)
        user = users[0].user if kind == "personal" else None
        app.publish(
            "conversation:create", row=row, user=user, creationReason="none", source=API_SOURCE
        )
        return self._respond("create_conversation", app, row, 201)

    def _list(self, request: OperationRequest) -> Reply:
        app = self._app(request)
        filters = {name: request.query.get(f"filter[{name}]") for name in _FILTERS}
        record = app.user_in(filters, "filter")
        ids = sorted(record.conversations)  # in the order of creation, which a cursor relies on
        rows, envelope = page([*map(app.conversations.all.get, ids)], request)
        return Reply(200, {"conversations": [*map(app.conversations.view, rows)], **envelope})

    def _get(self, request: OperationRequest) -> Reply:
        app, row = self._conversation(request)
        return Reply(200, {"conversation": app.conversations.view(row)})

    def _update(self, request: OperationRequest) -> Reply:
        app, row = self._conversation(request)
        changed = app.conversations.describe(row, request.body)
        return self._respond("update_conversation", app, changed)

    def _delete(self, request: OperationRequest) -> Reply:
        app, row = self._conversation(request)
        if row["isDefault"]:
            refuse(f"Conversation {row['id']} cannot be deleted because it is the default.")
        app.end_conversation(row)
        return self._done("delete_conversation")

    def _download(self, request: OperationRequest) -> Reply:
        app, _ = self._conversation(request)
        app.user_in(request.body)
        return Reply(200, {})

    def _post_events(self, request: OperationRequest) -> Reply:
        self._conversation(request)
        if len(request.body) != 1:
            refuse("should have one of messenger, instagram and whatsapp")
        [event] = request.body.values()
        received = len(event["payload"]["data"])
        events = {"datasetId": self._platform.new_id(), "eventsReceived": received}
        return self._done("conversion_events", {"conversionEvents": events})

    def _join(self, request: OperationRequest) -> Reply:
        app, row = self._conversation(request)
        _require_group(row)
        record = _participating(app, row["type"], request.body)
        subscribe = request.body["subscribeSDKClient"]
        known = [*row["participants"]]
        participant = app.join(record, row["id"], subscribe=subscribe)
        if participant not in known:
            joined = app.conversations.all.get(row["id"])
            app.publish("conversation:join", row=joined, record=record, user=record.user)
        return self._done("join", {"participant": _participant(app, participant)}, status=201)

    def _list_participants(self, request: OperationRequest) -> Reply:
        app, row = self._conversation(request)
        rows, envelope = page(row["participants"], request)
        return Reply(200, {"participants": [_participant(app, one) for one in rows], **envelope})

    def _leave(self, request: OperationRequest) -> Reply:
        app, row = self._conversation(request)
        _require_group(row)
        participant_id = request.body.get("participantId")
        if participant_id is None:
            user_id = app.user_in(request.body).id
        elif len(request.body) > 1:
            refuse("should have one of userId, userExternalId and participantId")
        else:
            ids = {one["id"]: one["userId"] for one in row["participants"]}
            user_id = ids.get(participant_id, "")
        app.leave(row, user_id)
        record, left = app.by_id[user_id], app.conversations.all.get(row["id"])
        app.publish("conversation:leave", row=left, record=record, user=record.user)
        return self._done("leave")

    def _post_activity(self, request: OperationRequest) -> Reply:
        app, row = self._conversation(request)
        author, kind = author_of(app, row, request.body["author"]), request.body["type"]
        now = format_time()
        if author["type"] == "user" and kind != "conversation:read":
            refuse("type should be conversation:read for an author of the type user")
        if kind == "conversation:read" and author["type"] == "user":
            app.conversations.change_participant(row, author["userId"], unreadCount=0, lastRead=now)
        elif kind == "conversation:read":
            app.conversations.all.put({**row, "businessLastRead": now})
        trigger = kind if kind == "conversation:read" else "conversation:typing"
        activity = {"type": kind, "source": API_SOURCE, "author": app.author(author)}
        app.publish(trigger, row=row, activity=activity)
        return self._done("activity")

    def _respond(self, effect: str, app: AppStore, row: Row, status: int = 200) -> Reply:
        return self._done(effect, {"conversation": app.conversations.view(row)}, status=status)


_FILTERS: Final = ("userId", "userExternalId")


def author_of(app: AppStore, row: Row, author: Mapping[str, Any]) -> JsonObject:
    """Return the author of a message or activity as stored.

    Raise `Refusal`: 400 if a user isn't named, 404 if the user is missing, there or at all.
    """
    shown = pick(author, "type", "subtypes", "displayName", "avatarUrl")
    if author["type"] == "business":
        return shown
    record = app.user_in(author, "author")
    app.conversations.participant(row, record.id)
    profile = record.user["profile"]
    names = " ".join(filter(None, map(profile.get, ("givenName", "surname"))))
    defaults = {"displayName": names or None, "avatarUrl": profile.get("avatarUrl")}
    return without_none({"userId": record.id, **defaults, **shown})


def _require_group(row: Row) -> None:
    if row["type"] != "sdkGroup":
        refuse("conversation should be of the type sdkGroup")


def _participating(app: AppStore, kind: str, body: Mapping[str, Any], path: str = "") -> Record:
    """Return the user of a participant; raise `Refusal`, 400 or 404, for an invalid one."""
    if kind == "sdkGroup" and "subscribeSDKClient" not in body:
        refuse(f"{path} should have required property 'subscribeSDKClient'".lstrip())
    return app.user_in(body, path)


def _participant(app: AppStore, participant: Mapping[str, Any]) -> JsonObject:
    """Return a *participant* in the format of the API."""
    user = app.by_id[participant["userId"]].user
    return without_none({**participant, "userExternalId": user.get("externalId")})
