"""Store of the conversations of an app: participants, messages, control by the switchboard.

Assumed, where the specification is silent:

- The first personal conversation of a user is the default; a further conversation isn't.
- A conversation of the type ``sdkGroup`` takes 10 participants at most, a user once.
- A message of the business raises ``unreadCount`` of all participants. A message of a user raises
  the count of the rest, and counts as read by the author.
- A merge moves the conversations of the discarded user to the survivor. The default conversation
  of the discarded user stays the default only if the survivor has none. Messages keep their author.
- An enabled switchboard gives control of a new conversation, and at a message of a conversation
  without anybody in control, to the default switchboard integration.
- With the user go the personal conversations, and groups without another participant.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from attrs import define

from sunshine_async.emulator.fields import (
    JsonObject,
    Refusal,
    format_time,
    omit,
    pick,
    refuse,
    without_none,
)
from sunshine_async.emulator.tables import Row, Table, merged_metadata

MAX_PARTICIPANTS: Final = 10
DESCRIPTION: Final = ("displayName", "description", "iconUrl")
"""The fields of a conversation that a null clears."""


@define(eq=False)
class ConversationStore:
    """Conversations and messages of an app. A conversation is a `Row` with ``participants``."""

    _table: Callable[..., Table]
    _new_id: Callable[[], str]
    _max_messages: int

    @property
    def all(self) -> Table:
        return self._table("conversations")

    def messages(self, conversation_id: str) -> Table:
        """Return the messages of a conversation; raise `Refusal` (404) without the conversation."""
        self.all.get(conversation_id)
        return self._table("messages", conversation_id)

    def begin(self, kind: str, conversation_id: str, *, is_default: bool) -> Row:
        """Store a new conversation without participants; return the conversation."""
        now = format_time()
        return self.all.put(
            {
                "id": conversation_id,
                "type": kind,
                "metadata": {},
                "isDefault": is_default,
                "lastUpdatedAt": now,
                "createdAt": now,
                "participants": [],
                **self.default_control(),
            }
        )

    def responders(self) -> Mapping[str, Row]:
        """Return the switchboard integrations of the app by id."""
        return {
            responder_id: responder
            for switchboard_id in self._table("switchboards").rows
            for responder_id, responder in (
                self._table("switchboardIntegrations", switchboard_id).rows.items()
            )
        }

    def default_control(self) -> JsonObject:
        """Return the switchboard's part of a conversation without anybody in control."""
        for switchboard in self._table("switchboards").rows.values():
            if switchboard["enabled"]:
                return {"active": switchboard["defaultSwitchboardIntegrationId"]}
        return {}

    def view(self, row: Row) -> JsonObject:
        """Return a conversation in the format of the API."""
        responders = self.responders()
        control = {
            f"{name}SwitchboardIntegration": pick(
                responders[row[name]], "id", "name", "integrationId", "integrationType"
            )
            for name in ("active", "pending")
            if row.get(name) in responders
        }
        return {**omit(row, "participants", "active", "pending"), **control}

    def describe(self, row: Row, body: Mapping[str, Any]) -> Row:
        """Change name, description, icon and metadata of a conversation as in *body*."""
        metadata = merged_metadata(row["metadata"], body.get("metadata", {}))
        return self.all.put(without_none({**row, **pick(body, *DESCRIPTION), "metadata": metadata}))

    def join(self, row: Row, user_id: str, clients: Iterable[Mapping[str, str]] = ()) -> JsonObject:
        """Add a user to a conversation; return the participant, which may have been there."""
        for participant in row["participants"]:
            if participant["userId"] == user_id:
                return dict(participant)
        if len(row["participants"]) >= MAX_PARTICIPANTS:
            refuse("Too many participants")
        participant = {
            "id": self._new_id(),
            "userId": user_id,
            "unreadCount": 0,
            "clientAssociations": [*clients],
        }
        self.all.put({**row, "participants": [*row["participants"], participant]})
        return participant

    @staticmethod
    def participant(row: Row, user_id: str) -> JsonObject:
        """Return a participant; raise `Refusal` (404) for a user who isn't in the conversation."""
        for one in row["participants"]:
            if one["userId"] == user_id:
                return dict(one)
        raise Refusal(404, "not_found", "User is not a member of the conversation")

    def change_participant(self, row: Row, user_id: str, **values: Any) -> Row:
        """Set *values* of a participant; return the new conversation."""
        participants = [
            {**one, **values} if one["userId"] == user_id else one for one in row["participants"]
        ]
        return self.all.put({**row, "participants": participants})

    def associate(self, row: Row, user_id: str, client: Mapping[str, str]) -> None:
        """Make *client* the primary client of a participant."""
        clients = [client, *self.participant(row, user_id)["clientAssociations"]]
        self.change_participant(row, user_id, clientAssociations=clients)

    def dissociate(self, row: Row, user_id: str, client_id: str) -> None:
        """Remove a client from a participant."""
        clients = self.participant(row, user_id)["clientAssociations"]
        rest = [one for one in clients if one["clientId"] != client_id]
        self.change_participant(row, user_id, clientAssociations=rest)

    def leave(self, row: Row, user_id: str) -> Row:
        """Remove a participant; return the new conversation."""
        left = self.participant(row, user_id)
        others = [one for one in row["participants"] if one != left]
        return self.all.put({**row, "participants": others})

    def remove(self, row: Row) -> None:
        """Remove a conversation with all messages."""
        self._table("messages", row["id"]).clear()
        self.all.remove(row["id"])

    def remove_user(self, conversation_ids: Iterable[str], user_id: str) -> None:
        """Remove the personal conversations of a user; take the user out of groups."""
        for conversation_id in conversation_ids:
            row = self.leave(self.all.get(conversation_id), user_id)
            if not row["participants"]:
                self.remove(row)

    def move(self, conversation_ids: Iterable[str], old: str, new: str, *, default: bool) -> None:
        """Make the user *new* the participant in place of *old*; *default*: keep the default."""
        for conversation_id in conversation_ids:
            row = self.all.get(conversation_id)
            if any(one["userId"] == new for one in row["participants"]):
                row = self.leave(row, old)
            else:
                row = self.change_participant(row, old, userId=new)
            self.all.put({**row, "isDefault": row["isDefault"] and default})

    def post(self, row: Row, message: Mapping[str, Any]) -> Row:
        """Store a *message* without id and time; return the stored message.

        Raise `Refusal` (423) in a conversation with as many messages as a conversation may have.
        """
        messages = self.messages(row["id"])
        if len(messages.rows) >= self._max_messages:
            title = f"Message limit of {self._max_messages} per conversation reached."
            raise Refusal(423, "locked", title)
        now = format_time()
        stored = messages.put(without_none({"id": self._new_id(), "received": now, **message}))
        author = message["author"].get("userId")
        participants = [
            {**one, "unreadCount": 0, "lastRead": now}
            if one["userId"] == author
            else {**one, "unreadCount": one["unreadCount"] + 1}
            for one in row["participants"]
        ]
        changed = {**row, "participants": participants, "lastUpdatedAt": now}
        if row.get("active") not in self.responders():
            changed |= self.default_control()
        self.all.put(changed)
        return stored
