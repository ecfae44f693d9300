"""Operations of v2 on messages and attachments, and messages that a user writes.

Assumed, where the specification is silent:

- A message goes to the ``destination`` if the integration is there, and if a participant has a
  client of the integration or of the type; else 400. So is a destination for a user's message, or
  in an ``sdkGroup``.
- The response has one message. ``override`` and ``destination`` aren't returned.
- A ``formResponse`` quotes the message of ``quotedMessageId``, if the conversation has the message.
- ``mediaType`` and ``mediaSize`` are set for attachments only.
- A deleted message is gone; no placeholder is left.
- An attachment for messages goes with the first message that has the attachment; without a
  message, with the conversation. An attachment without ``for`` stays.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from attrs import define

from sunshine_async.emulator.app_store import API_SOURCE, AppStore, client_type
from sunshine_async.emulator.contents import MESSAGE_POST, checked_content
from sunshine_async.emulator.conversations import author_of
from sunshine_async.emulator.fields import (
    TEXT,
    JsonObject,
    Refusal,
    file_in,
    json_copy,
    object_schema,
    omit,
    refuse,
)
from sunshine_async.emulator.platform import V2, ApiPart, Platform
from sunshine_async.emulator.service import Operation, OperationRequest, Reply
from sunshine_async.emulator.tables import Row, merged_metadata, newest_page

MEDIA: Final = "/_emulator/media/"
"""The beginning of the path of an attachment; the control requests serve attachments."""
USER_SOURCE: Final = {"type": "web"}
"""The source of a message that a user writes."""
REMOVE_BODY: Final = object_schema("mediaUrl", mediaUrl=TEXT)


@define(eq=False)
class StoredFile:
    """Uploaded file; *conversation* and *message* are the ids of the container, if any."""

    media_type: str
    data: bytes
    app_id: str
    conversation: str | None
    message: str | None = None


class MessageApi(ApiPart):
    """Messages and attachments of an app. Attachments stay in memory: no state file has these."""

    def __init__(self, platform: Platform, count: Callable[[str], None]) -> None:
        super().__init__(platform, count)
        self._attachments: Final[dict[str, StoredFile]] = {}
        self.operations = (
            Operation(V2["PostMessage"], self._post, MESSAGE_POST),
            Operation(V2["ListMessages"], self._list),
            Operation(V2["DeleteAllMessages"], self._delete_all),
            Operation(V2["DeleteMessage"], self._delete),
            Operation(V2["UploadAttachment"], self._upload, takes_form=True, keeps_files=True),
            Operation(V2["DeleteAttachment"], self._delete_attachment, REMOVE_BODY),
        )

    def clear(self) -> None:
        """Delete all attachments."""
        self._attachments.clear()

    def attachment(self, path: str) -> StoredFile:
        """Return the attachment with this path of the URL; raise `Refusal` (404) if missing."""
        found = self._attachments.get(path)
        if found is None or not self._is_contained(found):
            raise Refusal(404, "not_found", "Attachment not found")
        return found

    def say(
        self, app_id: str, user: str, content: Mapping[str, Any], conversation: str | None
    ) -> dict[str, str]:
        """Let a user write a message; return the ids of the conversation and of the message.

        The default conversation begins if there is none. Raise `Refusal` as PostMessage does.
        """
        app = self._platform.app(app_id)
        record = app.get(user)
        checked = checked_content({"content": json_copy(content)})
        if conversation is None:
            row = app.default_conversation(record, USER_SOURCE)
        else:
            row = app.conversations.all.get(conversation)
        author = author_of(app, row, {"type": "user", "userId": record.id})
        message = {"author": author, "source": USER_SOURCE}
        stored = self._store(app, row, message, checked)
        return {"conversation": row["id"], "message": stored["id"]}

    def _post(self, request: OperationRequest) -> Reply:
        app, row = self._conversation(request)
        body = request.body
        author = author_of(app, row, body["author"])
        content = checked_content(body)
        _check_destination(app, row, body)
        message: JsonObject = {"author": author, "source": API_SOURCE}
        if "metadata" in body:
            message["metadata"] = merged_metadata({}, body["metadata"])
        if "schema" in body:  # the content is the channel's
            stored = app.post(row, {**message, "content": content})
        elif content["type"] == "formResponse":
            refuse("content of the type formResponse can't be sent: only a user responds to a form")
        else:
            stored = self._store(app, row, message, content)
        return self._done("message", {"messages": [stored]}, status=201)

    def _store(
        self, app: AppStore, row: Row, message: Mapping[str, Any], content: Mapping[str, Any]
    ) -> Row:
        """Store a message with *content*; return the message."""
        known = app.conversations.messages(row["id"]).rows
        content, quoted = _split_quote(content)
        attachments = [*self._attachments_in(content)]
        if attachments and "mediaUrl" in content:
            [file] = attachments
            content |= {"mediaType": file.media_type, "mediaSize": len(file.data)}
        values = {**message, "content": content}
        if quoted in known:
            values["quotedMessage"] = {"type": "message", "message": known[quoted]}
        stored = app.post(row, values)
        for file in attachments:
            file.message = file.message or stored["id"]
        return stored

    def _list(self, request: OperationRequest) -> Reply:
        conversations = self._app(request).conversations
        conversation_id = request.path["conversation_id"]
        if conversation_id not in conversations.all.rows:
            raise Refusal(404, "not_found", "Resource not found")
        messages = conversations.messages(conversation_id)
        rows, envelope = newest_page([*messages.rows.values()], request)
        return Reply(200, {"messages": rows, **envelope})

    def _delete_all(self, request: OperationRequest) -> Reply:
        app, row = self._conversation(request)
        app.conversations.messages(row["id"]).clear()
        return self._done("delete_all_messages")

    def _delete(self, request: OperationRequest) -> Reply:
        app, row = self._conversation(request)
        app.conversations.messages(row["id"]).remove(request.path["message_id"])
        return self._done("delete_message")

    def _upload(self, request: OperationRequest) -> Reply:
        app, query = self._app(request), request.query
        if "access" not in query:
            refuse("should have required query parameter access")
        if query["access"] != "public":
            refuse("access should be public")
        if query.get("for", "message") != "message":
            refuse("for should be message")
        source = file_in(request.body)
        conversation = query.get("conversationId")
        if conversation is not None:
            app.conversations.all.get(conversation)
        name = re.sub(r"[^A-Za-z0-9._-]", "_", source.file_name or "")
        path = f"{MEDIA}{self._platform.new_id()}/{name}"
        container = conversation if "for" in query else None
        kind = source.content_type
        self._attachments[path] = StoredFile(kind, source.data, app.id, container)
        attachment = {"mediaUrl": request.origin + path, "mediaType": kind}
        return self._done("attachment", {"attachment": attachment}, status=201)

    def _delete_attachment(self, request: OperationRequest) -> Reply:
        url = request.body["mediaUrl"]
        path = _media_path(url)
        if path is None:
            refuse(f"Unsupported media URL for attachment deletion: {url}")
        found = self.attachment(path)
        if found.app_id != request.path["app_id"]:
            raise Refusal(404, "not_found", "Attachment not found")
        del self._attachments[path]
        return self._done("delete_attachment")

    def _attachments_in(self, content: Mapping[str, Any]) -> Iterator[StoredFile]:
        for holder in (content, *content.get("items", ())):
            path = _media_path(holder.get("mediaUrl", ""))
            if path in self._attachments:
                yield self._attachments[path]

    def _is_contained(self, attachment: StoredFile) -> bool:
        """Return False if the container of *attachment* is gone."""
        if attachment.conversation is None:
            return True
        app = self._platform.app(attachment.app_id)
        if attachment.conversation not in app.conversations.all.rows:
            return False
        messages = app.conversations.messages(attachment.conversation).rows
        return attachment.message is None or attachment.message in messages


def _media_path(url: str) -> str | None:
    """Return the path of the *url* of an attachment, or None for another URL."""
    _, media, rest = url.partition(MEDIA)
    return media + rest if media else None


def _split_quote(content: Mapping[str, Any]) -> tuple[JsonObject, str | None]:
    """Return *content* without ``quotedMessageId``, and the first such id."""
    if content.get("type") != "formResponse":
        return dict(content), None
    ids = [field["quotedMessageId"] for field in content["fields"] if "quotedMessageId" in field]
    fields = [omit(field, "quotedMessageId") for field in content["fields"]]
    return {**content, "fields": fields}, next(iter(ids), None)


def _check_destination(app: AppStore, row: Row, body: Mapping[str, Any]) -> None:
    """Raise `Refusal` (400) if *body* has a destination that the message can't reach."""
    destination = body.get("destination")
    if destination is None or destination == {"integrationType": "none"}:
        return
    if len(destination) != 1:
        refuse("destination should have one of integrationId and integrationType")
    if body["author"]["type"] != "business" or row["type"] != "personal":
        refuse("destination is for messages of the business in personal conversations")
    clients = [
        client
        for participant in row["participants"]
        for client in app.by_id[participant["userId"]].clients
    ]
    [(name, wanted)] = destination.items()
    if name == "integrationId":
        reached = {client.get("integrationId") for client in clients}
    else:
        reached = {client_type(client) for client in clients}
    if wanted not in reached:
        refuse(f"destination.{name} should be of a client of the user")
