"""No secret stands in a local variable that an exception leads to, whatever the call ends in."""

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from support.backends import on_both
from support.clients import dixa, sunshine
from support.frames import chain, frames, leaks
from support.servers import Peer, Script, serving, silent

from sunshine_async import (
    ApiToken,
    BasicAuth,
    BearerAuth,
    ConfigurationError,
    DixaClient,
    JwtAuth,
    Pace,
    Retry,
    SmoochClient,
    SunshineClient,
    SunshineError,
    bulk,
    jobs,
)
from sunshine_async._http.open_wire import WireSelector
from sunshine_async.auth import Auth
from sunshine_async.dixa import CreateEndUserInput
from sunshine_async.jobs import SUNSHINE, Job, Mode, open_rows
from sunshine_async.sunshine import Profile, UserCreateBody
from sunshine_async.testing import Answer, ScriptedTransport

SECRET = "a-secret-of-at-least-thirty-two-bytes"
TOKEN = base64.b64encode(f"key-id:{SECRET}".encode()).decode()
PASSWORD = "proxy-pass-word"
NAME = "Jane-Whose-Name-Is-Secret"
EMAIL = "jane@example.org"
SECRETS = (
    SECRET,
    TOKEN,
    PASSWORD,
    base64.b64encode(f"proxy-user:{PASSWORD}".encode()).decode(),
    NAME,
)
BODY = UserCreateBody(external_id="jane-1", profile=Profile(given_name=NAME))
JANE = {"user": {"id": "1", "externalId": "jane-1", "profile": {"givenName": NAME}}}
ECHO = {"errors": [{"code": "bad", "title": f"It was {SECRET}"}]}
DEEP = httpx.Response(201, content=b"[" * 900 + b"]" * 900)
"""An answer that no recursive reader likes."""


async def bring() -> str:
    """Bring a token."""
    return SECRET


AUTHS: dict[str, Callable[[], Any]] = {
    "basic": lambda: BasicAuth("key-id", SECRET),
    "bearer": lambda: BearerAuth(SECRET),
    "brought": lambda: BearerAuth(bring),
    "jwt": lambda: JwtAuth("key-id", SECRET),
}

ENDS: dict[str, tuple[Answer, ...]] = {
    "400": ((400, ECHO),),
    "401": (401, 401),
    "404": (404,),
    "409": (409,),
    "429": (httpx.Response(429, headers={"Retry-After": "999"}),),
    "500": (500, 500),
    "524": (524, 524),
    "a redirect": (307,),
    "an unreadable answer": ((201, {"user": [NAME]}),),
    "a deep answer": (DEEP,),
    "a lost answer": (httpx.ReadError(SECRET), httpx.ReadError(SECRET)),
    "a late answer": (httpx.ReadTimeout(SECRET), httpx.ReadTimeout(SECRET)),
    "no connection": (httpx.ConnectError("refused"), httpx.ConnectError("refused")),
    "an OSError": (OSError(104, "reset"), OSError(104, "reset")),
    "a surprise": (RuntimeError(SECRET),),
    "a wrong value": (ValueError(SECRET),),
    "no memory": (MemoryError(),),
    "an error of httpx": (httpx.InvalidURL(SECRET),),
    "a conflict that differs": (httpx.ReadError(""), 409, (200, {"user": {"id": "1"}})),
    "a conflict that can't be read back": (httpx.ReadError(""), 409, DEEP),
}


async def caught(call: Awaitable[object]) -> SunshineError:
    """Return the error that *call* ends in."""
    with pytest.raises(SunshineError) as error:
        await call
    return error.value


def jwts(auth: Auth) -> tuple[str, ...]:
    """Return the latest token too, which no test knows beforehand."""
    return (*SECRETS, *auth.secrets())


@pytest.mark.usefixtures("instant_waits")
@pytest.mark.parametrize("auth", AUTHS)
@pytest.mark.parametrize("end", ENDS)
async def test_no_error_shows_a_secret(end: str, auth: str) -> None:
    """Every kind of error, for every kind of credentials, of a call and of a batch."""
    signed = AUTHS[auth]()
    options: dict[str, Any] = {"auth": signed, "retry": Retry(max_attempts=2)}

    transport = ScriptedTransport([*ENDS[end]])
    error = await caught(SunshineClient("app", transport=transport, **options).users.create(BODY))
    transport = ScriptedTransport([*ENDS[end]])
    client = SunshineClient("app", transport=transport, pace=Pace(), **options)
    [outcome] = await bulk.collect(client.users.create, [BODY])

    assert leaks(error, *jwts(signed)) == []
    assert isinstance(outcome, bulk.Failed | bulk.Unknown)
    assert leaks(outcome.error, *jwts(signed)) == []
    assert any(frame.f_code.co_name == "_call" for frame in frames(error))


@pytest.mark.parametrize("wrong", [float("nan"), object(), 2**64, NAME * 30_000])
async def test_no_error_of_a_body_that_cannot_be_sent_shows_it(wrong: Any) -> None:
    """A body that JSON can't hold, or that is too large, is in no frame, as a model or as JSON."""
    client = SunshineClient(
        "app", auth=BasicAuth("key-id", SECRET), transport=ScriptedTransport([])
    )

    def calls() -> Iterator[Awaitable[object]]:
        yield client.users.create(UserCreateBody(metadata={"name": NAME, "wrong": wrong}))
        yield client.request("POST", "/v2/apps/{app_id}/x", json={"name": NAME, "wrong": wrong})

    for call in calls():
        with pytest.raises(ValueError, match=r"wrong|bytes as JSON") as error:
            await call
        assert leaks(error.value, NAME) == []


@pytest.mark.usefixtures("instant_waits")
async def test_no_error_of_a_batch_of_dixa_shows_a_secret() -> None:
    """The outcomes of a bulk create, which has answers within its answer."""
    failure = {"_type": "BulkActionFailure", "error": {"_type": "Validation", "message": SECRET}}
    for script in ([(201, {"data": [failure]})], [401], [(201, {"data": None})], [RuntimeError()]):
        client = DixaClient(auth=ApiToken(SECRET), transport=ScriptedTransport(script))
        async with client.end_users.create_many([CreateEndUserInput(display_name=NAME)]) as ends:
            [outcome] = [one async for one in ends]
        assert isinstance(outcome, bulk.Failed | bulk.Unknown)
        assert leaks(outcome.error, *SECRETS) == []


async def read(page: Any) -> object:
    """Read the first page of a list."""
    return await page.first(1)


BY_VALUE: dict[str, tuple[Any, Callable[[Any], Awaitable[object]]]] = {
    "list_by_email": (sunshine, lambda client: client.users.list_by_email(EMAIL)),
    "list by email": (dixa, lambda client: read(client.end_users.list(email=EMAIL))),
    "list by phone": (dixa, lambda client: read(client.end_users.list(phone=EMAIL))),
    "upsert": (dixa, lambda client: client.end_users.upsert(CreateEndUserInput(email=EMAIL))),
    "get_or_create": (
        dixa,
        lambda client: client.end_users.get_or_create(CreateEndUserInput(phone_number=EMAIL)),
    ),
    "conversations": (
        sunshine,
        lambda client: read(client.conversations.list(user_external_id=EMAIL)),
    ),
    "request, in the query": (
        sunshine,
        lambda client: client.request("GET", "/v2/x", query={"filter[email]": EMAIL}),
    ),
    "request, in the path": (
        sunshine,
        lambda client: client.request("GET", "/v2/x/{email}", path={"email": EMAIL}),
    ),
}


class Watches:
    """A hook, with which a call has a frame more."""

    def call_started(self, value: object) -> None:
        """Look at nothing."""


@pytest.mark.usefixtures("instant_waits")
@pytest.mark.parametrize("hooks", [(), (Watches(),)], ids=["plain", "hooks"])
@pytest.mark.parametrize("end", ["401", "429", "500", "a lost answer", "cancelled"])
@pytest.mark.parametrize("name", BY_VALUE)
async def test_no_error_shows_an_email_address_that_is_searched_for(
    name: str, end: str, hooks: tuple[object, ...]
) -> None:
    """An address in a query, given as an argument or taken out of a body, is in no frame."""
    make, call = BY_VALUE[name]
    transport = Reached() if end == "cancelled" else ScriptedTransport([*ENDS[end]])
    client = make(transport, retry=Retry(max_attempts=2), hooks=hooks)
    task = asyncio.ensure_future(call(client))
    if isinstance(transport, Reached):
        await transport.reached.wait()
        task.cancel()

    with pytest.raises((SunshineError, asyncio.CancelledError)) as error:
        await task

    assert leaks(error.value, EMAIL, EMAIL.replace("@", "%40")) == []
    assert any(frame.f_code.co_name == "_call" for frame in frames(error.value))


class Stalls(httpx.AsyncBaseTransport):
    """Never answers."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        headers = list(request.headers.raw)
        await anyio.sleep_forever()
        raise AssertionError(headers)


@asynccontextmanager
async def by_transport() -> AsyncIterator[SunshineClient]:
    """Give a client whose own transport never answers."""
    yield SunshineClient("app", auth=BasicAuth("key-id", SECRET), transport=Stalls())


@asynccontextmanager
async def by_pause() -> AsyncIterator[SunshineClient]:
    """Give a client whose pace makes it wait."""
    slow = httpx.Response(429, headers={"Retry-After": "60"})
    transport = ScriptedTransport([slow])
    yield SunshineClient("app", auth=BasicAuth("key-id", SECRET), transport=transport)


@asynccontextmanager
async def by_retry() -> AsyncIterator[SunshineClient]:
    """Give a client that waits to try again."""
    transport = ScriptedTransport([httpx.ReadError("")] * 9)
    retry = Retry(first_wait=60, max_wait=60)
    auth = JwtAuth("key-id", SECRET)
    yield SunshineClient("app", auth=auth, transport=transport, retry=retry)


class StallsAtLast(ScriptedTransport):
    """Never answers once the script is over."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        try:
            return await super().handle_async_request(request)
        except AssertionError:
            headers = list(request.headers.raw)
            await anyio.sleep_forever()
            raise LookupError(headers) from None


@asynccontextmanager
async def by_reading_back() -> AsyncIterator[SunshineClient]:
    """Give a client that reads back what an earlier attempt may have made."""
    transport = StallsAtLast([503, 409])
    retry = Retry(first_wait=0)
    yield SunshineClient("app", auth=BasicAuth("key-id", SECRET), transport=transport, retry=retry)


@asynccontextmanager
async def by_token() -> AsyncIterator[SunshineClient]:
    """Give a client whose token function never ends."""

    async def never() -> str:
        await anyio.sleep_forever()
        return SECRET

    yield SunshineClient("app", auth=BearerAuth(never), transport=ScriptedTransport([]))


@asynccontextmanager
async def by_renewal() -> AsyncIterator[SunshineClient]:
    """Give a client whose token function never ends after a 401."""
    tokens = iter([SECRET])

    async def once() -> str:
        for token in tokens:
            return token
        await anyio.sleep_forever()
        raise AssertionError

    yield SunshineClient("app", auth=BearerAuth(once), transport=ScriptedTransport([401, 401]))


def by_socket(script: Script, **options: Any) -> Callable[[], AbstractAsyncContextManager[Any]]:
    """Return what gives a client of a server that follows *script*, by our own sockets."""

    @asynccontextmanager
    async def give() -> AsyncIterator[SunshineClient]:
        async with serving(script) as server:
            auth = BasicAuth("key-id", SECRET)
            client = SunshineClient("app", auth=auth, base_url=server.url, **options)
            wire = client._transport.wire
            assert isinstance(wire, WireSelector)
            object.__setattr__(client._transport, "wire", wire.socket_wire)
            async with client:
                yield client
                await wire.socket_wire.aclose()

    return give


def by_httpx(script: Script, *, url: str = "", proxied: bool = False) -> Callable[..., Any]:
    """Return what gives a client by httpx of a server that follows *script*, which may be a proxy."""

    @asynccontextmanager
    async def give() -> AsyncIterator[SunshineClient]:
        async with serving(script) as server:
            auth = BasicAuth("key-id", SECRET)
            way: Any = {"transport": httpx.AsyncHTTPTransport()}
            if proxied:
                way = {"proxy": f"http://proxy-user:{PASSWORD}@127.0.0.1:{server.port}"}
            client = SunshineClient("app", auth=auth, base_url=url or server.url, **way)
            async with client:
                yield client

    return give


async def half(peer: Peer) -> None:
    """Answer half a head."""
    await peer.request()
    await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
    await peer.gone()


WAYS: dict[str, Callable[[], AbstractAsyncContextManager[SunshineClient]]] = {
    "a transport": by_transport,
    "a pause of the pace": by_pause,
    "a wait before a retry": by_retry,
    "reading back": by_reading_back,
    "the token function": by_token,
    "the renewal of a token": by_renewal,
    "our sockets": by_socket(silent),
    "our sockets, within the answer": by_socket(half),
    "httpx": by_httpx(silent),
    "httpx, within the answer": by_httpx(half),
    "a proxy": by_httpx(silent, url="http://127.0.0.1:9", proxied=True),
    "CONNECT of a proxy": by_httpx(silent, url="https://127.0.0.1:9", proxied=True),
}


@pytest.mark.parametrize("way", WAYS)
async def test_no_cancellation_shows_a_secret(way: str) -> None:
    """`asyncio.timeout` around a call, wherever the call is by then."""
    async with WAYS[way]() as client:
        with pytest.raises(TimeoutError) as late:
            async with asyncio.timeout(0.05):
                await client.users.create(BODY)

        task = asyncio.create_task(client.users.create(BODY))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as cancelled:
            await task

    for error in (late.value, cancelled.value):
        assert leaks(error, *SECRETS, *client._transport.auth.secrets()) == []
        assert any(frame.f_code.co_name == "_call" for frame in frames(error))


async def test_a_cancellation_keeps_what_the_caller_handled() -> None:
    """The exception that was being handled stays its context; what the transport handled doesn't."""
    client = SunshineClient("app", auth=BasicAuth("key-id", SECRET), transport=StallsAtLast([]))
    handled = LookupError("the caller's own")

    async def call() -> None:
        try:
            raise handled
        except LookupError:
            await client.users.create(BODY)

    task = asyncio.create_task(call())
    await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError) as cancelled:
        await task

    assert handled in chain(cancelled.value)
    assert not any(isinstance(one, AssertionError) for one in chain(cancelled.value))
    assert leaks(cancelled.value, *SECRETS) == []


class Gathers(httpx.AsyncBaseTransport):
    """Has its tasks in groups: what ends one of them comes out in a group."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        headers = dict(request.headers)
        members: list[BaseException] = [asyncio.CancelledError()]
        try:
            headers["x-absent"]
        except KeyError as error:
            members.append(error)
        text = "tasks"
        raise BaseExceptionGroup(text, [BaseExceptionGroup(text, members)])


async def test_no_member_of_a_group_shows_a_secret() -> None:
    """A group of a transport with a cancellation in it keeps no frame of its members."""
    client = SunshineClient("app", auth=BasicAuth("key-id", SECRET), transport=Gathers())

    with pytest.raises(BaseExceptionGroup) as caught_group:
        await client.users.create(BODY)

    assert len(chain(caught_group.value)) == 4
    assert leaks(caught_group.value, *SECRETS) == []
    assert all(one.__traceback__ is None for one in chain(caught_group.value)[1:])


class Swallows(httpx.AsyncBaseTransport):
    """Is cancelled again while it cleans up after a cancellation."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        headers = list(request.headers.raw)
        try:
            await anyio.sleep_forever()
        finally:
            await anyio.sleep_forever()
        raise AssertionError(headers)


@on_both
async def test_a_scope_knows_its_own_cancellation() -> None:
    """A scope of anyio around a call ends quietly, however the transport takes the cancellation."""
    client = SunshineClient("app", auth=BasicAuth("key-id", SECRET), transport=Swallows())
    with anyio.move_on_after(0.01) as scope:
        await client.users.create(BODY)
    assert scope.cancelled_caught


def test_no_cancellation_on_trio_shows_a_secret() -> None:
    """A cancelled call on trio, by a transport and in a task group that fails."""

    async def scenario() -> None:
        found: list[BaseException] = []
        client = SunshineClient("app", auth=BasicAuth("key-id", SECRET), transport=Stalls())

        async def call() -> None:
            try:
                await client.users.create(BODY)
            except BaseException as error:
                found.append(error)
                raise

        async def group() -> None:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(call)
                await anyio.wait_all_tasks_blocked()
                raise LookupError

        with pytest.raises(ExceptionGroup) as failed:
            await group()
        assert len(found) == 1
        for error in (*found, failed.value):
            assert leaks(error, *SECRETS) == []

    anyio.run(scenario, backend="trio")


class Reached(Stalls):
    """Says that a request has come, and never answers."""

    def __init__(self) -> None:
        self.reached = anyio.Event()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.reached.set()
        return await super().handle_async_request(request)


@pytest.mark.parametrize("journal", [True, False])
async def test_no_cancellation_of_a_job_shows_a_secret(tmp_path: Path, *, journal: bool) -> None:
    """A job over a file that is cancelled while rows are on their way, with and without a journal."""
    file = tmp_path / "users.jsonl"
    file.write_text(f'{{"profile": {{"givenName": "{NAME}"}}}}\n' * 20)
    transport = Reached()
    client = SunshineClient("app", auth=BasicAuth("key-id", SECRET), transport=transport)

    async def run() -> None:
        if journal:
            opened = jobs.open(tmp_path / "run.sqlite", client, SUNSHINE, Mode.CREATE)
            async with opened as job:
                with open_rows(file, job.shape) as rows:
                    await job.run(rows)
        else:
            plain = Job(client, SUNSHINE, Mode.CREATE)
            with open_rows(file, plain.shape) as rows:
                await plain.run(rows)

    task = asyncio.create_task(run())
    await transport.reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError) as cancelled:
        await task

    assert leaks(cancelled.value, *SECRETS) == []
    assert any(frame.f_code.co_name == "run" for frame in frames(cancelled.value))


class Broken(httpx.AsyncBaseTransport):
    """Reads the body of a request, with its headers at hand."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        headers = list(request.headers.raw)
        async for _ in request.stream:  # type: ignore[union-attr]
            pass
        raise AssertionError(headers)


@pytest.mark.parametrize("way", ["a transport", "our sockets", "httpx"])
@pytest.mark.parametrize("number", [0, 1])
async def test_an_error_of_an_images_source_shows_the_source_only(way: str, number: int) -> None:
    """What the source raises comes out as itself, with the frames of the source and of the call."""

    async def pieces() -> AsyncIterator[bytes]:
        yield b"x" * 10
        for _ in range(number):
            yield b"y"
        raise LookupError(number)

    async def serve(peer: Peer) -> None:
        await peer.gone()

    async with serving(serve) as server:
        options: dict[str, Any] = {"auth": BasicAuth("key-id", SECRET), "base_url": server.url}
        if way != "our sockets":
            options["transport"] = Broken() if way == "a transport" else httpx.AsyncHTTPTransport()
        client = SmoochClient("app", **options)
        if way == "our sockets":
            wire = client._transport.wire
            assert isinstance(wire, WireSelector)
            object.__setattr__(client._transport, "wire", wire.socket_wire)
        async with client:
            with pytest.raises(LookupError) as caught:
                await client.app_users.post_image("jane", pieces(), role="appMaker")
            await client._transport.wire.aclose()

    assert leaks(caught.value, *SECRETS) == []
    codes = [frame.f_code for frame in frames(caught.value)]
    assert "post_image" in {code.co_name for code in codes}
    assert ("forms.py", "__anext__") in {
        (Path(code.co_filename).name, code.co_name) for code in codes
    }
    assert not getattr(caught.value, "__notes__", ())


async def fails() -> str:
    """Bring no token, with a reason."""
    message = "no vault"
    raise LookupError(message)


async def brings_nonsense() -> str:
    """Bring what can't be a token."""
    return SECRET + "\n"


@pytest.mark.parametrize("auth", [BearerAuth(fails), BearerAuth(brings_nonsense)], ids=range(2))
async def test_no_error_of_a_token_function_shows_a_secret(auth: BearerAuth) -> None:
    """What the function raises comes out as itself; what it brings is not shown."""
    client = SunshineClient("app", auth=auth, transport=ScriptedTransport([]))

    with pytest.raises((LookupError, ConfigurationError)) as caught:
        await client.users.create(BODY)

    assert leaks(caught.value, *SECRETS) == []
    assert not getattr(caught.value, "maybe_applied", False)


@pytest.mark.parametrize(
    "make",
    [
        lambda: BasicAuth("key-id", SECRET + "\n"),
        lambda: BasicAuth("key:id", SECRET),
        lambda: BearerAuth(SECRET + "\n"),
        lambda: JwtAuth("key-id", SECRET + "\n"),
        lambda: JwtAuth("key-id", SECRET, lifetime=0),
        lambda: ApiToken(SECRET + "\n"),
    ],
    ids=range(6),
)
def test_no_error_of_credentials_shows_them(make: Callable[[], object]) -> None:
    """Credentials that can't be sent are refused without being shown."""
    with pytest.raises(ConfigurationError) as caught:
        make()

    assert leaks(caught.value, SECRET) == []


@pytest.mark.parametrize("client", [SunshineClient, SmoochClient, DixaClient])
@pytest.mark.parametrize("by_argument", [True, False])
def test_no_error_of_a_proxy_shows_its_password(
    client: Any, monkeypatch: pytest.MonkeyPatch, *, by_argument: bool
) -> None:
    """A proxy that can't be one is refused, by argument or environment, without its password."""
    monkeypatch.setenv("DIXA_API_TOKEN", SECRET)
    proxy = f"gopher://proxy-user:{PASSWORD}@127.0.0.1:1"
    given = {"auth": BasicAuth("key-id", SECRET), "app_id": "app"} if client != DixaClient else {}
    if by_argument:
        given = {**given, "proxy": proxy}
    else:
        monkeypatch.setenv("HTTPS_PROXY", proxy)

    with pytest.raises(ConfigurationError, match="proxy") as caught:
        client(**given)

    assert leaks(caught.value, *SECRETS) == []
