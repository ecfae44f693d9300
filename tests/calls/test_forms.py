"""Bodies of free requests: bytes of any type, and forms with files."""

import io
import threading
from collections.abc import AsyncIterator
from email.parser import BytesParser
from pathlib import Path
from typing import IO, Any, cast

import anyio
import httpx
import pytest
from support.clients import scripted, sunshine
from support.frames import leaks
from support.patience import PATIENCE
from support.virtual import until

from sunshine_async import Replay, Retry, TransportError
from sunshine_async._calls.forms import MAX_FILE_BYTES, File, Form
from sunshine_async._calls.free_body import BytesBody
from sunshine_async.emulator import Emulator

SECRET = "s3cret-12345"

AT_ONCE = Retry(first_wait=0)


def parts_of(request: httpx.Request) -> list[tuple[str | None, str | None, str, bytes]]:
    """Return name, file name, media type and bytes of each part, as a strict reader sees them."""
    head = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode()
    message: Any = BytesParser().parsebytes(head + request.content)
    return [
        (
            part.get_param("name", header="content-disposition"),
            part.get_filename(),
            part.get_content_type(),
            part.get_payload(decode=True),
        )
        for part in message.get_payload()
    ]


async def pieces() -> AsyncIterator[bytes]:
    """Give two pieces."""
    yield b"one "
    yield b"two"


async def test_bytes_go_out_as_they_are() -> None:
    """Bytes have the media type that was given, and their length."""
    client, transport = scripted((200, {"ok": 1}), (200, {}), retry=AT_ONCE)
    large = bytes(range(256)) * 2000

    assert await client.request("PUT", "/v2/x", content=("text/csv", b"a;b")) == {"ok": 1}
    await client.request("PUT", "/v2/x", content=("application/octet-stream", large))

    first, second = transport.requests
    assert (first.headers["content-type"], first.content) == ("text/csv", b"a;b")
    assert second.content == large
    assert second.headers["content-length"] == str(len(large))


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("begins_with", [b"", b"abc"], ids=["at once", "while being sent"])
def test_a_file_that_blocks_holds_up_no_cancellation(backend: str, begins_with: bytes) -> None:
    """A pipe without a writer can't keep a call that is cancelled, or whose time is over."""
    blocks, go_on = threading.Event(), threading.Event()
    ended: list[bool] = []
    chunks = [begins_with] if begins_with else []

    class Pipe(io.RawIOBase):
        def seekable(self) -> bool:
            return False

        def read(self, size: int = -1) -> bytes:
            if size == 0 or chunks:
                return chunks.pop() if size else b""
            blocks.set()
            ended.append(go_on.wait(PATIENCE))
            return b""

    async def scenario() -> None:
        client, _ = scripted((200, {}))
        async with anyio.create_task_group() as tasks:
            files = {"file": cast("IO[bytes]", Pipe())}
            tasks.start_soon(lambda: client.request("POST", "/v2/x", files=files))
            await until(blocks.is_set)
            tasks.cancel_scope.cancel()
        assert not ended
        go_on.set()

    anyio.run(scenario, backend=backend)


async def test_bytes_may_be_sent_again() -> None:
    """Bytes stay in memory, so a request that may be sent again is sent again."""
    client, transport = scripted(httpx.ReadError(""), (200, {}), retry=AT_ONCE)

    await client.request("PUT", "/v2/x", content=("text/plain", b"again"))

    assert [request.content for request in transport.requests] == [b"again"] * 2


async def test_a_form_has_texts_and_files(tmp_path: Path) -> None:
    """Texts go first, then each file with its name and media type, in order."""
    path = tmp_path / "a.png"
    path.write_bytes(b"pixels")
    client, transport = scripted((201, {}), retry=AT_ONCE)

    await client.request(
        "POST",
        "/v1.1/apps/{app_id}/attachments",
        files={
            "source": path,
            "thumb": ("b.jpg", io.BytesIO(b"small")),
            "raw": ("c", pieces(), "text/x-raw"),
            'odd"\r\nname': b"x",
        },
        data={"access": "public", "note": "ä"},
    )

    [request] = transport.requests
    assert parts_of(request) == [
        ("access", None, "text/plain", b"public"),
        ("note", None, "text/plain", "ä".encode()),
        ("source", "a.png", "image/png", b"pixels"),
        ("thumb", "b.jpg", "image/jpeg", b"small"),
        ("raw", "c", "text/x-raw", b"one two"),
        ("odd%22%0D%0Aname", "file", "application/octet-stream", b"x"),
    ]


async def test_a_stream_is_not_sent_twice() -> None:
    """A form with a file that can be read once is sent once, whatever *replay* says."""
    client, transport = scripted(httpx.ReadError(""), httpx.ConnectError(""), retry=AT_ONCE)

    with pytest.raises(TransportError):
        await client.request(
            "POST", "/v2/x", files={"a": pieces(), "b": b"x"}, replay=Replay.IDEMPOTENT
        )

    assert len(transport.requests) == 1


async def test_files_are_read_anew_for_each_attempt() -> None:
    """A form of files that can be read again is whole in every attempt."""
    client, transport = scripted(httpx.ReadError(""), (200, {}), retry=AT_ONCE)

    await client.request("PUT", "/v2/x", files={"a": io.BytesIO(b"first"), "b": b"second"})

    assert [[part[3] for part in parts_of(one)] for one in transport.requests] == [
        [b"first", b"second"]
    ] * 2


async def test_the_emulator_reads_an_upload_by_request() -> None:
    """A free request uploads a file like the declared operation."""
    client = sunshine(Emulator().transport())

    found = await client.request(
        "POST",
        "/v2/apps/{app_id}/attachments",
        query={"access": "public"},
        files={"source": ("a.txt", b"hello")},
    )

    assert found["attachment"]["mediaType"] == "text/plain"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"json": None, "content": ("text/plain", b"")}, "one body"),
        ({"json": {}, "files": {"a": b"x"}}, "one body"),
        ({"content": ("text/plain", b""), "files": {"a": b"x"}}, "one body"),
        ({"data": {"a": "b"}}, "needs a file"),
        ({"data": {"a": "b"}, "files": {}}, "needs a file"),
        ({"files": {}}, "needs a file"),
        ({"content": ("plain", b"")}, "media type"),
        ({"files": {"photo": b""}}, "photo is empty"),
        ({"files": {"photo": "no/such/file"}}, "photo can't be read"),
        ({"files": {"photo": ("a", b"x", "plain")}}, "media type"),
        ({"files": {"photo": io.StringIO("x")}}, "photo is a file opened as text"),
        ({"files": {"photo": 5}}, "photo must be bytes"),
    ],
)
async def test_an_unfit_body_is_never_sent(arguments: dict[str, Any], reason: str) -> None:
    """What can't be a body is named before anything is sent."""
    client, transport = scripted(retry=AT_ONCE)

    with pytest.raises((ValueError, TypeError), match=reason):
        await client.request("POST", "/v2/x", **arguments)

    assert transport.requests == []


@pytest.mark.parametrize(
    "arguments",
    [
        {"content": ("text/plain", SECRET.encode())},
        {"files": {"a": SECRET.encode()}, "data": {"note": SECRET}},
        {"files": {"a": ("a.txt", io.BytesIO(SECRET.encode()))}},
        {"json": {"note": SECRET}},
    ],
    ids=["bytes", "texts and a file", "an open file", "json"],
)
async def test_no_frame_shows_the_body(arguments: dict[str, Any]) -> None:
    """An error that comes after sending shows the body in no local variable."""
    client, _ = scripted(httpx.ReadError(""), retry=AT_ONCE)

    with pytest.raises(TransportError) as caught:
        await client.request("POST", "/v2/x", **arguments)

    assert leaks(caught.value, SECRET) == []


@pytest.mark.parametrize(
    "arguments",
    [
        {"content": ("text", SECRET.encode())},
        {"content": ("text/plain", SECRET)},
        {"files": {"a": SECRET.encode(), "b": b""}, "data": {"note": SECRET}},
        {"files": {"a": SECRET.encode(), "b": ("b", b"1", "no type")}},
        {"files": {"a": SECRET.encode(), "b": [SECRET]}},
        {"files": {"a": SECRET.encode()}, "json": SECRET},
    ],
    ids=["no media type", "a text", "an empty file", "no type", "no file", "two bodies"],
)
async def test_no_frame_shows_an_unfit_body(arguments: dict[str, Any]) -> None:
    """An error that comes before sending shows the body in no local variable either."""
    client, _ = scripted()

    with pytest.raises((ValueError, TypeError)) as caught:
        await client.request("POST", "/v2/x", **arguments)

    assert leaks(caught.value, SECRET) == []


@pytest.mark.parametrize(
    "arguments",
    [
        {"content": SECRET.encode()},
        {"content": (SECRET,)},
        {"files": {"a": ()}},
        {"files": {"a": (SECRET,)}},
        {"files": {"a": ("a", SECRET.encode(), "text/plain", "more")}},
        {"files": [("a", SECRET.encode())]},
        {"files": {"a": SECRET.encode()}, "data": [("a", SECRET)]},
    ],
)
async def test_a_body_of_a_wrong_shape_is_a_type_error(arguments: Any) -> None:
    """The error says the shapes, and no frame shows the body."""
    client, transport = scripted()

    with pytest.raises(TypeError, match="mappings by name of field") as caught:
        await client.request("POST", "/v2/x", **arguments)

    assert transport.requests == []
    assert leaks(caught.value, SECRET) == []


async def test_no_frame_shows_a_chunk_that_is_no_bytes() -> None:
    """A stream of texts is refused without the text."""
    client, _ = scripted()

    async def texts() -> AsyncIterator[Any]:
        yield SECRET

    with pytest.raises(TypeError, match="must give bytes") as caught:
        await client.request("POST", "/v2/x", files={"a": texts()})

    assert [leak for leak in leaks(caught.value, SECRET) if "texts" not in leak] == []


async def test_a_body_has_no_secret_in_its_repr() -> None:
    """Neither a form nor bytes show their contents."""
    form = await Form.of({"a": File(SECRET.encode())})
    content = BytesBody("text/plain", memoryview(SECRET.encode()))

    assert SECRET not in repr((form.with_texts({"note": SECRET}), content, File(SECRET)))


async def test_each_file_has_the_limit() -> None:
    """The limit is of a file, not of the form."""
    half = memoryview(bytearray(MAX_FILE_BYTES // 2 + 1))

    form = await Form.of({"a": File(half), "b": File(half)})

    assert form.length is not None
    assert form.length > MAX_FILE_BYTES
