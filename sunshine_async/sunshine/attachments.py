"""Files for messages: upload and delete."""

from typing import Final, TypeAlias

from attrs import field, frozen

from sunshine_async._calls.endpoint import Endpoint
from sunshine_async._calls.forms import File, FileSource, Form
from sunshine_async._calls.retry import Replay
from sunshine_async._calls.transport import Transport
from sunshine_async._codec.model import Model, redact

AttachmentSource: TypeAlias = FileSource

_ATTACHMENTS: Final = "/v2/apps/{app_id}/attachments"


@frozen(kw_only=True, slots=False)
class Attachment(Model):
    """Uploaded file, in answers."""

    media_url: str = field(repr=redact)
    """The URL for a file, image or carousel message."""
    media_type: str | None = None


@frozen(kw_only=True, slots=False)
class AttachmentDeleteBody(Model):
    """The body of `Attachments.delete`."""

    media_url: str = field(repr=redact)


UPLOAD: Final = Endpoint(
    "POST", _ATTACHMENTS, operation="UploadAttachment",
    accepts=Form, returns=Attachment, inside="attachment",
    query=("access", "for", "conversationId"), needs=("access",), ok=(201,),
    replay=Replay.UNSAFE,  # a second sending leaves a file that no message has
)  # fmt: skip
DELETE: Final = Endpoint(
    "POST", _ATTACHMENTS + "/remove", operation="DeleteAttachment",
    accepts=AttachmentDeleteBody, returns=type(None),
    replay=Replay.GONE,
)  # fmt: skip
ENDPOINTS: Final = (UPLOAD, DELETE)


@frozen
class Attachments:
    """Files for messages; errors and cancellation are as in `Users`."""

    _transport: Transport = field(alias="transport")

    async def upload(
        self,
        source: AttachmentSource,
        *,
        access: str,
        for_: str | None = None,
        conversation_id: str | None = None,
        file_name: str | None = None,
        content_type: str | None = None,
    ) -> Attachment:
        """Upload a file; return the URL and the media type (UploadAttachment).

        - *source* is bytes, a path, a file opened in binary mode, or an async iterable of bytes,
          and is read while being sent.
        - *access* is ``public``. *for_* is ``message``: the file is deleted with the message, the
          conversation or the user. *conversation_id* links the file to the conversation.
        - *file_name* defaults to the name of the path or file, *content_type* to the guess of
          `mimetypes`.
        - Never sent again once the service may have acted, nor if *source* can't be read again
          (an async iterable can't).
        - `ValueError` before anything is sent for a file that is missing, unreadable, empty or over
          50 MB. An async iterable that turns out too large is broken off.
        """
        file = File(source, file_name, content_type)
        del source  # error reporters attach local variables
        form = await Form.of({"source": file})
        query = {"access": access, "for": for_, "conversationId": conversation_id}
        return await self._transport.call(UPLOAD, form, query=query)

    async def delete(self, body: AttachmentDeleteBody) -> None:
        """Delete a file; a resent call that finds no file is done (DeleteAttachment)."""
        await self._transport.call(DELETE, body)
