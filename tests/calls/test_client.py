"""Making a client: where its settings come from, and what can't work."""

import asyncio
import gc
import pickle
import socket
import ssl
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import anyio
import httpx
import pytest
from support.certificates import tls
from support.patience import PATIENCE
from support.virtual import until

from sunshine_async import (
    ApiToken,
    BasicAuth,
    ConfigurationError,
    ConflictError,
    Lane,
    Pace,
    Replay,
    RequestTimeoutError,
    Retry,
    SmoochClient,
    SunshineClient,
    TransportError,
)
from sunshine_async._calls.fence import TASK_LEASE
from sunshine_async._pace.breaker import Sign
from sunshine_async._pace.waiting import CLOCK
from sunshine_async.sunshine import UserCreateBody
from sunshine_async.testing import Answer, ScriptedTransport

AUTH = BasicAuth("key-id", "secret")
FOUND: Answer = (200, {"user": {"id": "1"}})

VARIABLES = ("APP_ID", "KEY_ID", "KEY_SECRET", "BASE_URL")


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*VARIABLES, "SUBDOMAIN"):
        monkeypatch.delenv(f"SUNSHINE_{name}", raising=False)


async def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left out is read from the environment."""
    settings = dict(
        zip(VARIABLES, ("my-app", "k", "s", "https://acme.zendesk.com/sc/"), strict=True)
    )
    for name, value in settings.items():
        monkeypatch.setenv(f"SUNSHINE_{name}", value)
    transport = ScriptedTransport([FOUND])

    async with SunshineClient(transport=transport) as client:
        await client.users.get("1")

    [request] = transport.requests
    assert request.url == "https://acme.zendesk.com/sc/v2/apps/my-app/users/1"
    assert request.headers["authorization"] == "Basic azpz"


async def test_arguments_go_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is handed in wins."""
    for name in VARIABLES:
        monkeypatch.setenv(f"SUNSHINE_{name}", "https://other.example")
    transport = ScriptedTransport([FOUND])
    client = SunshineClient(
        "my-app", auth=AUTH, base_url="https://api.eu-1.smooch.io", transport=transport
    )

    await client.users.get("1")

    assert transport.requests[0].url == "https://api.eu-1.smooch.io/v2/apps/my-app/users/1"


@pytest.mark.parametrize(
    ("missing", "argument"), [("APP_ID", "app_id"), ("KEY_ID", "auth"), ("KEY_SECRET", "auth")]
)
def test_what_is_missing_is_named(
    missing: str, argument: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing setting is a `ConfigurationError` naming argument and variable."""
    for name in VARIABLES[:3]:
        monkeypatch.setenv(f"SUNSHINE_{name}", "" if name == missing else "x")

    with pytest.raises(ConfigurationError, match=rf"{argument} .*SUNSHINE_{missing}"):
        SunshineClient()


def test_all_missing_credentials_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any credentials, the error names all variables of the credentials."""
    monkeypatch.setenv("SUNSHINE_APP_ID", "app")

    with pytest.raises(ConfigurationError, match="set SUNSHINE_KEY_ID and SUNSHINE_KEY_SECRET in"):
        SunshineClient()


ODD_RESTS = (
    *(
        "?",
        "#",
        "/x?",
        "/x#y",
        "/..",
        "/.",
        "/a/../b",
        "/a/./b",
        "/%2e%2E/a",
        "/.%2e",
        "//a",
        "/a//b",
    ),
    *(
        "/a\\b",
        "/a%",
        "/a%zz",
        "/a b",
        "/a\t",
        "/\u00e9",
        '/"',
        "/{x}",
        "/[x]",
        "/a|b",
        "/a^b",
        "/<",
    ),
    *(":0", ":65536", ":-1", ":1:2", "\\", "\r\n/"),
)
ODD_HOSTS = (
    "",
    "a..b",
    "a,b",
    "a%62c",
    "ex ample",
    "b\u00fccher.de",
    "[::1",
    "[::1%25eth0]",
    "a_b[",
)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"app_id": ""}, "app_id"),
        ({"app_id": ".."}, "app_id"),
        ({"app_id": "a\n"}, "app_id"),
        ({"app_id": 5}, "app_id must be text"),
        ({"base_url": "api.smooch.io"}, "must be a URL"),
        ({"base_url": "ftp://api.smooch.io"}, "must be a URL"),
        ({"base_url": "https://"}, "must be a URL"),
        ({"base_url": "https://api.smooch.io:port"}, "must be a URL"),
        ({"base_url": "https://[::1"}, "must be a URL"),
        ({"base_url": "https://api.smooch.io\r\nX: y"}, "must be a URL"),
        ({"base_url": "https://key:geheim@api.smooch.io"}, "auth="),
        ({"base_url": "https://api.smooch.io?x=1"}, "query"),
        ({"base_url": "https://api.smooch.io#x"}, "fragment"),
        *(({"base_url": f"https://api.smooch.io{rest}"}, "must be a URL") for rest in ODD_RESTS),
        *(({"base_url": f"https://{host}"}, "must be a URL") for host in ODD_HOSTS),
        ({"base_url": "http://api.smooch.io"}, "allow_insecure"),
        ({"base_url": "http://127.0.0.1.evil.example"}, "allow_insecure"),
        ({"timeout": 0}, "timeout=0"),
        ({"timeout": float("nan")}, "timeout=nan"),
        ({"timeout": float("inf")}, "timeout=inf"),
        ({"max_connections": 0}, "max_connections=0"),
        ({"max_connections": "geheim"}, "max_connections must be a number, not str"),
        ({"timeout": None}, "timeout must be seconds, or an httpx.Timeout, not NoneType"),
        ({"timeout": True}, "timeout must be .*, not bool"),
        ({"retry": 3}, "retry must be a Retry, .*, not int"),
        ({"pace": 10}, "pace must be a Pace, .*, not int"),
        ({"base_url": 5}, "base_url must be a URL .*, not int"),
        ({"ssl_context": False}, "ssl_context must be an ssl.SSLContext, not bool"),
        ({"transport": "geheim"}, "transport must be an httpx.AsyncBaseTransport, not str"),
        ({"proxy": "key:geheim@localhost:8080"}, "proxy must be a URL of http, https, socks5 or"),
        ({"proxy": "ftp://localhost:8080"}, "proxy must be a URL of http, https, socks5 or"),
        ({"proxy": "socks://localhost:1080"}, "proxy must be a URL of http, https, socks5 or"),
        ({"auth": ("key", "geheim")}, "auth must be BasicAuth or JwtAuth or BearerAuth, not tuple"),
        ({"auth": ApiToken("geheim")}, "auth must be .*, not ApiToken"),
        ({"proxy": "http://127.0.0.1:1", "transport": ScriptedTransport([])}, "transport="),
        ({"ssl_context": ssl.create_default_context(), "transport": ScriptedTransport([])}, "ssl"),
    ],
)
def test_what_cannot_work_is_refused(settings: dict[str, Any], says: str) -> None:
    """A setting that can't work is a `ConfigurationError` that says which, without secrets."""
    with pytest.raises(ConfigurationError, match=says) as caught:
        SunshineClient(**{"app_id": "app", "auth": AUTH, **settings})

    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"timeout": "30"}, "timeout must be seconds"),
        ({"retry": 3}, "retry must be a Retry"),
        ({"pace": 3}, "pace must be a Pace"),
        ({"lane": "batch"}, "lane must be a Lane"),
    ],
)
def test_options_that_cannot_work_are_refused(options: dict[str, Any], says: str) -> None:
    """What a view of a client is given is looked at as what a client is made of."""
    with pytest.raises(ConfigurationError, match=says):
        SunshineClient("app", auth=AUTH).with_options(**options)


def test_a_bad_proxy_in_the_environment_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the variable that the proxy came from."""
    monkeypatch.setenv("HTTPS_PROXY", "ftp://localhost:21")

    with pytest.raises(ConfigurationError, match="the proxy that HTTPS_PROXY names must be"):
        SunshineClient("app", auth=AUTH)


def test_a_bad_url_in_the_environment_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says which variable a base URL came from."""
    monkeypatch.setenv("SUNSHINE_BASE_URL", "http://api.smooch.io")

    with pytest.raises(ConfigurationError, match="SUNSHINE_BASE_URL"):
        SunshineClient("app", auth=AUTH)


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost:8080", "[::1]:8080", "127.9.9.9"])
def test_http_is_for_this_machine(host: str) -> None:
    """Plain http is fine to loopback, and elsewhere where it is asked for."""
    assert SunshineClient("app", auth=AUTH, base_url=f"http://{host}").base_url == f"http://{host}"
    SunshineClient("app", auth=AUTH, base_url="http://api.internal", allow_insecure=True)


class TestSubdomain:
    """The address of Zendesk's customers."""

    def test_it_is_an_address(self) -> None:
        """A subdomain means the address of the API below Zendesk's host."""
        client = SunshineClient("app", subdomain="acme-1", auth=AUTH)

        assert client.base_url == "https://acme-1.zendesk.com/sc"

    @pytest.mark.parametrize("service", ["SUNSHINE", "SMOOCH"])
    def test_it_comes_from_the_environment(
        self, service: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Both clients of the platform read the variable of their service; arguments go first."""
        monkeypatch.setenv(f"{service}_SUBDOMAIN", "acme")
        make = SunshineClient if service == "SUNSHINE" else SmoochClient

        assert make("app", auth=AUTH).base_url == "https://acme.zendesk.com/sc"
        assert make("app", subdomain="b", auth=AUTH).base_url == "https://b.zendesk.com/sc"
        assert make("app", base_url="https://x.example", auth=AUTH).base_url == "https://x.example"

    def test_an_empty_variable_is_no_subdomain(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A variable that is set to nothing counts as left out."""
        monkeypatch.setenv("SUNSHINE_SUBDOMAIN", "")
        assert SunshineClient("app", auth=AUTH).base_url == "https://api.smooch.io"

    def test_two_addresses_are_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Two settings of the same rank contradict each other, and both are named."""
        with pytest.raises(ConfigurationError, match="subdomain and base_url"):
            SunshineClient("app", subdomain="acme", base_url="https://x.example", auth=AUTH)

        monkeypatch.setenv("SUNSHINE_SUBDOMAIN", "acme")
        monkeypatch.setenv("SUNSHINE_BASE_URL", "https://x.example")
        with pytest.raises(ConfigurationError, match="SUNSHINE_SUBDOMAIN and SUNSHINE_BASE_URL"):
            SunshineClient("app", auth=AUTH)
        assert SunshineClient("app", subdomain="b", auth=AUTH).base_url.startswith("https://b.")

    @pytest.mark.parametrize(
        "subdomain",
        ["", "acme.zendesk.com", "a/b", "-a", "a-", "a b", "a@b", "evil.example/", "a" * 64, "ä"],
    )
    def test_what_is_no_subdomain_is_refused(
        self, subdomain: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A text that would lead to another host is refused, with the name of the setting."""
        with pytest.raises(ConfigurationError, match="subdomain must be"):
            SunshineClient("app", subdomain=subdomain, auth=AUTH)

        monkeypatch.setenv("SUNSHINE_SUBDOMAIN", subdomain or "!")
        with pytest.raises(ConfigurationError, match="SUNSHINE_SUBDOMAIN must be"):
            SunshineClient("app", auth=AUTH)

    def test_a_value_of_another_type_is_refused(self) -> None:
        """A wrong type is named without its value."""
        with pytest.raises(ConfigurationError, match="subdomain must be"):
            SunshineClient("app", subdomain=5, auth=AUTH)  # type: ignore[arg-type]


class TestRequest:
    """`Client.request`, for the operations that aren't declared."""

    async def test_it_gives_the_json(self) -> None:
        """Any other operation goes out with path, query and body, and brings its JSON."""
        transport = ScriptedTransport([(200, [1, None]), 204, (200, {"a": 1})])
        client = SunshineClient("app", auth=AUTH, transport=transport)

        listed = await client.request(
            "GET",
            "/v2/apps/{app_id}/conversations/{id}/messages",
            path={"id": "a/b"},
            query={"filter[x]": "a b", "page[size]": 5, "deep": True, "flat": False, "no": None},
        )
        nothing = await client.request("DELETE", "/v2/apps/{app_id}", replay=Replay.GONE)
        made = await client.request("POST", "/v2/tokens", json={"a": [None]})

        assert (listed, nothing, made) == ([1, None], None, {"a": 1})
        first, second, third = transport.requests
        assert first.url.raw_path == (
            b"/v2/apps/app/conversations/a%2Fb/messages"
            b"?filter%5Bx%5D=a%20b&page%5Bsize%5D=5&deep=true&flat=false"
        )
        assert second.content == b""
        assert "content-type" not in second.headers
        assert third.content == b'{"a":[null]}'

    async def test_null_is_a_body(self) -> None:
        """``json=None`` sends null; leaving it out sends nothing."""
        transport = ScriptedTransport([(200, {})])
        client = SunshineClient("app", auth=AUTH, transport=transport)

        await client.request("PUT", "/v2/x", json=None)

        assert transport.requests[0].content == b"null"

    @pytest.mark.usefixtures("instant_waits")
    @pytest.mark.parametrize(
        ("method", "replay", "requests"),
        [
            ("GET", None, 5),
            ("PUT", None, 5),
            ("DELETE", None, 5),
            ("POST", None, 1),
            ("PATCH", None, 1),
            ("PATCH", Replay.IDEMPOTENT, 5),
            ("GET", Replay.ONCE, 1),
        ],
    )
    async def test_what_is_sent_again(
        self, method: str, replay: Replay | None, requests: int
    ) -> None:
        """GET, PUT and DELETE are sent again after a lost answer, or as *replay* says."""
        transport = ScriptedTransport([httpx.ReadError("")] * 5)
        client = SunshineClient("app", auth=AUTH, transport=transport)

        with pytest.raises(TransportError):
            await client.request(method, "/v2/x", replay=replay)

        assert len(transport.requests) == requests

    @pytest.mark.usefixtures("instant_waits")
    async def test_a_guarded_request_that_meets_a_conflict_is_in_doubt(self) -> None:
        """An operation that isn't declared has no way to read back: its conflict says so."""
        transport = ScriptedTransport([httpx.ReadError(""), 409])
        client = SunshineClient("app", auth=AUTH, transport=transport)

        with pytest.raises(ConflictError) as caught:
            await client.request("POST", "/v2/x", json={"id": "1"}, replay=Replay.GUARDED)

        assert caught.value.resent

    @pytest.mark.parametrize(
        ("method", "template"),
        [
            ("get", "/v2/x"),
            ("TRACE", "/v2/x"),
            ("GET", "v2/x"),
            ("GET", ""),
            ("GET", "https://evil.example/"),
            ("GET", "/v2/../x"),
            ("GET", "/v2/./x"),
            ("GET", "/v2/x?y=1"),
            ("GET", "/v2/x#y"),
            ("GET", "/v2/x y"),
            ("GET", "/v2/x\r\n"),
            ("GET", "/v2/{x.y}"),
            ("GET", "/v2/{0}"),
            ("GET", "/v2/{id}"),
            ("GET", "/v2/%2"),
        ],
    )
    async def test_what_is_no_path_is_never_sent(self, method: str, template: str) -> None:
        """A method or path that can't be one, or lacks a value, is a `ValueError`."""
        transport = ScriptedTransport([])
        client = SunshineClient("app", auth=AUTH, transport=transport)

        with pytest.raises(ValueError, match=r"method|no path|needs path"):
            await client.request(method, template)

        assert not transport.requests


class TestViews:
    """`Client.with_options`."""

    async def test_a_view_shares_all_but_what_it_changes(self) -> None:
        """A view has other options, and the same connections, pace and tally."""
        transport = ScriptedTransport([503, FOUND, FOUND])
        client = SunshineClient("app", auth=AUTH, transport=transport)
        quick = client.with_options(retry=Retry(max_attempts=1), timeout=4.0)

        with pytest.raises(Exception, match="503"):
            await quick.users.get("1")
        await client.users.get("1")
        await quick.with_options(pace=Pace(rate=5)).users.get("1")

        assert quick.pace is client.pace
        assert quick.with_options(pace=Pace(rate=5)).pace.rate == 5
        assert quick.base_url == client.base_url
        assert client.tally.requests == 3
        assert quick._transport.timeout.total == 4.0
        assert quick._transport.timeout.connect == 4.0
        assert client._transport.timeout.connect == 5.0

    async def test_closing_a_view_closes_nothing(self) -> None:
        """The connections belong to the client, whatever its views do."""
        closed = 0

        class Counts(ScriptedTransport):
            async def aclose(self) -> None:
                nonlocal closed
                closed += 1

        client = SunshineClient("app", auth=AUTH, transport=Counts([FOUND]))
        await client.users.get("1")

        await client.with_options(timeout=1.0).aclose()
        assert closed == 0
        await client.aclose()
        assert closed == 1


def test_one_client_serves_one_loop_after_another() -> None:
    """A client made outside a loop works in one loop, and then in the next, closed or not."""
    transport = ScriptedTransport([FOUND] * 4)
    client = SunshineClient("app", auth=AUTH, transport=transport)

    async def use() -> str:
        return (await client.users.get("1")).id

    async def use_and_close() -> str:
        async with client:
            return await use()

    assert [asyncio.run(use()), asyncio.run(use_and_close())] == ["1", "1"]
    assert anyio.run(use, backend="trio") == "1"
    assert asyncio.run(use()) == "1"


def test_a_client_shows_no_secret() -> None:
    """A client's ``repr`` says where it calls, and it doesn't pickle."""
    client = SunshineClient("app", auth=BasicAuth("key-id", "top-secret"))

    assert repr(client) == "SunshineClient(base_url='https://api.smooch.io')"
    with pytest.raises(TypeError, match="holds a secret"):
        pickle.dumps(client)


@pytest.mark.parametrize(("phase", "limit"), [("connect", 0), ("read", -1), ("pool", float("nan"))])
def test_limit_that_cannot_work_is_refused(phase: str, limit: float) -> None:
    """A limit of an `httpx.Timeout` that no call could keep is refused, and named."""
    with pytest.raises(ConfigurationError, match=f"timeout has {phase}={limit}"):
        SunshineClient("app", auth=AUTH, timeout=httpx.Timeout(**{"timeout": 5.0, phase: limit}))


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_certificates_that_are_missing_are_named(
    variable: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A file or folder of certificates that isn't there is refused at once, by name."""
    monkeypatch.setenv(variable, str(tmp_path / "nowhere.pem"))

    with pytest.raises(ConfigurationError, match=f"{variable} names .*nowhere.pem"):
        SunshineClient("app", auth=AUTH)
    SunshineClient("app", auth=AUTH, ssl_context=ssl.create_default_context())
    SunshineClient("app", auth=AUTH, transport=ScriptedTransport([]))


def test_certificates_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A file that holds no certificates is refused at once; the right one is taken then."""
    file = tmp_path / "authority.pem"
    file.write_text("nothing", encoding="utf-8")
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    with pytest.raises(ConfigurationError, match=r"SSL_CERT_FILE names .*authority\.pem"):
        SunshineClient("app", auth=AUTH)

    tls().authority.cert_pem.write_to_path(str(file))
    SunshineClient("app", auth=AUTH)
    monkeypatch.setenv("SSL_CERT_FILE", "")
    SunshineClient("app", auth=AUTH)


@pytest.mark.parametrize(
    ("lane", "lease"),
    [(Lane.INTERACTIVE, None), (Lane.INTERACTIVE, SimpleNamespace(left=60.0)), (Lane.BATCH, None)],
)
def test_calls_of_a_closed_loop_hold_no_connection(lane: Lane, lease: Any) -> None:
    """A loop closed without ending its tasks: the next loop has all connections, and the whole pace.

    So it is for calls with a lease, and for the probe of a batch.
    """
    pace, tasks = Pace(max_in_flight=3), list[asyncio.Task[Any]]()
    if lane is Lane.BATCH:
        for _ in range(10):  # a probe is due
            pace.enter(began := CLOCK.now() - 60)
            pace.leave(sign=Sign.FAILED, now=began, began=began)
    with warnings.catch_warnings(), socket.create_server(("127.0.0.1", 0)) as server:
        warnings.simplefilter("ignore")
        url = f"http://127.0.0.1:{server.getsockname()[1]}"  # nobody answers there
        client = SunshineClient(
            "app", auth=BasicAuth("id", "secret"), base_url=url, pace=pace, max_connections=3,
            timeout=PATIENCE, retry=Retry(max_attempts=1),
        )  # fmt: skip

        wire = cast("Any", client._transport.wire).socket_wire  # not httpx, though a mock is loaded
        object.__setattr__(client._transport, "wire", wire)
        view = client.with_options(lane=lane)

        async def begin() -> None:
            TASK_LEASE.set(lease)
            tasks.append(asyncio.create_task(view.users.create(UserCreateBody())))
            await until(lambda: any(pool._connections for pool in wire._pools.values()))
            if lane is Lane.INTERACTIVE:
                tasks.append(asyncio.create_task(view.users.get("not connected")))
            await until(lambda: client.tally.requests == len(tasks))

        async def again() -> None:
            async with client:
                hasty = client.with_options(timeout=httpx.Timeout(PATIENCE, read=0.1))
                with pytest.raises(RequestTimeoutError):
                    await hasty.users.get("jane")

        def in_flight() -> list[int]:
            return [client._transport.slots._in_flight, *pace.snapshot().in_flight.values()]

        loop = asyncio.new_event_loop()
        loop.run_until_complete(begin())
        loop.close()
        assert in_flight() == ([1, 0, 1] if lane is Lane.BATCH else [2, 2, 0])
        asyncio.run(again())

        assert in_flight() == [0, 0, 0]
        tasks.clear()
        gc.collect()  # ends the tasks, which free nothing a second time
        assert in_flight() == [0, 0, 0]
