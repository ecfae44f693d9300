"""Files for messages: what is sent, and what is refused before anything is sent."""

import httpx
import pytest
from support.clients import scripted, sunshine
from support.frames import leaks

from sunshine_async import NotFoundError, Retry, SunshineError, TransportError
from sunshine_async.emulator import Emulator
from sunshine_async.sunshine import Attachment, AttachmentDeleteBody
from sunshine_async.testing import Answer

SECRET = "s3cret-12345"
ANSWER: Answer = 201, {"attachment": {"mediaUrl": "https://m.example/1", "mediaType": "image/png"}}

AT_ONCE = Retry(first_wait=0)


async def test_a_file_is_sent_as_a_form() -> None:
    """The file is the field ``source``; the rest is in the query."""
    client, transport = scripted(ANSWER, retry=AT_ONCE)

    found = await client.attachments.upload(
        b"pixels", access="public", for_="message", conversation_id="c", file_name="a.png"
    )

    [request] = transport.requests
    assert found == Attachment(media_url="https://m.example/1", media_type="image/png")
    assert dict(request.url.params) == {
        "access": "public",
        "for": "message",
        "conversationId": "c",
    }
    assert b'name="source"; filename="a.png"\r\nContent-Type: image/png\r\n\r\npixels\r\n' in (
        request.content
    )
    assert int(request.headers["Content-Length"]) == len(request.content)


async def test_an_upload_is_not_sent_twice() -> None:
    """After a lost answer the file may be there: a second sending would leave two."""
    client, transport = scripted(httpx.ReadTimeout("late"), retry=AT_ONCE)

    with pytest.raises(TransportError) as caught:
        await client.attachments.upload(b"x", access="public")

    assert caught.value.maybe_applied
    assert len(transport.requests) == 1


async def test_the_emulator_keeps_a_file_until_it_is_deleted() -> None:
    """An uploaded file is there, a deleted file isn't, and a second deletion is an error."""
    client = sunshine(Emulator().transport())

    found = await client.attachments.upload(b"x" * 300_000, access="public", file_name="a.txt")
    body = AttachmentDeleteBody(media_url=found.media_url)
    await client.attachments.delete(body)

    with pytest.raises(NotFoundError):
        await client.attachments.delete(body)
    assert found.media_type == "text/plain"
    assert found.media_url not in repr(found)


@pytest.mark.parametrize("content_type", ["text/plain", "no type"])
async def test_no_frame_shows_the_bytes(content_type: str) -> None:
    """No local variable of a frame that an error passes through has the bytes of the file."""
    client, _ = scripted(400, retry=AT_ONCE)

    with pytest.raises((ValueError, SunshineError)) as caught:
        await client.attachments.upload(SECRET.encode(), access="public", content_type=content_type)

    assert leaks(caught.value, SECRET) == []
