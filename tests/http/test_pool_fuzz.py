import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Final, TypeAlias

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.servers import Peer, Script, answer, serving
from support.size import sized
from support.virtual import until
from support.wires import body_of, call, pool_of, wired

from sunshine_async._http.messages import Failure, Response
from sunshine_async._http.pool import SocketWire
from sunshine_async._http.response_parser import PlainResponseReader, ResponseParser
from sunshine_async._http.response_parts import InvalidResponseError

Read: TypeAlias = tuple[int, bytes]
"""Status and body."""

OK: Final = b"HTTP/1.1 200 OK\r\n"
ANSWERS: Final = (
    OK + b"Content-Length: 5\r\nX-A: b\r\n\r\nhello",
    OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;a=b\r\nlo\r\n0\r\nX-T: y\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 204 No Content\r\nDate: x\r\n\r\n",
    b"HTTP/1.0 200 OK\r\nServer: y\r\n\r\nuntil close",
    OK + b"Connection: close\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n",
    b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n",
)
WORDS: Final = (
    *(b"\r\n", b"\n", b"\r", b" ", b":", b"0", b"1", b"f", b"\0", b"\t", b",", b";", b"-", b"\xff"),
    *(b"Content-Length: 2\r\n", b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n"),
    *(b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 ", b"chunked"),
)

STRICTER: Final = {
    "Missing expected CR": "lines end with CR LF; h11 takes a bare LF too",
    "Invalid header field char": "the same, where the header ends",
    "Invalid header value char": "the same in a value, and control characters, which h11 takes",
    "Invalid response status": "the same after the status",
    "Unexpected whitespace after header value": "folded lines are obsolete",
    "Invalid character in chunk extensions": "extensions are tokens; h11 doesn't look at them",
    "Expected LF after chunk size": "the same",
    "Invalid character in chunk size": "nor do blanks belong to a size",
    "Invalid HTTP version": "versions are 1.0 and 1.1; h11 takes any",
    "its status line is wrong": "the same",
    "Content-Length can't be present with Transfer-Encoding": "two framings are one too many",
    "Transfer-Encoding can't be present with Content-Length": "the same",
    "Duplicate Content-Length": "so are two lengths, equal ones too",
    "Invalid character in Content-Length": "the same, in one field",
    "its Transfer-Encoding is not chunked": "a tab after it: the parser takes that for another coding",
    "an interim answer has a body": "where the answer begins is unclear then",
    "Data after `Connection: close`": "an interim answer said that it is the last one",
    "it switches to another protocol": "h11 stops there, and says nothing",
    "an encoding that was not asked for": "h11 knows no content encodings",
    "it isn't gzip": "the same",
}
"""What we say of answers that h11 reads, and why that is right."""

LOOSER: Final = {
    "no response line received": "blank lines after an interim answer do no harm",
    "illegal request line": "the same",
    "illegal status line": "control characters in the reason, which nobody looks at",
}
"""What h11 says of answers that we read, and why that does no harm."""


@st.composite
def answers(draw: st.DrawFn) -> bytes:
    """Answers, some of them cut, joined and mutated."""
    raw = bytearray(draw(st.sampled_from(ANSWERS)))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(raw)))
        to = min(len(raw), at + draw(st.integers(0, 5)))
        match draw(st.integers(0, 4)):
            case 0:
                del raw[at:to]
            case 1:
                raw[at:at] = draw(st.sampled_from(WORDS))
            case 2:
                raw[at:at] = raw[at:to]
            case 3:
                raw[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
            case _:
                other = draw(st.sampled_from(ANSWERS))
                raw[at:] = other[draw(st.integers(0, len(other))) :]
    return bytes(raw)


@st.composite
def pieces(draw: st.DrawFn) -> list[bytes]:
    """Such an answer, in the pieces that it comes in."""
    raw = draw(answers())
    cuts = draw(st.lists(st.integers(0, len(raw)), max_size=4))
    return [raw[a:b] for a, b in pairwise([0, *sorted(cuts), len(raw)]) if a < b]


def ours(
    parts: Iterable[bytes], plain: PlainResponseReader | None = None
) -> tuple[Read | None, str]:
    """Return what we read, or else why not."""
    reader = ResponseParser(plain or PlainResponseReader(limit=2**16))
    try:
        for part in parts:
            if (found := reader.feed(part)) is not None:
                break
        else:
            found = reader.feed_eof()
    except InvalidResponseError as error:
        return None, str(error)
    return ((found.status, found.body) if found else None), "it ends too early"


def of_h11(parts: Sequence[bytes]) -> tuple[Read | None, str]:
    """Return what h11 reads, or else why not."""
    reader = h11.Connection(h11.CLIENT)
    reader.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
    reader.send(h11.EndOfMessage())
    status, body = 0, b""
    try:
        for part in [*parts, b""]:
            reader.receive_data(part)
            while (event := reader.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
                if isinstance(event, h11.Response):
                    status = event.status_code
                elif isinstance(event, h11.Data):
                    body += bytes(event.data)
                elif isinstance(event, h11.EndOfMessage):
                    return (status, body), ""
                elif not isinstance(event, h11.InformationalResponse):
                    return None, "it ends too early"
    except h11.RemoteProtocolError as error:
        return None, str(error)
    return None, "it ends too early"


@settings(max_examples=sized(600, 75), deadline=None, derandomize=True)
@given(pieces())
def test_answers_are_read_as_h11_reads_them(parts: list[bytes]) -> None:
    """Where h11 reads an answer, we read the same; where it refuses, so do we; but for the tables."""
    (our_answer, our_reason), (its_answer, its_reason) = ours(parts), of_h11(parts)
    if our_answer is None and its_answer is not None:
        assert any(reason in our_reason for reason in STRICTER), our_reason
    elif its_answer is None and our_answer is not None:
        assert any(reason in its_reason for reason in LOOSER), its_reason
    else:
        assert our_answer == its_answer


@settings(max_examples=sized(300, 37), deadline=None, derandomize=True)
@given(pieces())
def test_pieces_make_no_difference(parts: list[bytes]) -> None:
    """An answer is read, or refused, in whatever pieces it comes."""
    whole = b"".join(parts)
    assert ours(parts)[0] == ours([whole] if whole else [])[0]
    assert ours([whole[at : at + 1] for at in range(len(whole))])[0] == ours(parts)[0]


@settings(max_examples=sized(300, 37), deadline=None, derandomize=True)
@given(st.lists(pieces(), min_size=1, max_size=4), st.data())
def test_connections_that_share_a_reader(streams: list[list[bytes]], data: st.DataObject) -> None:
    """Each connection's answer is read as if it were the only one, in whatever order pieces come."""
    plain, found = PlainResponseReader(limit=2**16), list[tuple[Read | None, str]]()

    def others(parts: Sequence[bytes]) -> Iterator[bytes]:
        """Yield *parts*, and let answers of other connections come between them."""
        for part in parts:
            if streams and data.draw(st.booleans()):
                read_next()
            yield part

    def read_next() -> None:
        parts = streams.pop()
        alone = ours(parts)
        found.append(alone)
        assert ours(others(parts), plain) == alone

    while streams:
        read_next()
    assert found
    assert plain.read(ANSWERS[0]) is not None  # the reader goes on


@settings(max_examples=sized(60, 7), deadline=None, derandomize=True)
@given(pieces())
def test_call_ends_and_the_next_is_not_touched(parts: list[bytes]) -> None:
    """Whatever comes over a connection, its call gets what is read of it, and the next call its own."""

    async def script(peer: Peer) -> None:
        await peer.request()
        if peer.index == 0:
            await peer.send(*parts)
            peer.writer.write_eof()
        else:
            await peer.send(answer(b"the next call's"))
        await peer.gone()

    async def scenario() -> Response | Failure:
        async with serving(script) as server, wired(server.url, max_connections=1) as wire:
            reply = await call(wire)
            await until(lambda: not pool_of(wire)._connections)
            assert await body_of(wire) == b"the next call's"
            return reply

    reply = asyncio.run(scenario())
    expected, _ = ours(parts)
    assert (isinstance(reply, Response) and (reply.status, reply.body)) == (expected or False)


FAULTS: Final[Sequence[Callable[[bytes, int], tuple[bytes, str]]]] = (
    lambda _raw, _cut: (b"", "close"),
    lambda raw, cut: (raw[:cut], "close"),
    lambda raw, cut: (raw[:cut], "reset"),
    lambda raw, _cut: (raw + answer(b"someone else's"), "stay"),
    lambda raw, _cut: (raw.replace(b"\r\n", b"\r\nConnection: close\r\n", 1), "close"),
    lambda raw, _cut: (b"nonsense" + raw, "stay"),
)
"""What becomes of an answer that could be cut at some place, and of its connection."""


def faulty(luck: random.Random) -> Script:
    """Return a script that answers each request with its target, mostly."""

    async def script(peer: Peer) -> None:
        while request := await peer.request():
            raw, then = answer(request.split(b" ")[1]), "stay"
            for _ in range(luck.randrange(3)):
                await asyncio.sleep(0)
            fault = luck.randrange(3 * len(FAULTS))
            if fault < len(FAULTS):
                raw, then = FAULTS[fault](raw, luck.randrange(len(raw)))
            await peer.send(raw[:9], raw[9:])
            if then != "stay":
                peer.close() if then == "close" else peer.reset()

    return script


async def call_or_cancel(wire: SocketWire, number: int, luck: random.Random) -> str:
    """Return what became of the call with that number, some of which are cancelled."""
    task = asyncio.create_task(call(wire, target=f"/{number}"))
    if number % 7 == 0:
        for _ in range(luck.randrange(9)):
            await asyncio.sleep(0)
        task.cancel()
    try:
        reply = await task
    except asyncio.CancelledError:
        return "cancelled"
    assert isinstance(reply, Failure) or reply.body == b"/%d" % number
    return type(reply).__name__


@pytest.mark.slow
async def test_faults_from_both_sides() -> None:
    """Under faults of all kinds each answer belongs to its call, and nothing is left behind."""
    luck = random.Random(1)  # the same faults every time
    outcomes: Counter[str] = Counter()
    numbers = iter(range(2000))

    async def worker(wire: SocketWire) -> None:
        for number in numbers:
            outcomes[await call_or_cancel(wire, number, luck)] += 1

    async with serving(faulty(luck)) as server, wired(server.url, max_connections=20) as wire:
        await asyncio.gather(*(worker(wire) for _ in range(50)))
        pool = pool_of(wire)
        await until(lambda: not pool._connecting and pool._free_slots + len(pool._idle) == 20)
        assert not pool._queue

    assert outcomes.total() == 2000
    assert set(outcomes) == {"Response", "Failure", "cancelled"}
