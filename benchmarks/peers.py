"""The same create by each client: ours, and what else one would call the service with."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

from attrs import frozen
from measuring import APP, BlockingCreate, Coroutines, Create, Node, Target, Threads

_JS = "sunshine-conversations-client"
AUTHORIZATION = "Basic a2V5OnNlY3JldA=="


def user(number: int) -> dict[str, Any]:
    """Return what those send that have no models."""
    return {
        "externalId": f"jane-{number}",
        "profile": {"givenName": "Jane", "surname": "Doe", "email": "jane@example.com"},
        "metadata": {"tier": "gold", "age": 42},
    }


@asynccontextmanager
async def ours(target: Target, in_flight: int) -> AsyncIterator[Create]:
    """Typed, with the default retry and pace."""
    from sunshine_async import BasicAuth, SunshineClient  # noqa: PLC0415
    from sunshine_async.sunshine import Profile, UserCreateBody  # noqa: PLC0415

    auth = BasicAuth("key", "secret")
    async with SunshineClient(
        APP,
        auth=auth,
        base_url=target.url,
        max_connections=in_flight,
        ssl_context=target.context(),
        timeout=300.0,  # a call under valgrind may take long
    ) as client:

        async def create(number: int) -> object:
            body = UserCreateBody(
                external_id=f"jane-{number}",
                profile=Profile(given_name="Jane", surname="Doe", email="jane@example.com"),
                metadata={"tier": "gold", "age": 42},
            )
            return await client.users.create(body)

        yield create


@asynccontextmanager
async def aiohttp_json(target: Target, in_flight: int) -> AsyncIterator[Create]:
    """Bare: dicts in and out, no retries."""
    import aiohttp  # noqa: PLC0415

    connector = aiohttp.TCPConnector(limit=in_flight, ssl=target.context() or True)
    headers = {"Authorization": AUTHORIZATION}
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:

        async def create(number: int) -> object:
            async with session.post(target.users, json=user(number)) as response:
                return await response.json()

        yield create


@asynccontextmanager
async def _httpx(transport: Any) -> AsyncIterator[Callable[[str, dict[str, Any]], Awaitable[Any]]]:
    import httpx  # noqa: PLC0415

    headers = {"Authorization": AUTHORIZATION}
    async with httpx.AsyncClient(transport=transport, headers=headers, timeout=60) as client:

        async def post(url: str, body: dict[str, Any]) -> object:
            return (await client.post(url, json=body)).json()

        yield post


@asynccontextmanager
async def httpx_stock(target: Target, in_flight: int) -> AsyncIterator[Create]:
    """Bare: dicts in and out, no retries."""
    import httpx  # noqa: PLC0415

    limits = httpx.Limits(max_connections=in_flight, max_keepalive_connections=in_flight)
    transport = httpx.AsyncHTTPTransport(limits=limits, verify=target.context() or True)
    async with _httpx(transport) as post:
        yield lambda number: post(target.users, user(number))


@asynccontextmanager
async def httpx_on_aiohttp(target: Target, in_flight: int) -> AsyncIterator[Create]:
    """Bare: dicts in and out, no retries."""
    import httpx  # noqa: PLC0415
    from httpx_aiohttp import AiohttpTransport  # noqa: PLC0415

    limits = httpx.Limits(max_connections=in_flight, max_keepalive_connections=in_flight)
    transport = AiohttpTransport(limits=limits, verify=target.context() or True)
    async with _httpx(transport) as post:
        yield lambda number: post(target.users, user(number))


class _Raw(asyncio.Protocol):
    """Sends bytes, and waits until as many as an answer has have come."""

    def __init__(self) -> None:
        self.answer: asyncio.Future[bytes] | None = None
        self._came = b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._came += data
        head = self._came.find(b"\r\n\r\n")
        if head >= 0 and self.answer is not None:
            at = self._came.index(b"Content-Length: ") + 16
            end = head + 4 + int(self._came[at : self._came.index(b"\r", at)])
            if len(self._came) >= end:
                self.answer.set_result(self._came[head + 4 :])
                self._came, self.answer = b"", None


@asynccontextmanager
async def raw_sockets(target: Target, in_flight: int) -> AsyncIterator[Create]:
    """Create by a hand-written protocol that knows this one answer: what asyncio itself costs."""
    loop = asyncio.get_running_loop()
    parts = urlsplit(target.url)
    context = target.context()
    links = [
        (await loop.create_connection(_Raw, parts.hostname, parts.port, ssl=context))[1]
        for _ in range(in_flight)
    ]
    head = (
        f"POST /v2/apps/{APP}/users HTTP/1.1\r\nHost: {parts.netloc}\r\n"
        f"Authorization: {AUTHORIZATION}\r\nContent-Type: application/json\r\nContent-Length: "
    )

    async def create(number: int) -> object:
        link = links.pop()
        body = json.dumps(user(number))
        link.answer = loop.create_future()
        link.transport.write(f"{head}{len(body)}\r\n\r\n{body}".encode())
        answer = json.loads(await link.answer)
        links.append(link)
        return answer

    try:
        yield create
    finally:
        for link in links:
            link.transport.abort()


def vendors(target: Target, in_flight: int) -> BlockingCreate:
    """Typed, and without retries, as the vendor generates it."""
    import sunshine_conversations_client as vendor  # noqa: PLC0415

    configuration = vendor.Configuration(host=target.url, username="key", password="secret")  # noqa: S106
    configuration.ssl_ca_cert = target.authority
    configuration.connection_pool_maxsize = in_flight
    api = vendor.UsersApi(vendor.ApiClient(configuration))

    def create(number: int) -> object:
        profile = vendor.Profile(given_name="Jane", surname="Doe", email="jane@example.com")
        metadata = {"tier": "gold", "age": 42}
        body = vendor.UserCreateBody(
            external_id=f"jane-{number}", profile=profile, metadata=metadata
        )
        return api.create_user(APP, body)

    return create


@frozen
class Peer:
    """A client: its *name*, how it is measured, and the modules or packages that this *needs*."""

    name: str
    runs: Coroutines | Threads | Node
    needs: tuple[str, ...] = ()

    @property
    def is_installed(self) -> bool:
        return all(self.runs.has(name) for name in self.needs)


PEERS = (
    Peer("sunshine_async", Coroutines(ours)),
    Peer("sunshine_async on uvloop", Coroutines(ours, on_uvloop=True), ("uvloop",)),
    Peer("aiohttp + json", Coroutines(aiohttp_json), ("aiohttp",)),
    Peer("httpx on aiohttp", Coroutines(httpx_on_aiohttp), ("httpx_aiohttp",)),
    Peer("httpx", Coroutines(httpx_stock)),
    Peer("the vendor's client, threads", Threads(vendors), ("sunshine_conversations_client",)),
    Peer("the vendor's JS client, Node", Node("vendor.js"), (_JS,)),
    Peer("the same, told to keep connections", Node("vendor.js", keep_alive=True), (_JS,)),
    Peer("raw sockets", Coroutines(raw_sockets)),
)
