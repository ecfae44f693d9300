"""A server that answers every request with the same user, as cheaply as can be: `measuring.stub`.

    python benchmarks/stub_server.py [--latency 0.1] [--certificate cert.pem] [--faults 1]

The first line of its output is its port. It ends when its standard input does. With *--faults* (a
seed) it answers with the external id that it was sent, and about every fifth time goes wrong.

A GET is answered with ``[connections, requests, bytes of the requests]`` since the start, in which
no GET counts.
"""

import argparse
import asyncio
import json
import random
import re
import ssl
import sys
from typing import Final, cast

import uvloop
from measuring import USER_ID

USER: Final = (
    b'{"user":{"id":"%b","externalId":"jane-1","signedUpAt":"2021-12-01T12:46:36.581Z",'
    b'"toBeRetained":true,"authenticated":true,"hasPaymentInfo":false,"identities":[{"type":"email",'
    b'"value":"jane@example.com"}],"profile":{"givenName":"Jane","surname":"Doe","email":"jane@example.com",'
    b'"locale":"en-US","localeOrigin":"apiRequest"},"metadata":{"tier":"gold","age":42}}}'
) % USER_ID.encode()
_FORM: Final = (
    b"HTTP/1.1 201 Created\r\nDate: Wed, 01 Dec 2021 12:46:36 GMT\r\n"
    b"Content-Type: application/json; charset=utf-8\r\nX-Request-Id: 0b51f2f0-9a3e-4c7e-8f43\r\n"
    b"Strict-Transport-Security: max-age=31536000\r\nCache-Control: no-store\r\n"
    b"Content-Length: %d\r\n\r\n%b"
)
ANSWER: Final = _FORM % (len(USER), USER)

_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_EXTERNAL_ID: Final = re.compile(rb'"externalId":"([^"]+)"')


class Stub(asyncio.Protocol):
    """Counts the bytes of each request, and reads none of them."""

    latency = 0.0
    counts: Final = [0, 0, 0]
    """Connections, requests, and their bytes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.counts[0] += 1
        self._transport = cast("asyncio.Transport", transport)
        self._loop = asyncio.get_running_loop()
        self._pending = b""

    def data_received(self, data: bytes) -> None:
        self._pending += data
        while (head := self._pending.find(b"\r\n\r\n")) >= 0:
            length = _LENGTH.search(self._pending, 0, head + 2)
            end = head + 4 + (int(length[1]) if length else 0)
            if len(self._pending) < end:
                return
            request, self._pending = self._pending[:end], self._pending[end:]
            if request.startswith(b"GET"):
                self.counts[0] -= 1
                counts = json.dumps(self.counts).encode()
                self.send(_FORM % (len(counts), counts))
                return
            self.counts[1] += 1
            self.counts[2] += end
            if self.latency:
                self._loop.call_later(self.latency, self.answer, request)
            else:
                self.answer(request)

    def answer(self, _request: bytes) -> None:
        self.send(ANSWER)

    def send(self, raw: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(raw)


class FaultyStub(Stub):
    """Answers each request with the external id that it has, if nothing goes wrong."""

    luck = random.Random()

    def answer(self, request: bytes) -> None:
        found = _EXTERNAL_ID.search(request)
        user = USER.replace(b"jane-1", found[1] if found else b"nobody")
        raw = _FORM % (len(user), user)
        if self.luck.random() > 0.2:
            self.send(raw)
            return
        part = raw[: self.luck.randrange(len(raw))]
        match self.luck.randrange(6):
            case 0:
                self.send(part)
                self._transport.close()
            case 1:
                self.send(part)
                self._transport.abort()
            case 2:
                self.send(raw + ANSWER)
            case 3:
                self.send(raw.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
                self._transport.close()
            case 4:
                self.send(b"nonsense" + raw)
            case _:
                self._loop.call_later(0.02, self.send, raw)


async def serve(stub: type[Stub], certificate: str | None) -> None:
    """Serve until standard input ends."""
    context = None
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(stub, "127.0.0.1", 0, ssl=context, backlog=2048)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--latency", type=float, default=0.0)
    parser.add_argument("--certificate")
    parser.add_argument("--faults", type=int)
    arguments = parser.parse_args()
    Stub.latency = arguments.latency
    FaultyStub.luck.seed(arguments.faults)
    uvloop.run(serve(Stub if arguments.faults is None else FaultyStub, arguments.certificate))
