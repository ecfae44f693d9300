"""The same create by each client: ours, and the clients that users choose otherwise.

A client of HTTP does two kinds of work:

- *+ json*: dictionaries out and in, with the JSON functions that the client documents.
- *our codec*: typed, as ours. Our models and codec build the body and read the answer, and the
  client carries bytes. The difference to ours is then the call itself: no knowledge of sent bytes,
  no retries, no pace, no settling of creates in doubt.

All keep as many connections as calls are in flight, verify the certificate with the same authority,
and check the status of the answer. All but the raw sockets wait at most `TIMEOUT` for the answer.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from functools import partial
from importlib import import_module
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit

from attrs import frozen
from measuring import APP, BlockingCreate, Coroutines, Create, Node, Opened, Target, Threads

HEADERS: Final = {"Authorization": "Basic a2V5OnNlY3JldA==", "Content-Type": "application/json"}
CREATED: Final = 201
TIMEOUT: Final = 100.0
"""Seconds: a call under valgrind may take long. Less than the deadline of our calls, as by default."""


@frozen
class Http:
    """An open client of HTTP: a create of a dictionary, and a create of the bytes of a body."""

    post_json: Callable[[dict[str, Any]], Awaitable[Any]]
    post: Callable[[bytes], Awaitable[bytes]]


Client: TypeAlias = Callable[[Target, int], AbstractAsyncContextManager[Http]]


def user(number: int) -> dict[str, Any]:
    """Return the body of a client without models."""
    return {
        "externalId": f"jane-{number}",
        "profile": {"givenName": "Jane", "surname": "Doe", "email": "jane@example.com"},
        "metadata": {"tier": "gold", "age": 42},
    }


def _typed_user() -> Callable[[int], Any]:
    """Return the function that builds the body by our models, which only some processes import."""
    from sunshine_async.sunshine import Profile, UserCreateBody  # noqa: PLC0415

    def typed_user(number: int) -> UserCreateBody:
        return UserCreateBody(
            external_id=f"jane-{number}",
            profile=Profile(given_name="Jane", surname="Doe", email="jane@example.com"),
            metadata={"tier": "gold", "age": 42},
        )

    return typed_user


def with_json(client: Client) -> Callable[[Target, int], Opened]:
    """Return *client* for creates of dictionaries, by the JSON functions of the client."""

    @asynccontextmanager
    async def opened(target: Target, in_flight: int) -> AsyncIterator[Create]:
        async with client(target, in_flight) as http:
            post = http.post_json

            async def create(number: int) -> object:
                return (await post(user(number)))["user"]["id"]

            yield create

    return opened


def with_our_codec(client: Client) -> Callable[[Target, int], Opened]:
    """Return *client* for typed creates, by our models and codec."""

    @asynccontextmanager
    async def opened(target: Target, in_flight: int) -> AsyncIterator[Create]:
        from sunshine_async._codec import decode, encode, structure_inside  # noqa: PLC0415
        from sunshine_async.sunshine import User  # noqa: PLC0415

        typed_user = _typed_user()
        async with client(target, in_flight) as http:
            post = http.post

            async def create(number: int) -> object:
                answer = await post(encode(typed_user(number)))
                return structure_inside(decode(answer), "user", User).id

            yield create

    return opened


@asynccontextmanager
async def ours(target: Target, in_flight: int) -> AsyncIterator[Create]:
    """Typed, with the default retry and pace."""
    from sunshine_async import BasicAuth, SunshineClient  # noqa: PLC0415

    typed_user = _typed_user()
    async with SunshineClient(
        APP,
        auth=BasicAuth("key", "secret"),
        base_url=target.url,
        max_connections=in_flight,
        ssl_context=target.context(),
        timeout=TIMEOUT,
    ) as client:

        async def create(number: int) -> object:
            return (await client.users.create(typed_user(number))).id

        yield create


def _check(status: int) -> None:
    if status != CREATED:
        message = f"the answer has status {status}"
        raise RuntimeError(message)


@asynccontextmanager
async def _aiohttp(target: Target, in_flight: int) -> AsyncIterator[Http]:
    import aiohttp  # noqa: PLC0415

    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=in_flight, ssl=target.context() or True),
        headers=HEADERS,
        timeout=aiohttp.ClientTimeout(TIMEOUT),
    ) as session:

        async def post_json(body: dict[str, Any]) -> object:
            async with session.post(target.users, json=body) as response:
                _check(response.status)
                return await response.json()

        async def post(body: bytes) -> bytes:
            async with session.post(target.users, data=body) as response:
                _check(response.status)
                return await response.read()

        yield Http(post_json, post)


@asynccontextmanager
async def _httpx(
    target: Target, in_flight: int, *, module: str, transport: str = ""
) -> AsyncIterator[Http]:
    """Httpx, or httpx2, which Pydantic maintains; *transport* is ``module.class`` of another's."""
    httpx = import_module(module)
    limits = httpx.Limits(max_connections=in_flight, max_keepalive_connections=in_flight)
    place, _, name = transport.rpartition(".")
    make = getattr(import_module(place), name) if transport else httpx.AsyncHTTPTransport
    async with httpx.AsyncClient(
        transport=make(limits=limits, verify=target.context() or True),
        headers=HEADERS,
        timeout=TIMEOUT,
    ) as client:

        async def post_json(body: dict[str, Any]) -> object:
            response = await client.post(target.users, json=body)
            _check(response.status_code)
            return response.json()

        async def post(body: bytes) -> bytes:
            response = await client.post(target.users, content=body)
            _check(response.status_code)
            return response.content

        yield Http(post_json, post)


@asynccontextmanager
async def _pyreqwest(target: Target, in_flight: int) -> AsyncIterator[Http]:
    """Reqwest of Rust, in one thread of its own, as by default."""
    from pyreqwest.client import ClientBuilder  # noqa: PLC0415

    builder = ClientBuilder().default_headers(HEADERS).timeout(timedelta(seconds=TIMEOUT))
    builder = builder.max_connections(in_flight).pool_max_idle_per_host(in_flight)
    if trusted := target.trusted():
        builder = builder.add_root_certificate_pem(trusted)
    async with builder.build() as client:

        async def post_json(body: dict[str, Any]) -> object:
            response = await client.post(target.users).body_json(body).build().send()
            _check(response.status)
            return await response.json()

        async def post(body: bytes) -> bytes:
            response = await client.post(target.users).body_bytes(body).build().send()
            _check(response.status)
            return (await response.bytes()).to_bytes()

        yield Http(post_json, post)


@asynccontextmanager
async def _ry(target: Target, in_flight: int) -> AsyncIterator[Http]:
    """Reqwest of Rust, in as many threads as processors; only the callers limit the connections."""
    import ry  # noqa: PLC0415

    trusted = target.trusted()
    client = ry.Client(
        headers=HEADERS,
        timeout=ry.Duration.from_secs_f64(TIMEOUT),
        pool_max_idle_per_host=in_flight,
        tls_certs_only=[ry.Certificate.from_pem(trusted)] if trusted else None,
    )

    async def post_json(body: dict[str, Any]) -> object:
        response = await client.post(target.users, json=body)
        _check(response.status)
        return await response.json()

    async def post(body: bytes) -> bytes:
        response = await client.post(target.users, body=body)
        _check(response.status)
        return bytes(await response.bytes())

    yield Http(post_json, post)


class _Raw(asyncio.Protocol):
    """Connection for one form of answer, among the *free* connections between two calls."""

    def __init__(self, free: list["_Raw"]) -> None:
        self._free = free
        self._came = b""
        self.answer: asyncio.Future[bytes] | None = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self._free.append(self)

    def data_received(self, data: bytes) -> None:
        self._came += data
        head = self._came.find(b"\r\n\r\n")
        if head >= 0 and self.answer is not None:
            at = self._came.index(b"Content-Length: ") + 16
            end = head + 4 + int(self._came[at : self._came.index(b"\r", at)])
            if len(self._came) >= end:
                _check(int(self._came[9:12]))
                self.answer.set_result(self._came[head + 4 :])
                self._came, self.answer = b"", None
                self._free.append(self)


@asynccontextmanager
async def _raw_sockets(target: Target, in_flight: int) -> AsyncIterator[Http]:
    """Call by a protocol written by hand for this one call: the cost of the event loop itself."""
    loop = asyncio.get_running_loop()
    parts = urlsplit(target.url)
    free: list[_Raw] = []
    for _ in range(in_flight):
        await loop.create_connection(
            partial(_Raw, free), parts.hostname, parts.port, ssl=target.context()
        )
    links = list(free)
    fields = "".join(f"{name}: {value}\r\n" for name, value in HEADERS.items())
    head = f"POST {urlsplit(target.users).path} HTTP/1.1\r\nHost: {parts.netloc}\r\n{fields}"
    start = f"{head}Content-Length: ".encode()

    def post(body: bytes) -> asyncio.Future[bytes]:
        link = free.pop()
        link.answer = loop.create_future()
        link.transport.write(b"%b%d\r\n\r\n%b" % (start, len(body), body))
        return link.answer

    async def post_json(body: dict[str, Any]) -> object:
        return json.loads(await post(json.dumps(body).encode()))

    try:
        yield Http(post_json, post)
    finally:
        for link in links:
            link.transport.abort()


def vendors(target: Target, in_flight: int) -> BlockingCreate:
    """Typed, without retries: the client that the vendor generates."""
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
        return api.create_user(APP, body).user.id

    return create


@frozen
class Peer:
    """Client with a *name*, the kind of measurement, and the modules or packages to install."""

    name: str
    runs: Coroutines | Threads | Node
    needs: tuple[str, ...] = ()

    @property
    def is_installed(self) -> bool:
        return all(self.runs.has(name) for name in self.needs)


OURS: Final = "sunshine_async"
OURS_ON_UVLOOP: Final = "sunshine_async on uvloop"
AIOHTTP: Final = "aiohttp + json"
HTTPX: Final = "httpx + json"
PYREQWEST_TYPED: Final = "pyreqwest, our codec"
VENDOR: Final = "the vendor's client, threads"
JS: Final = "the vendor's JS client, Node"
JS_KEPT: Final = "the same, told to keep connections"
RAW: Final = "raw sockets + json"
RAW_TYPED: Final = "raw sockets, our codec"
RAW_TYPED_ON_UVLOOP: Final = "raw sockets, our codec, on uvloop"

_STOCK: Final = partial(_httpx, module="httpx")
_ON_AIOHTTP: Final = partial(_httpx, module="httpx", transport="httpx_aiohttp.AiohttpTransport")
_HTTPX2: Final = partial(_httpx, module="httpx2")
_PACKAGE: Final = "sunshine-conversations-client"

PEERS: Final = (
    Peer(OURS, Coroutines(ours)),
    Peer(OURS_ON_UVLOOP, Coroutines(ours, on_uvloop=True), ("uvloop",)),
    Peer(AIOHTTP, Coroutines(with_json(_aiohttp)), ("aiohttp",)),
    Peer("aiohttp, our codec", Coroutines(with_our_codec(_aiohttp)), ("aiohttp",)),
    Peer("httpx on aiohttp + json", Coroutines(with_json(_ON_AIOHTTP)), ("httpx_aiohttp",)),
    Peer(HTTPX, Coroutines(with_json(_STOCK))),
    Peer("httpx2 + json", Coroutines(with_json(_HTTPX2)), ("httpx2",)),
    Peer("pyreqwest + json", Coroutines(with_json(_pyreqwest)), ("pyreqwest",)),
    Peer(PYREQWEST_TYPED, Coroutines(with_our_codec(_pyreqwest)), ("pyreqwest",)),
    Peer("ry + json", Coroutines(with_json(_ry)), ("ry",)),
    Peer("ry, our codec", Coroutines(with_our_codec(_ry)), ("ry",)),
    Peer(VENDOR, Threads(vendors), ("sunshine_conversations_client",)),
    Peer(JS, Node("vendor.js"), (_PACKAGE,)),
    Peer(JS_KEPT, Node("vendor.js", keep_alive=True), (_PACKAGE,)),
    Peer(RAW, Coroutines(with_json(_raw_sockets))),
    Peer(RAW_TYPED, Coroutines(with_our_codec(_raw_sockets))),
    Peer(
        RAW_TYPED_ON_UVLOOP, Coroutines(with_our_codec(_raw_sockets), on_uvloop=True), ("uvloop",)
    ),
)
