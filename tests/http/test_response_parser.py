import gc
import gzip
from typing import Final

import pytest
from support.servers import Peer, answer, answering, serving
from support.wires import body_of, call, wired

from sunshine_async._http.messages import Response
from sunshine_async._http.response_parser import PlainResponseReader, ResponseParser
from sunshine_async._http.response_parts import InvalidResponseError, read_head

CHUNKED: Final = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
GZIPPED: Final = gzip.compress(b"ok" * 1000)
ANSWERS: Final = {
    "length": (answer(b"ok"), 200, b"ok"),
    "no content": (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
    "not modified, with a length": (answer(b"", status="304 X"), 304, b""),
    "empty": (answer(b""), 200, b""),
    "no reason": (b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", 200, b"ok"),
    "chunks": (CHUNKED + b"1\r\no\r\n1;a=b\r\nk\r\n0\r\n\r\n", 200, b"ok"),
    "chunks with trailers": (
        CHUNKED + b"2\r\nok\r\n0\r\nX-A: b\r\nX-C: d\r\n\r\n",
        200,
        b"ok",
    ),
    "interim first": (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n" + answer(),
        200,
        b"ok",
    ),
    "gzip": (answer(GZIPPED, fields=b"Content-Encoding: gzip\r\n"), 200, b"ok" * 1000),
    "not encoded": (answer(b"ok", fields=b"Content-Encoding: identity\r\n"), 200, b"ok"),
    "the same length twice": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: y\r\ncontent-length:2 \r\n\r\nok",
        200,
        b"ok",
    ),
    "two lengths in one": (b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok", 200, b"ok"),
    "the same length twice, after an interim answer": (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 400 X\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
        400,
        b"ok",
    ),
    "two codings": (answer(GZIPPED, fields=b"Content-Encoding: gzip, gzip\r\n"), 200, b"ok" * 1000),
    "no coding": (answer(b"ok", fields=b"Content-Encoding: UTF-8\r\n"), 200, b"ok"),
    "said to be gzip": (answer(b"ok", fields=b"Content-Encoding: gzip\r\n"), 200, b"ok"),
    "HTTP/1.0 kept": (
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok",
        200,
        b"ok",
    ),
    "error": (answer(b"{}", status="409 Conflict"), 409, b"{}"),
}
LAST_ANSWERS: Final = {
    "close": (answer(b"ok", fields=b"Connection: close\r\n"), 200, b"ok"),
    "HTTP/1.0": (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, b"ok"),
    "until close": (b"HTTP/1.1 200 OK\r\n\r\nok", 200, b"ok"),
    "nothing until close": (b"HTTP/1.0 200 OK\r\n\r\n", 200, b""),
    "gzip until close": (
        b"HTTP/1.1 200 OK\r\nContent-Encoding: x-gzip\r\n\r\n" + GZIPPED,
        200,
        b"ok" * 1000,
    ),
    "no content, with a length": (answer(b"ok", status="204 X"), 204, b""),
    "not modified, with another length": (answer(b"ok", status="304 X"), 304, b""),
    "close in a trailer": (
        CHUNKED + b"2\r\nok\r\n0\r\nConnection: close\r\n\r\n",
        200,
        b"ok",
    ),
    "more bytes": (answer(b"ok") + b"more", 200, b"ok"),
    "a second answer": (answer(b"ok") + answer(b"someone else's"), 200, b"ok"),
    "more bytes after the last": (
        answer(b"ok", fields=b"Connection: close\r\n") + answer(b"no"),
        200,
        b"ok",
    ),
}


class TestAnswer:
    @pytest.mark.parametrize("cut", [1, 7, 10**6])
    @pytest.mark.parametrize("name", ANSWERS)
    async def test_answer_is_read_and_its_connection_kept(self, name: str, cut: int) -> None:
        """An answer is read whole, in whatever pieces it comes, and the next one too."""
        raw, status, body = ANSWERS[name]

        async def script(peer: Peer) -> None:
            while await peer.request():
                await peer.send(*(raw[at : at + cut] for at in range(0, len(raw), cut)))

        async with serving(script) as server, wired(server.url) as wire:
            for _ in range(3):
                reply = await call(wire)
                assert isinstance(reply, Response), reply
                assert (reply.status, reply.body) == (status, body)

        assert len(server.peers) == 1

    @pytest.mark.parametrize("name", LAST_ANSWERS)
    async def test_answer_is_read_and_its_connection_closed(self, name: str) -> None:
        """After an answer that is the last one, or isn't alone, the next call connects anew."""
        raw, status, body = LAST_ANSWERS[name]

        async def script(peer: Peer) -> None:
            await peer.request()
            await peer.send(raw)
            if b"ontent-" not in raw or b"x-gzip" in raw:
                peer.close()
            await peer.gone()

        async with serving(script) as server, wired(server.url) as wire:
            for _ in range(3):
                reply = await call(wire)
                assert isinstance(reply, Response), reply
                assert (reply.status, reply.body) == (status, body)

        assert len(server.peers) == 3

    async def test_blank_line_after_an_answer_is_no_answer(self) -> None:
        """A line end too many, as some servers send, is neither an answer nor a part of one."""
        raw = answer() + b"\r\n"
        async with serving(answering(raw, raw)) as server, wired(server.url) as wire:
            assert [await body_of(wire), await body_of(wire)] == [b"ok", b"ok"]

    async def test_head_has_no_body(self) -> None:
        """The answer to HEAD has a length and no body, and is not waited for."""
        async with (
            serving(answering(answer(b"")[:-4] + b"7\r\n\r\n")) as server,
            wired(server.url) as wire,
        ):
            reply = await call(wire, "HEAD")

        assert isinstance(reply, Response)
        assert reply.body == b""

    async def test_interim_answer_to_head(self) -> None:
        """Before the answer to HEAD there may be interim ones, as to any request."""
        raw = b"HTTP/1.1 100 Continue\r\n\r\n" + answer(b"")[:-4] + b"7\r\n\r\n"
        async with serving(answering(raw)) as server, wired(server.url) as wire:
            reply = await call(wire, "HEAD")

        assert isinstance(reply, Response)
        assert reply.status == 200

    async def test_header_names_are_lower_case_and_repeated_fields_are_one(self) -> None:
        """Headers are found by lower-case names; fields of one name are one, values as they came."""
        fields = b"X-Request-ID:  a1 \r\nVary: a\r\nvary: b\r\nX-Empty:\r\nX-Latin: caf\xe9\r\n"
        async with (
            serving(answering(answer(fields=fields))) as server,
            wired(server.url) as wire,
        ):
            reply = await call(wire)

        assert isinstance(reply, Response)
        assert reply.headers == {
            "content-length": "2",
            "x-request-id": "a1",
            "vary": "a, b",
            "x-empty": "",
            "x-latin": "caf\xe9",
        }
        assert len(reply.headers) == 5

    async def test_trailers_are_no_headers(self) -> None:
        """What comes after a body changes nothing that its headers have said."""
        raw = CHUNKED + b"2\r\nok\r\n0\r\nRetry-After: 9\r\n\r\n"
        async with serving(answering(raw)) as server, wired(server.url) as wire:
            reply = await call(wire)

        assert isinstance(reply, Response)
        assert reply.headers == {"transfer-encoding": "chunked"}

    async def test_early_answer_is_the_answer(self) -> None:
        """A server that answers before it has taken the body is heard, and its connection closed."""

        async def script(peer: Peer) -> None:
            await peer.reader.readuntil(b"\r\n\r\n")
            await peer.send(answer(b"too large", status="413 Payload Too Large"))
            await peer.reader.read()

        async with serving(script) as server, wired(server.url, max_connections=1) as wire:
            for _ in range(2):
                reply = await call(wire, "POST", "/", bytes(2**25))
                assert isinstance(reply, Response)
                assert reply.status == 413

        assert len(server.peers) == 2

    async def test_early_answer_until_close_is_the_answer(self) -> None:
        """A server that answers without a length before it has taken the body is heard as well."""

        async def script(peer: Peer) -> None:
            await peer.reader.readuntil(b"\r\n\r\n")
            await peer.send(b"HTTP/1.1 413 Payload Too Large\r\n\r\nno")
            peer.writer.write_eof()
            await peer.gone()

        async with serving(script) as server, wired(server.url) as wire:
            reply = await call(wire, "POST", "/", bytes(2**25))

        assert isinstance(reply, Response)
        assert (reply.status, reply.body) == (413, b"no")


@pytest.mark.parametrize("end", [b"\r\n", b"\r\r"])
def test_each_end_of_a_line_that_a_version_of_llhttp_takes(end: bytes) -> None:
    """The first field counts after a status line that older versions let end by CR CR."""
    headers = read_head(b"HTTP/1.1 429 Slow" + end + b"Retry-After: 7\r\nX-A: b")

    assert headers == {"retry-after": "7", "x-a": "b"}


def fed(data: bytes, size: int) -> Response | None:
    """Return the response to *data*, parsed in pieces of *size* with bodies of 1,000 bytes at most."""
    parser, response = ResponseParser(PlainResponseReader(limit=1000)), None
    while data and response is None:
        response, data = parser.feed(data[:size]), data[size:]
    return response


@pytest.mark.parametrize("size", [999, 1_000_000])
def test_a_response_in_one_piece_is_bounded_too(size: int) -> None:
    """A large head is refused, and a large body is left out, in whatever pieces they come."""
    with pytest.raises(InvalidResponseError, match="65536 bytes"):
        fed(answer(fields=b"X: " + b"a" * 70_000 + b"\r\n"), size)
    response = fed(answer(b"a" * 1001), size)
    assert response is not None
    assert response.body_error == "its body is larger than 1000 bytes"


def test_each_plain_response_is_read_in_the_cheap_way() -> None:
    """The headers of a later response of a connection aren't decoded for a limit either."""
    parser = ResponseParser(PlainResponseReader(limit=1000))
    for _ in range(3):
        parser.expect("GET")
        response = parser.feed(answer())
        assert response is not None
        assert not response.tells_limit


def test_what_an_interrupted_read_has_left() -> None:
    """The end of a response whose reading was interrupted doesn't count for the next response."""
    plain = PlainResponseReader(limit=1000)
    plain.on_message_complete()  # llhttp calls, and nothing comes of it
    assert plain.read(answer(b"ab")[:-1]) is None
    assert plain.read(answer(b"ab")) is not None


def test_decoded_fields_end_with_the_call_that_asks_for_them() -> None:
    """A connection keeps its last response, but no fields: they would end with the next answer."""
    response = fed(answer(fields=b"X-RateLimit-Limit: 5\r\n"), 1000)
    assert response is not None
    assert response.headers["x-ratelimit-limit"] == "5"
    assert not any(isinstance(one, dict) for one in gc.get_referents(response))
