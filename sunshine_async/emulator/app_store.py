"""Store of an app: users with all parts, conversations, and tables of everything else."""

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any, Final

import orjson
from attrs import asdict, define, evolve, field

from sunshine_async.emulator.conversation_store import ConversationStore
from sunshine_async.emulator.fields import JsonObject, format_time, pick, refuse, without_none
from sunshine_async.emulator.records import Record, external_key, identity_key, not_found
from sunshine_async.emulator.service import Change
from sunshine_async.emulator.tables import Row, Table
from sunshine_async.emulator.webhook_events import PlatformEvent

SDK_PLATFORMS = frozenset({"web", "android", "ios", "unity", "sdk"})
"""The platforms of v1.1 that are clients of the type ``sdk`` in v2."""
API_SOURCE: Final[Mapping[str, str]] = {"type": "api:conversations"}
"""The source of messages, activities and events of the API."""
_SHOWN: Final = (
    "status", "integrationId", "externalId", "lastSeen", "linkedAt", "displayName", "avatarUrl",
    "info", "raw",
)  # fmt: skip


@define(eq=False)
class AppStore:
    """The users of an app, and the tables of everything else."""

    id: str
    new_id: Callable[[], str]
    write: Callable[[Change], None]
    """Called with each change: a user's id and record, or a table, a row's id and the row."""
    max_messages: int
    tell: Callable[[PlatformEvent], None]
    """Called with each event of webhooks."""
    by_id: dict[str, Record] = field(factory=dict)
    by_zendesk_id: dict[str | None, Record] = field(factory=dict)
    tables: dict[str, Table] = field(factory=dict)
    _by_external_id: dict[tuple[str | None, str | None], Record] = field(factory=dict)
    conversations: ConversationStore = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.conversations = ConversationStore(self.table, self.new_id, self.max_messages)

    def table(self, name: str, *owner: str) -> Table:
        """Return a table of the app, or of an *owner* in the app."""
        key = "/".join([name, *owner])
        if key not in self.tables:
            self.tables[key] = Table(name, lambda row_id, row: self.write([key, row_id, row]))
        return self.tables[key]

    def get(self, key: str, brand_id: str | None = None) -> Record:
        """Return the user with an id or an external id; raise `Refusal` (404) if there is none."""
        record = self.by_id.get(key) or self._by_external_id.get((brand_id, key))
        if record is None:
            raise not_found()
        return record

    @property
    def details(self) -> Row:
        """The app in the format of the API."""
        empty: Row = {"id": self.id, "displayName": self.id, "settings": {}, "metadata": {}}
        return self.table("apps").rows.get(self.id, empty)

    @property
    def is_deleted(self) -> bool:
        return "deleted" in self.table("apps").rows.get(self.id, ())

    @property
    def is_empty(self) -> bool:
        """True if the app holds nothing."""
        return not self.by_id and not any(table.rows for table in self.tables.values())

    def webhooks(self) -> Iterator[tuple[str, Row]]:
        """Yield each webhook with the id of the integration; empty for a webhook of v1.1."""
        for integration_id in ("", *self.table("integrations").rows):
            for row in self.table("webhooks", integration_id).rows.values():
                yield integration_id, row

    def standby(self) -> frozenset[str]:
        """Return the integrations that receive no events of conversations in other control."""
        responders = self.conversations.responders().values()
        return frozenset(
            one["integrationId"] for one in responders if not one["deliverStandbyEvents"]
        )

    def publish(
        self, trigger: str, *, row: Row | None = None, record: Record | None = None, **payload: Any
    ) -> None:
        """Tell the webhooks of a change, of a conversation (*row*) or of the user of *record*."""
        if not any(True for _ in self.webhooks()):
            return
        if row is not None:
            view = self.conversations.view(row)
            keys = ("activeSwitchboardIntegration", "pendingSwitchboardIntegration")
            payload["conversation"] = pick(view, "id", "type", "metadata", *keys)
            participants = [self.by_id.get(one["userId"]) for one in row["participants"]]
            record = record or next(iter(participants), None)
        self.tell(
            PlatformEvent(
                app_id=self.id,
                id=self.new_id(),
                type=trigger,
                payload=without_none(payload),
                record=record,
            )
        )

    def post(self, row: Row, message: Mapping[str, Any]) -> Row:
        """Store a *message* in a conversation, as `ConversationStore.post`."""
        stored = self.conversations.post(row, message)
        self.publish(
            "conversation:message",
            row=self.conversations.all.get(row["id"]),
            message={**stored, "author": self.author(stored["author"])},
        )
        return stored

    def author(self, author: Mapping[str, Any]) -> JsonObject:
        """Return an *author* as in an event: with the user, if any."""
        record = self.by_id.get(author.get("userId", ""))
        return {**author, **({} if record is None else {"user": record.user})}

    def describe(self, changes: Mapping[str, Any]) -> Row:
        """Change the details of the app; return the details."""
        return self.table("apps").put({**self.details, **changes})

    def delete(self) -> None:
        """Delete everything in the app, and the app."""
        for record in [*self.by_id.values()]:
            self.forget(record)
        for table in self.tables.values():
            table.clear()
        self.describe({"deleted": True})

    def remove_integration(self, integration_id: str) -> None:
        """Remove an integration with all webhooks and keys."""
        for name in ("webhooks", "keys"):
            self.table(name, integration_id).clear()
        self.table("integrations").remove(integration_id)

    def integration_of_key(self, key_id: str) -> str | None:
        """Return the id of the custom integration with a key; None if there is no such key."""
        for integration_id in self.table("integrations").rows:
            if key_id in self.table("keys", integration_id).rows:
                return integration_id
        return None

    def key(self, key_id: str) -> Row | None:
        """Return a key of the app, or of a custom integration of the app."""
        integration_id = self.integration_of_key(key_id)
        owner = () if integration_id is None else (integration_id,)
        return self.table("keys", *owner).rows.get(key_id)

    def user_in(self, body: Mapping[str, Any], path: str = "") -> Record:
        """Return the user that *body* names by ``userId`` or ``userExternalId``.

        Raise `Refusal`: 400 unless exactly one of both is there, 404 if there is no such user.
        """
        user_id, external_id = body.get("userId"), body.get("userExternalId")
        if (user_id is None) is (external_id is None):
            refuse(f"{path} should have one of userId and userExternalId".lstrip())
        found = (
            self._by_external_id.get((body.get("brandId"), external_id))
            if user_id is None
            else self.by_id.get(user_id)
        )
        if found is None:
            raise not_found()
        return found

    def put(self, record: Record) -> None:
        """Store *record*; replace the record with the same id."""
        if record.id in self.by_id:
            self._unindex(self.by_id[record.id].user)
        self.by_id[record.id] = record
        if "externalId" in record.user:
            self._by_external_id[external_key(record.user)] = record
        if "zendeskId" in record.user:
            self.by_zendesk_id[record.user["zendeskId"]] = record
        self.write([record.id, asdict(record, recurse=False)])
        for conversation_id in record.conversations:
            if conversation_id not in self.conversations.all.rows:
                default = self._default_conversation(record) is None
                row = self.conversations.begin("personal", conversation_id, is_default=default)
                self.conversations.join(row, record.id, _associations(record))

    def remove(self, record: Record) -> None:
        """Remove *record* with all parts and conversations."""
        self.conversations.remove_user(record.conversations, record.id)
        self.forget(record)
        self.publish("user:remove", record=record, user=record.user)

    def forget(self, record: Record) -> None:
        """Remove *record*, and leave the conversations."""
        self._unindex(self.by_id.pop(record.id).user)
        self.write([record.id, None])

    def merge(self, survivor: Record, discarded: Record) -> Record:
        """Merge *discarded* into *survivor*; return the merged record, which is stored."""
        self.forget(discarded)
        self.conversations.move(
            discarded.conversations,
            discarded.id,
            survivor.id,
            default=self._default_conversation(survivor) is None,
        )
        merged = survivor.merge_with(discarded)
        self.put(merged)
        users = {"surviving": merged.user, "discarded": discarded.user}
        self.publish("user:merge", record=merged, mergedUsers=users, reason="api")
        return merged

    def new_client(self, link: Mapping[str, Any], external_id: str) -> JsonObject:
        """Return the client of a *link* that waits for confirmation, in the format of v1.1."""
        return {
            "id": self.new_id(), "platform": link["type"], "status": "pending",
            "displayName": external_id, "externalId": external_id,
            **pick(link, "integrationId", "primary"),
        }  # fmt: skip

    def publish_client(
        self,
        trigger: str,
        client: Mapping[str, Any],
        record: Record,
        *,
        reason: str,
        row: Row | None = None,
    ) -> None:
        """Tell the webhooks of a change of a *client*, given in the format of v1.1."""
        shown = client_view(client)
        source = None if trigger == "client:update" else API_SOURCE
        self.publish(
            trigger,
            row=row,
            record=record,
            user=record.user,
            client=shown,
            reason=reason,
            source=source,
        )

    def default_conversation(self, record: Record, source: Mapping[str, str] = API_SOURCE) -> Row:
        """Return the default conversation of a user, which begins from *source* if there is none."""
        found = self._default_conversation(record)
        if found is not None:
            return found
        row = self.start_conversation("personal", [record])
        self.publish(
            "conversation:create",
            row=row,
            user=record.user,
            creationReason="message",
            source=source,
        )
        return row

    def start_conversation(
        self, kind: str, records: Sequence[Record], *, subscribed: Container[str] = ()
    ) -> Row:
        """Begin a conversation of users; return the conversation.

        The users whose ids are *subscribed* get a client of the SDK, unless there is one.
        """
        default = kind == "personal" and self._default_conversation(records[0]) is None
        row = self.conversations.begin(kind, self.new_id(), is_default=default)
        for record in records:
            self.join(record, row["id"], subscribe=record.id in subscribed)
        return self.conversations.all.get(row["id"])

    def join(self, record: Record, conversation_id: str, *, subscribe: bool = False) -> JsonObject:
        """Add a user to a conversation, with a client of the SDK to *subscribe*.

        Return the participant; raise `Refusal` (400) if the conversation is full.
        """
        if subscribe and "sdk" not in map(client_type, record.clients):
            now = format_time()
            client = {"id": self.new_id(), "platform": "sdk", "status": "active", "linkedAt": now}
            record = evolve(record, clients=[*record.clients, client])
            self.publish_client("client:add", client, record, reason="sdkLogin")
        row = self.conversations.all.get(conversation_id)
        participant = self.conversations.join(row, record.id, _associations(record))
        if conversation_id not in record.conversations:
            record = evolve(record, conversations=[*record.conversations, conversation_id])
        self.put(record)
        return participant

    def leave(self, row: Row, user_id: str) -> None:
        """Take a user out of a conversation."""
        self.conversations.leave(row, user_id)
        record = self.by_id[user_id]
        ids = [one for one in record.conversations if one != row["id"]]
        self.put(evolve(record, conversations=ids))

    def end_conversation(self, row: Row) -> None:
        """Remove a conversation with all messages."""
        for participant in row["participants"]:
            self.leave(self.conversations.all.get(row["id"]), participant["userId"])
        self.conversations.remove(row)
        self.publish("conversation:remove", row=row)

    def owner_of_external_id(self, user: Mapping[str, Any]) -> Record | None:
        """Return the user with the same external id and brand as *user*."""
        return self._by_external_id.get(external_key(user))

    def find_by_email(self, email: str, brand_id: str | None) -> list[Record]:
        """Return the users of a brand with this e-mail identity."""
        key = ("email", email.lower())
        return [
            record
            for record in self.by_id.values()
            if record.user.get("brandId") == brand_id
            and any(identity_key(identity) == key for identity in record.user["identities"])
        ]

    def _default_conversation(self, record: Record) -> Row | None:
        known = map(self.conversations.all.rows.get, record.conversations)
        return next((row for row in known if row and row["isDefault"]), None)

    def _unindex(self, user: JsonObject) -> None:
        self._by_external_id.pop(external_key(user), None)
        self.by_zendesk_id.pop(user.get("zendeskId"), None)


def client_id(client: Mapping[str, Any]) -> str:
    """Return the id of a *client*; a digest of the client if the client has no id."""
    found = client.get("id") or client.get("_id")
    return str(found or sha256(orjson.dumps(client, option=orjson.OPT_SORT_KEYS)).hexdigest()[:24])


def client_type(client: Mapping[str, Any]) -> Any:
    """Return the type in v2 of a *client* in the format of v1.1."""
    platform = client.get("platform")
    return "sdk" if platform in SDK_PLATFORMS else platform


def client_view(client: Mapping[str, Any]) -> JsonObject:
    """Return a *client* in the format of v2."""
    values = {"id": client_id(client), "type": client_type(client), **pick(client, *_SHOWN)}
    return without_none(values)


def _associations(record: Record) -> list[dict[str, Any]]:
    """Return the clients of a user as a conversation lists the clients, the newest first."""
    return [
        {"type": client_type(client), "clientId": client_id(client)}
        for client in reversed(record.clients)
    ]
