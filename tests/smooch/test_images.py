"""Posting an image: what it may be, how it goes out, and when it goes out again."""

import io
import os
import tempfile
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import anyio
import httpx
import pytest
from support import clients
from support.backends import on_both, virtual_on_both
from support.clients import smooch
from support.frames import leaks
from support.size import sized

from sunshine_async import (
    BearerAuth,
    ConnectionLostError,
    PayloadTooLargeError,
    RateLimitError,
    RequestTimeoutError,
    Retry,
    SunshineError,
)
from sunshine_async._calls.forms import MAX_FILE_BYTES, File, Form
from sunshine_async.emulator import Emulator, Mishap
from sunshine_async.smooch import MessageResponse, SmoochClient
from sunshine_async.testing import Answer, ScriptedTransport

PIXELS = b"\x89PNG\r\n--boundary\r\n" * 50_000
POSTED: Answer = (201, {"message": {"_id": "m", "received": 1.5}, "conversation": {"_id": "c"}})
LOST: Final = httpx.ReadError("")
UNSENT: Final = httpx.ConnectError("")
scripted = partial(clients.scripted, client=smooch)


def emulated() -> tuple[Emulator, SmoochClient]:
    """Return an emulator with Jane, and a client of it."""
    emulator = Emulator()
    emulator.add("smooch", {"userId": "jane"}, app_id="app")
    return emulator, smooch(emulator.transport())


async def pieces(data: bytes = PIXELS) -> AsyncIterator[bytes]:
    """Give *data* piece by piece, an empty one among them."""
    yield b""
    for start in range(0, len(data), 100_000):
        yield data[start : start + 100_000]
        yield b""


async def slices(path: Path) -> AsyncIterator[bytes]:
    """Give a file as a stream."""
    async with await anyio.open_file(path, "rb") as file:
        while piece := await file.read(2**16):
            yield piece


class Pipe(io.RawIOBase):
    """An open file that can be read only once."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return self._data.read(size)


@pytest.fixture
def path() -> Iterator[Path]:
    """Give a file with an image in it."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, 'Jan"é.png')
        file.write_bytes(PIXELS)
        yield file


class TestSources:
    """What an image may come from."""

    @pytest.mark.parametrize(
        "source",
        [
            lambda path: path.read_bytes(),
            lambda path: bytearray(path.read_bytes()),
            lambda path: memoryview(path.read_bytes()),
            str,
            lambda path: path,
            lambda path: path.open("rb"),
            lambda path: io.BytesIO(path.read_bytes()),
            lambda path: Pipe(path.read_bytes()),
            lambda path: pieces(path.read_bytes()),
            lambda path: anyio.wrap_file(path.open("rb")),
        ],
        ids=["bytes", "bytearray", "memoryview", "text", "path", "file", "in memory", "pipe",
             "stream", "anyio"],
    )  # fmt: skip
    @on_both
    async def test_each_arrives_as_it_is(self, source: Callable[[Path], Any], path: Path) -> None:
        """Every kind of source arrives byte for byte, and the message comes back."""
        emulator, client = emulated()
        given = source(path)
        answer = await client.app_users.post_image("jane", given, role="appMaker")
        getattr(given, "wrapped", given).close() if hasattr(given, "close") else None

        assert isinstance(answer, MessageResponse)
        assert answer.message is not None
        assert answer.message.type == "image"
        [image] = emulator.smooch.images
        assert (image.role, image.size) == ("appMaker", len(PIXELS))
        assert image.sha256 == sha256(PIXELS).hexdigest()

    async def test_a_file_is_sent_from_where_it_stands(self, path: Path) -> None:
        """Of an open file that has been read in part, the rest is sent."""
        emulator, client = emulated()

        with path.open("rb") as file:
            file.seek(10)
            await client.app_users.post_image("jane", file, role="appUser")

        assert emulator.smooch.images[0].sha256 == sha256(PIXELS[10:]).hexdigest()

    @pytest.mark.parametrize(
        ("source", "options", "name", "kind"),
        [
            (lambda path: path, {}, "Jan%22é.png", "image/png"),
            (lambda path: path.open("rb"), {}, "Jan%22é.png", "image/png"),
            (lambda path: b"x", {}, "image", "application/octet-stream"),
            (lambda path: b"x", {"file_name": "a.JPG"}, "a.JPG", "image/jpeg"),
            (lambda path: b"x", {"file_name": "a\r\n.gif"}, "a%0D%0A.gif", "image/gif"),
            (lambda path: path, {"content_type": "image/new"}, "Jan%22é.png", "image/new"),
            (
                lambda path: tempfile.TemporaryFile(),  # noqa: SIM115 - the test closes it
                {"file_name": "b.webp"},
                "b.webp",
                "image/webp",
            ),
        ],
        ids=["path", "file", "bytes", "name", "line break", "type", "number"],
    )
    async def test_names_and_types(
        self, source: Any, options: Any, name: str, kind: str, path: Path
    ) -> None:
        """Name and type are what is said, or what the file is called and what that means."""
        client, transport = scripted(POSTED)
        given = source(path)
        if isinstance(given, io.BufferedRandom):
            given.write(b"x")
            given.seek(0)

        await client.app_users.post_image("1", given, role="appUser", **options)
        if not isinstance(given, bytes | Path):
            given.close()

        head = f'name="source"; filename="{name}"\r\nContent-Type: {kind}\r\n\r\n'
        assert head.encode() in transport.requests[0].content

    async def test_the_form_is_as_it_should_be(self) -> None:
        """A form has the role and the file, its length, and a boundary of its own each time."""
        client, transport = scripted(POSTED, POSTED)

        for _ in range(2):
            await client.app_users.post_image("1", b"pixels", role="appUser", file_name="a.png")

        first, second = transport.requests
        kind, boundary = first.headers["content-type"].split("; boundary=")
        assert kind == "multipart/form-data"
        assert first.headers["content-type"] != second.headers["content-type"]
        assert first.headers["authorization"].startswith("Basic ")
        assert int(first.headers["content-length"]) == len(first.content)
        assert (
            first.content
            == (
                f'--{boundary}\r\nContent-Disposition: form-data; name="role"\r\n\r\nappUser\r\n'
                f'--{boundary}\r\nContent-Disposition: form-data; name="source"; filename="a.png"\r\n'
                f"Content-Type: image/png\r\n\r\npixels\r\n--{boundary}--\r\n"
            ).encode()
        )

    async def test_what_has_no_length_goes_in_chunks(self) -> None:
        """A stream is sent in chunks, since its length isn't known."""
        client, transport = scripted(POSTED)

        await client.app_users.post_image("1", pieces(), role="appUser")

        assert transport.requests[0].headers["transfer-encoding"] == "chunked"
        assert "content-length" not in transport.requests[0].headers


class TestBadInput:
    """What can't be posted is an error that names its argument, before anything is sent."""

    @pytest.mark.parametrize(
        ("source", "says"),
        [
            (b"", "source is empty"),
            (io.BytesIO(b""), "source is empty"),
            (Pipe(b""), "source is empty"),
            ("/nowhere/at/all.png", r"source can't be read: .*No such file"),
            (Path("/"), r"source can't be read: .*(directory|denied)"),
            ("a\0b", "source can't be read: embedded null byte"),
            (memoryview(bytearray(MAX_FILE_BYTES + 1)), "source is 50000001 bytes or more"),
        ],
        ids=["bytes", "in memory", "pipe", "missing", "directory", "null", "large"],
    )
    async def test_sources(self, source: Any, says: str) -> None:
        """An empty or missing file, a directory, and more than 50 MB."""
        client, transport = scripted()

        with pytest.raises(ValueError, match=says):
            await client.app_users.post_image("1", source, role="appUser")

        assert not transport.requests

    async def test_streams(self, path: Path) -> None:
        """An empty stream, and an empty file."""
        client, transport = scripted()
        await anyio.Path(path).write_bytes(b"")

        for source in (pieces(b""), path, os.fspath(path)):
            with pytest.raises(ValueError, match="source is empty"):
                await client.app_users.post_image("1", source, role="appUser")

        assert not transport.requests

    async def test_a_closed_file(self, path: Path) -> None:
        """A file that was closed."""
        client, transport = scripted()
        with path.open("rb") as file:
            pass

        with pytest.raises(ValueError, match=r"source can't be read: .*closed file"):
            await client.app_users.post_image("1", file, role="appUser")

        assert not transport.requests

    @pytest.mark.parametrize(
        ("source", "says"),
        [
            (io.StringIO("text"), 'opened as text: open it with "rb"'),
            (5, "source must be bytes, a path, .* not int"),
            (None, "source must be bytes, a path, .* not NoneType"),
            (["text"], "source must be bytes, a path, .* not list"),
        ],
    )
    async def test_other_kinds(self, source: Any, says: str) -> None:
        """What is no image at all is a `TypeError`."""
        client, transport = scripted()

        with pytest.raises(TypeError, match=says):
            await client.app_users.post_image("1", source, role="appUser")

        assert not transport.requests

    async def test_a_stream_of_text(self) -> None:
        """A stream must give bytes."""

        async def text() -> AsyncIterator[str]:
            yield "text"

        client, transport = scripted()

        with pytest.raises(TypeError, match="source must give bytes, not str"):
            await client.app_users.post_image("1", text(), role="appUser")  # type: ignore[arg-type]

        assert not transport.requests

    @pytest.mark.parametrize(
        ("options", "says"),
        [
            ({"role": ""}, "role is empty"),
            ({"role": "appUser", "content_type": "image/png\r\nX: y"}, "content_type must be"),
            ({"role": "appUser", "content_type": "png"}, "content_type must be"),
        ],
    )
    async def test_other_arguments(self, options: Any, says: str) -> None:
        """A role has to be said, and a content type is one line."""
        client, transport = scripted()

        with pytest.raises(ValueError, match=says):
            await client.app_users.post_image("1", b"x", **options)

        assert not transport.requests


@pytest.mark.usefixtures("instant_waits")
class TestSendingAgain:
    """When an image goes out again."""

    @pytest.mark.parametrize("source", ["bytes", "path", "file"])
    @pytest.mark.parametrize("answer", [429, httpx.ConnectError("")])
    async def test_what_can_be_read_again_is_sent_again(
        self, source: str, answer: Answer, path: Path
    ) -> None:
        """Bytes, a path and an open file go out whole again, where nothing can have been applied."""
        client, transport = scripted(answer, answer, POSTED)

        with path.open("rb") as file:
            sources: dict[str, Any] = {"bytes": PIXELS, "path": path, "file": file}
            await client.app_users.post_image("1", sources[source], role="appUser")

        assert len({request.content for request in transport.requests}) == 1
        assert len(transport.requests) == 3

    @pytest.mark.parametrize("answer", [LOST, 503, httpx.ReadTimeout("")])
    async def test_what_may_have_been_applied_is_not(self, answer: Answer) -> None:
        """After a lost answer an image is never posted again: it might be there twice."""
        client, transport = scripted(answer)

        with pytest.raises(SunshineError, match="may have acted") as caught:
            await client.app_users.post_image("1", PIXELS, role="appUser")

        assert caught.value.maybe_applied
        assert len(transport.requests) == 1

    async def test_what_cannot_be_read_again_is_not(self) -> None:
        """A stream that has been read isn't sent again, though nothing was applied."""
        client, transport = scripted(429)

        with pytest.raises(RateLimitError) as caught:
            await client.app_users.post_image("1", pieces(), role="appUser")

        assert not caught.value.maybe_applied
        assert len(transport.requests) == 1

    async def test_what_cannot_be_read_again_is_not_signed_again(self) -> None:
        """Nor is it with new credentials, where the old ones were refused."""
        tokens = iter(["old", "new", "newer"])

        async def token() -> str:
            return next(tokens)

        client, transport = scripted(401, 401, POSTED, auth=BearerAuth(token))

        with pytest.raises(SunshineError, match="401"):
            await client.app_users.post_image("1", pieces(), role="appUser")
        await client.app_users.post_image("1", PIXELS, role="appUser")

        assert len(transport.requests) == 3

    async def test_a_stream_that_was_not_read_is_sent_again(self) -> None:
        """Where no connection could be made, a stream is still whole, and goes out."""
        emulator, _ = emulated()

        class RefusesOnce(httpx.AsyncBaseTransport):
            refused = False

            async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
                if not self.refused:
                    self.refused = True
                    raise UNSENT
                return await emulator.transport().handle_async_request(request)

        client = smooch(RefusesOnce())

        await client.app_users.post_image("jane", pieces(), role="appUser")

        assert emulator.smooch.images[0].sha256 == sha256(PIXELS).hexdigest()


class TestTrouble:
    """What goes wrong while an image is sent."""

    @pytest.mark.parametrize("error", [OSError("disk"), RuntimeError("own"), httpx.ReadError("x")])
    async def test_an_error_of_the_source_comes_out_as_itself(self, error: Exception) -> None:
        """It isn't taken for one of the network, and the service has nothing."""

        async def breaks() -> AsyncIterator[bytes]:
            yield PIXELS
            raise error

        emulator, client = emulated()

        with pytest.raises(type(error)) as caught:
            await client.app_users.post_image("jane", breaks(), role="appUser")

        assert caught.value is error
        assert emulator.smooch.images == []

    async def test_a_stream_that_turns_out_too_large_is_broken_off(self) -> None:
        """More than 50 MB of a stream are never sent whole."""

        async def endless() -> AsyncIterator[bytes]:
            while True:
                yield PIXELS

        emulator, client = emulated()

        with pytest.raises(ValueError, match=r"source is 5\d+ bytes or more"):
            await client.app_users.post_image("jane", endless(), role="appUser")

        assert emulator.smooch.images == []

    @pytest.mark.parametrize(("now", "says"), [(PIXELS[:-1], "shorter"), (PIXELS + b"x", "longer")])
    async def test_a_file_that_changes_is_noticed(self, now: bytes, says: str, path: Path) -> None:
        """A file that isn't as long as it was when it was looked at isn't sent whole."""
        image = (await Form.of({"source": File(path)})).with_texts({"role": "appUser"})
        await anyio.Path(path).write_bytes(now)

        with pytest.raises(ValueError, match=f"source has become {says}"):
            async with image.open() as form:
                assert [piece async for piece in form]

    async def test_a_form_has_an_end(self) -> None:
        """The pieces of a form end, and stay ended."""
        image = (await Form.of({"source": File(b"x")})).with_texts({"role": "appUser"})

        async with image.open() as form:
            whole = [piece async for piece in form]
            again = [piece async for piece in form]

        assert (sum(map(len, whole)), again) == (image.length, [])

    async def test_a_file_that_is_gone_by_then_is_an_error(self, path: Path) -> None:
        """A file that vanishes between two attempts is an error of the file."""

        class Vanishes(ScriptedTransport):
            async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
                await anyio.Path(path).unlink()
                raise UNSENT

        client = smooch(Vanishes([]), retry=Retry(first_wait=0))

        with pytest.raises(FileNotFoundError):
            await client.app_users.post_image("1", path, role="appUser")

    async def test_an_answer_that_is_cut_off_is_unknown(self) -> None:
        """An image that was posted, whose answer broke, may have been posted."""
        emulator, client = emulated()
        emulator.faults = [Mishap(cut=True)]

        with pytest.raises(ConnectionLostError) as caught:
            await client.app_users.post_image("jane", PIXELS, role="appUser")

        assert caught.value.maybe_applied
        assert len(emulator.smooch.images) == 1

    @virtual_on_both
    async def test_a_source_that_stalls_times_out(self) -> None:
        """A stream that gives nothing more is a timeout like any other."""

        async def stalls() -> AsyncIterator[bytes]:
            yield PIXELS
            await anyio.sleep_forever()

        _, client = emulated()
        hasty = client.with_options(timeout=0.01)
        with pytest.raises(RequestTimeoutError):
            await hasty.app_users.post_image("jane", stalls(), role="appUser")

    async def test_the_service_may_take_less(self) -> None:
        """Where the service's own limit is lower, its refusal comes out."""
        client, _ = scripted(413)

        with pytest.raises(PayloadTooLargeError):
            await client.app_users.post_image("1", PIXELS, role="appUser")

    async def test_no_frame_shows_the_bytes(self) -> None:
        """No local variable of a frame that an error passes through has the bytes of the image."""
        secret = "s3cret-12345"
        client, _ = scripted(413)

        with pytest.raises(PayloadTooLargeError) as caught:
            await client.app_users.post_image("nobody", secret.encode(), role="appUser")

        assert leaks(caught.value, secret) == []


Opened = Callable[[Path], Any]


@pytest.mark.slow
@pytest.mark.parametrize(
    "source",
    [lambda path: path, lambda path: path.open("rb"), slices],
    ids=["path", "file", "stream"],
)
async def test_a_large_image_takes_little_memory(source: Opened, path: Path) -> None:
    """40 MB go over a socket with less than 10 MB of memory added, on both sides together."""
    size = sized(40, 16) * 2**20
    with path.open("wb") as file:
        file.truncate(size)
    emulator, _ = emulated()

    async with emulator.serve() as base_url:
        transport = httpx.AsyncHTTPTransport()
        client = smooch(transport, base_url=base_url)
        async with client:
            await client.app_users.get("jane")
            given = source(path)
            tracemalloc.start()
            try:
                await client.app_users.post_image("jane", given, role="appUser")
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
            if hasattr(given, "close"):
                given.close()

    assert emulator.smooch.images[0].size == size
    assert peak < 10 * 2**20
