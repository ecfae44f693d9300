"""The credentials: what they send, when they are renewed, and what they never show."""

import base64
import pickle
from collections.abc import Callable
from functools import partial
from threading import Barrier, Thread
from typing import Any

import anyio.lowlevel
import httpx
import jwt
import pytest
from support.backends import on_both
from support.frames import leaks

from sunshine_async import (
    ApiToken,
    BasicAuth,
    BearerAuth,
    ConfigurationError,
    JwtAuth,
    Retry,
    SunshineClient,
)
from sunshine_async.auth import Auth
from sunshine_async.sunshine import UserCreateBody
from sunshine_async.testing import ScriptedTransport

SECRET = "a secret of at least thirty-two bytes"

KINDS = pytest.mark.parametrize(
    "kind",
    [
        pytest.param(partial(BasicAuth, "key-id"), id="basic"),
        pytest.param(BearerAuth, id="bearer"),
        pytest.param(partial(JwtAuth, "key-id"), id="jwt"),
    ],
)


class Time:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@KINDS
def test_what_is_no_text_is_refused(kind: Callable[[Any], Auth]) -> None:
    """What an environment without the variable gives is a `ConfigurationError`, too."""
    with pytest.raises(ConfigurationError, match="must be text, not NoneType"):
        kind(None)


@KINDS
@pytest.mark.parametrize(
    "bad", ["", " ", "x\nyz", "x\ryz", "x\x00yz", "xyz ", "\txyz", "schlüssel"]
)
def test_what_cannot_stand_in_a_header_is_refused(kind: Callable[[str], Auth], bad: str) -> None:
    """A secret with a line break, NUL or blank ends is a `ConfigurationError` without it."""
    with pytest.raises(ConfigurationError) as caught:
        kind(bad)

    assert not any(part in str(caught.value) for part in ("yz", "schl"))


def test_the_part_that_is_wrong_is_named() -> None:
    """The error names the argument, and never shows what was given."""
    makers: list[tuple[Callable[[Any], Auth], str]] = [
        (lambda bad: BasicAuth(bad, "secret"), "key_id"),
        (lambda bad: BasicAuth("key-id", bad), "secret"),
        (lambda bad: JwtAuth(bad, "secret"), "key_id"),
        (lambda bad: JwtAuth("key-id", bad), "secret"),
        (lambda bad: JwtAuth("key-id", "secret", scope=bad), "scope"),
        (BearerAuth, "token"),
        (ApiToken, "token"),
        (lambda bad: ApiToken("token", scheme=bad), "scheme"),
    ]
    for make, name in makers:
        with pytest.raises(ConfigurationError, match=f"^{name} must be text, not NoneType"):
            make(None)
        with pytest.raises(ConfigurationError, match=f"^{name} has a line break") as caught:
            make("xyz\n")
        assert "xyz" not in str(caught.value)


async def test_credentials_that_share_a_limit() -> None:
    """A service counts by key or token: a token that a function returns is its object's own."""

    async def fetch() -> str:
        return "token"

    key, token = BasicAuth("key-id", "a"), BearerAuth("token")
    assert key.identity() == JwtAuth("key-id", "b").identity()
    assert token.identity() == BearerAuth("token").identity()
    assert ApiToken("token").identity() == ApiToken("token").identity()
    fetched = BearerAuth(fetch), BearerAuth(fetch)
    kinds = (
        key,
        BasicAuth("key-2", "a"),
        token,
        BearerAuth("token-2"),
        ApiToken("token"),
        *fetched,
    )
    assert len({each.identity() for each in kinds}) == len(kinds)
    assert [each.is_fetched for each in (token, *fetched)] == [False, True, True]
    assert await fetched[0].fetch() == "Bearer token"


@KINDS
def test_no_secret_is_shown_or_pickled(kind: Callable[[str], Auth]) -> None:
    """A ``repr`` has no secret in it, and pickling is refused with a reason."""
    auth = kind(SECRET)

    assert SECRET not in repr(auth)
    assert repr(auth).startswith(type(auth).__name__)
    with pytest.raises(TypeError, match="holds a secret"):
        pickle.dumps(auth)


async def test_basic_sends_the_key() -> None:
    """`BasicAuth` sends id and secret as RFC 7617 has it, and has no other to offer."""
    auth = BasicAuth("key-id", "secret")

    header = auth.current()

    assert header == "Basic " + base64.b64encode(b"key-id:secret").decode()
    assert await auth.fetch() == header
    assert not await auth.renew(header)
    assert auth.secrets() == ("secret", header.removeprefix("Basic "))
    with pytest.raises(ConfigurationError, match="colon"):
        BasicAuth("key:id", "secret")


async def test_a_bearer_token_stays() -> None:
    """`BearerAuth` with a token sends that one, and has no other to offer."""
    auth = BearerAuth("token")

    assert auth.current() == "Bearer token"
    assert await auth.fetch() == "Bearer token"
    assert not await auth.renew("Bearer token")
    assert auth.secrets() == ("token",)


@on_both
async def test_a_token_is_brought_once_for_all() -> None:
    """Sixty-four callers without a token, and then with a refused one, bring one each time."""
    brought = 0

    async def bring() -> str:
        nonlocal brought
        brought += 1
        await anyio.lowlevel.checkpoint()
        return f"token-{brought}"

    auth = BearerAuth(bring)
    assert auth.current() is None
    assert auth.secrets() == ()
    async with anyio.create_task_group() as tasks:
        for _ in range(64):
            tasks.start_soon(auth.fetch)
    assert (brought, auth.current()) == (1, "Bearer token-1")

    renewed: list[bool] = []

    async def renew() -> None:
        renewed.append(await auth.renew("Bearer token-1"))

    async with anyio.create_task_group() as tasks:
        for _ in range(64):
            tasks.start_soon(renew)
    assert renewed == [True] * 64
    assert (brought, auth.secrets()) == (2, ("token-2",))


async def test_one_who_brings_a_token_and_fails_is_heard() -> None:
    """What the function raises comes out of the call, and the next call asks again."""
    answers = iter([LookupError("no vault"), "bad\ntoken", "token"])

    async def bring() -> str:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    transport = ScriptedTransport([(201, {"user": {"id": "1"}})])
    client = SunshineClient("app", auth=BearerAuth(bring), transport=transport)

    with pytest.raises(LookupError, match="no vault"):
        await client.users.get("jane-1")
    with pytest.raises(ConfigurationError, match="token has a line break"):
        await client.users.get("jane-1")
    await client.users.get("jane-1")


async def test_a_function_that_is_not_async_is_named() -> None:
    """A function that returns the token at once is a setting that can't work, without the token."""
    make: Any = lambda: "top-secret"  # noqa: E731 - a type checker refuses it
    client = SunshineClient("app", auth=BearerAuth(make), transport=ScriptedTransport([]))

    with pytest.raises(ConfigurationError, match="token must be an async function") as caught:
        await client.users.get("jane-1")

    assert not leaks(caught.value, "top-secret")


def claims(header: str) -> dict[str, object]:
    """Return what a token says, after checking its signature."""
    token = header.removeprefix("Bearer ")
    assert jwt.get_unverified_header(token) == {"alg": "HS256", "typ": "JWT", "kid": "key-id"}
    return jwt.decode(token, SECRET, algorithms=["HS256"], options={"verify_exp": False})


async def test_a_jwt_is_as_the_services_describe_it() -> None:
    """HS256, the key's id as ``kid``, a scope and an end."""
    time = Time()
    auth = JwtAuth("key-id", SECRET, scope="integration", lifetime=600, now=time)

    header = auth.current()

    assert claims(header) == {"scope": "integration", "exp": 1_000_600}
    assert await auth.fetch() == header
    assert auth.secrets() == (SECRET, header.removeprefix("Bearer "))


@pytest.mark.parametrize(("lifetime", "used_for"), [(3600.0, 3540), (100.0, 80)])
def test_a_jwt_is_renewed_ahead_of_its_end(lifetime: float, used_for: float) -> None:
    """A token is used until a minute before its end, or a fifth of a short life."""
    time = Time()
    auth = JwtAuth("key-id", SECRET, lifetime=lifetime, now=time)
    first = auth.current()

    time.now += used_for - 0.5
    assert auth.current() == first
    time.now += 1
    assert claims(auth.current())["exp"] == int(time.now + lifetime)


async def test_a_refused_jwt_is_minted_anew() -> None:
    """A refused token gives way to one with a later end; where there is none, to none."""
    time = Time()
    auth = JwtAuth("key-id", SECRET, now=time)
    first = auth.current()

    assert not await auth.renew(first)  # the same second, so the same token
    time.now += 2
    assert await auth.renew(first)
    second = auth.current()
    assert second != first
    time.now += 2
    assert await auth.renew(first)  # another caller did it
    assert auth.current() == second


def test_threads_mint_one_token() -> None:
    """Threads that need a token at once get the same one."""
    auth = JwtAuth("key-id", SECRET)
    together = Barrier(8)
    headers: list[str] = []

    def use() -> None:
        together.wait()
        headers.append(auth.current())

    threads = [Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(headers) == 8
    assert len(set(headers)) == 1


def test_a_thread_that_was_quicker_is_believed() -> None:
    """A thread that finds a new token once it may mint one takes that."""
    minted: list[str] = []

    class Interrupted(Time):
        def __call__(self) -> float:
            if not minted:
                minted.append("")
                minted[0] = auth.current()  # what another thread does between two of our steps
            return super().__call__()

    auth = JwtAuth("key-id", SECRET, now=Interrupted())

    assert [auth.current()] == minted


@pytest.mark.parametrize("lifetime", [0.9, float("inf"), float("nan"), "600"])
def test_a_life_that_cannot_be_is_refused(lifetime: Any) -> None:
    """A lifetime under a second, without an end or of another type is a `ConfigurationError`."""
    assert JwtAuth("key-id", SECRET, lifetime=1).current()
    with pytest.raises(ConfigurationError, match=f"lifetime={lifetime}"):
        JwtAuth("key-id", SECRET, lifetime=lifetime)


async def test_a_token_that_ends_under_way_is_minted_once() -> None:
    """Five hundred calls, 64 at once, whose token ends in the middle: one minting, no 401."""
    time = Time()
    valid_from = 0.0
    tokens: set[str] = set()

    class Service(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            await anyio.lowlevel.checkpoint()
            header = request.headers["authorization"]
            if claims(header)["exp"] < valid_from + 3600:  # type: ignore[operator]
                return httpx.Response(401)
            tokens.add(header)
            return httpx.Response(201, json={"user": {"id": "1"}})

    auth = JwtAuth("key-id", SECRET, now=time)
    client = SunshineClient("app", auth=auth, transport=Service(), retry=Retry(max_attempts=1))
    done = 0
    async with client.users.create_many([UserCreateBody()] * 500, concurrency=64) as outcomes:
        async for outcome in outcomes:
            done += type(outcome).__name__ == "Done"
            if outcome.index == 250:
                time.now += 10
                valid_from = time.now  # the service has forgotten the first token

    assert done == 500
    assert len(tokens) == 2
