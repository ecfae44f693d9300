"""Proxies: which calls go by one, and that nothing was sent where the way there fails."""

import asyncio
import gc
import random
import ssl
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.abc
import httpx
import pytest
import trustme
from support.backends import on_backend, on_both
from support.certificates import certified, tls
from support.patience import PATIENCE
from support.proxying import (
    JANE,
    TUNNEL,
    gone,
    handshaking,
    head_of,
    listening,
    saying,
    silent,
    tunnel,
)
from support.servers import unused_port
from support.size import sized
from support.virtual import until
from support.wires import no_mocks, sockets

from sunshine_async import (
    BasicAuth,
    ConfigurationError,
    ConnectError,
    ConnectionLostError,
    Fault,
    Retry,
    SunshineClient,
)
from sunshine_async._http.proxy import Proxy, find_proxy
from sunshine_async.sunshine import UserCreateBody

EXEMPT: Final = (
    ("a.example", "a.example b.a.example A.EXAMPLE a.example.:81", "ba.example a.example.b"),
    (".A.example", "a.example b.a.example", "ba.example"),
    ("*.a.example", "a.example b.a.example", "ba.example"),
    ("a.example.", "a.example b.a.example.", "ba.example"),
    ("a.example:443", "a.example b.a.example a.example:443", "a.example:81"),
    ("a.example:81", "a.example:81 b.a.example:81", "a.example a.example:181"),
    (" b.example ,,a.example\tc.example ", "a.example b.example c.example", "d.example"),
    ("*", "a.example 10.1.2.3 [fd00::1]", ""),
    ("b.example, *", "a.example 10.1.2.3 [fd00::1]", ""),
    ("", "", "a.example 10.1.2.3 [fd00::1]"),
    (". , *a.example :443 /8 10.0.0.0/33 []", "", "a.example 10.1.2.3 [fd00::1]"),
    ("10.0.0.0/8", "10.1.2.3 10.255.0.1:81", "11.1.2.3 10.example [fd00::1]"),
    ("192.168.7.1/16,10.0.0.0/8", "192.168.0.1 10.1.2.3", "192.169.0.1"),
    ("10.1.2.3", "10.1.2.3 10.1.2.3:81", "10.1.2.4 110.1.2.3"),
    ("10.1.2.3:81", "10.1.2.3:81", "10.1.2.3 10.1.2.3:181"),
    ("fd00::/8", "[fd00::1] [fdff::1]:81", "[fe00::1] 10.1.2.3 a.example"),
    ("FD00:0::1", "[fd00::1] [fd00:0:0::1]:81", "[fd00::2]"),
    ("[fd00::1]", "[fd00::1] [fd00::1]:81", "[fd00::2]"),
    ("[fd00::1]:81", "[fd00::1]:81", "[fd00::1] [fd00::1:81]:81"),
    ("fd00::443", "[fd00::443] [fd00::443]:81", "[fd00::]"),
)
"""Values of ``NO_PROXY``, hosts that are called directly then, and hosts that are not."""
WIRES: Final = {"own": "asyncio", "httpx": "asyncio", "httpx on trio": "trio"}
"""The wires to a proxy, and the backend of each."""
AUTH: Final = BasicAuth("key-id", "secret")
PASSWORD: Final = "geheim%23"


def refusing(status: str) -> Callable[[list[bytes]], Any]:
    """Return a maker of proxies that answer CONNECT with *status*."""
    answer = f"HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nno".encode("latin-1")
    return lambda heard: saying(answer, heard=heard)


PROXIES: Final[dict[str, tuple[Any, str, Fault]]] = {
    "407": (
        refusing("407 Proxy Authentication Required"),
        "407 Proxy Authentication Required: give the proxy's URL the right user name",
        Fault.PERMANENT,
    ),
    "401": (
        refusing("401 Unauthorized"),
        "401 Unauthorized: give the proxy's URL the right user name",
        Fault.PERMANENT,
    ),
    "403": (refusing("403 Blocked"), "the proxy answered 403 Blocked", Fault.UNSENT),
    "407 with an echo": (
        refusing("407 No: geheim#, Basic dXNlcjpnZWhlaW0j\t\N{NO-BREAK SPACE}"),
        "failed: 407 No: ..., Basic ...: give the proxy's URL",
        Fault.PERMANENT,
    ),
    "502": (refusing("502 Bad Gateway"), "the proxy answered 502 Bad Gateway", Fault.UNSENT),
    "302": (refusing("302 Found"), "the proxy answered 302 Found", Fault.UNSENT),
    "unanswered": (lambda _: silent, "it took too long", Fault.UNSENT),
    "hangs up": (
        lambda _: gone,
        "failed: the proxy closed the connection before it answered",
        Fault.UNSENT,
    ),
    "no HTTP": (
        lambda heard: saying(b"SSH-2.0\r\n\r\n", heard=heard),
        "failed: the proxy's answer is no HTTP",
        Fault.UNSENT,
    ),
    "endless head": (
        lambda heard: saying(b"HTTP/1.1 200 " + b"x" * 300_000, heard=heard),
        "failed: ",
        Fault.UNSENT,
    ),
    "early hints without end": (
        lambda heard: saying(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 30, heard=heard),
        "failed: ",
        Fault.UNSENT,
    ),
    "hangs up in the tunnel": (
        lambda heard: saying(TUNNEL, heard=heard),
        "failed: ",
        Fault.UNSENT,
    ),
    "no TLS in the tunnel": (
        lambda heard: saying(TUNNEL + JANE * 2, b"no", heard=heard),
        "failed: ",
        Fault.UNSENT,
    ),
}
"""The proxies by name: what makes one, what the error says, and the fault."""


async def refused(
    port: int,
    *,
    proxy: str | None,
    ssl_context: ssl.SSLContext | None = None,
    connect: float = PATIENCE,
) -> ConnectError:
    """Return the error of a create without a key, of which no byte may have left."""
    client = SunshineClient(
        "app",
        auth=AUTH,
        base_url=f"https://127.0.0.1:{port}",
        proxy=proxy,
        ssl_context=ssl_context or tls().client,
        timeout=httpx.Timeout(PATIENCE, connect=connect),
        retry=Retry(first_wait=0, max_attempts=2),
    )
    async with client:
        with anyio.fail_after(PATIENCE), pytest.raises(ConnectError) as caught:
            await client.users.create(UserCreateBody())
    error = caught.value
    assert not error.maybe_applied
    assert error.attempts == (1 if error.fault is Fault.PERMANENT else 2)
    assert "geheim" not in str(error) + repr(error)
    assert error.__cause__ is None
    assert error.__context__ is None
    return error


def url_of(port: int) -> str:
    """Return the URL of the proxy at *port*, with its password."""
    return f"http://user:{PASSWORD}@127.0.0.1:{port}"


@pytest.fixture
def backend(wire: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the backend for *wire*, where calls go by it."""
    if wire == "own":
        no_mocks(monkeypatch)
    return WIRES[wire]


@pytest.mark.parametrize("wire", WIRES)
class TestBeforeTheRequest:
    """Whatever keeps a request from being sent through a proxy."""

    @on_backend
    @pytest.mark.slow
    @pytest.mark.parametrize("name", PROXIES)
    async def test_proxy_that_does_not_connect(self, name: str) -> None:
        """A create through a proxy that refuses, breaks off or is silent was not sent."""
        make, says, fault = PROXIES[name]
        connect = 0.5 if name in ("unanswered", "no TLS in the tunnel") else PATIENCE

        heard: list[bytes] = []
        async with listening(make(heard)) as port:
            error = await refused(1, proxy=url_of(port), connect=connect)
        assert error.fault is fault
        assert says in str(error)
        assert f"127.0.0.1:1 through the proxy http://127.0.0.1:{port} failed" in str(error)
        assert all(head.startswith((b"CONNECT ", b"\x16")) for head in heard)

    @on_backend
    async def test_dead_target(self) -> None:
        """A proxy that can't reach the service says so, and the error too."""
        heard: list[bytes] = []
        async with listening(tunnel(heard)) as port:
            error = await refused(unused_port(), proxy=url_of(port))
        assert "the proxy answered 502 Bad Gateway" in str(error)
        assert b"\r\nProxy-Authorization: Basic dXNlcjpnZWhlaW0j\r\n" in heard[0]

    @on_backend
    @pytest.mark.parametrize("proxy", ["unused", "http://user:geheim@nowhere.invalid:3128"])
    async def test_dead_proxy(self, proxy: str) -> None:
        """A proxy that is down or misnamed is named, without its password."""
        url = url_of(unused_port()) if proxy == "unused" else proxy
        error = await refused(1, proxy=url)
        says = {"unused": "connection refused"}.get(proxy, "its name can't be looked up")
        name = url.partition("@")[2]
        assert f"connecting to the proxy http://{name} failed: {says}" in str(error)

    @on_backend
    async def test_dead_proxy_of_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A misnamed proxy from the environment is named, without its password."""
        monkeypatch.setenv("HTTPS_PROXY", "http://user:geheim@nowhere.invalid:3128")

        client = SunshineClient("app", auth=AUTH, retry=Retry(max_attempts=1))
        async with client:
            with pytest.raises(ConnectError) as caught:
                await client.users.create(UserCreateBody())
        assert "connecting to the proxy http://nowhere.invalid:3128 failed" in str(caught.value)
        assert "(the proxy is named by HTTPS_PROXY)" in str(caught.value)
        assert "geheim" not in str(caught.value)
        assert not caught.value.maybe_applied

    @on_backend
    async def test_secure_proxy_that_is_not_trusted(self) -> None:
        """A proxy whose own certificate isn't trusted is named, and nothing was sent."""
        async with listening(silent, certified(trustme.CA(), "127.0.0.1")) as port:
            error = await refused(1, proxy=f"https://user:geheim@127.0.0.1:{port}")
        assert error.fault is Fault.PERMANENT
        assert f"connecting to the proxy https://127.0.0.1:{port} failed" in str(error)
        assert "(the proxy is named by proxy=)" in str(error)
        assert "certificate verify failed" in str(error)


WAYS: Final = {
    "own": "asyncio",
    "httpx": "asyncio",
    "httpx on trio": "trio",
    "proxy, own": "asyncio",
    "proxy, httpx": "asyncio",
    "proxy on trio": "trio",
}
"""The ways to a server, and the backend of each."""

SERVERS: Final = {
    "untrusted": ("certificate verify failed: unable to get local issuer", Fault.PERMANENT),
    "wrong host": ("certificate verify failed: IP address mismatch", Fault.PERMANENT),
    "expired": ("certificate verify failed: certificate has expired", Fault.PERMANENT),
    "wants a certificate": ("hand in ssl_context= with the client's", Fault.PERMANENT),
    "wants a certificate, TLS 1.2": ("handshake failure", Fault.UNSENT),
    "wants another certificate": ("unknown ca: hand in ssl_context=", Fault.PERMANENT),
}
"""The servers that a client can't call: what the error says, and the fault."""


@pytest.mark.parametrize("kind", SERVERS)
@pytest.mark.parametrize("way", WAYS)
def test_no_agreement_on_tls(way: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where either side refuses the other's certificate the request was not sent, or not read."""
    says, fault = SERVERS[kind]
    if way.endswith("own"):
        no_mocks(monkeypatch)
    ours = client_with_certificate() if "another" in kind else None

    async def scenario() -> None:
        async with listening(tunnel([])) as proxy_port:
            proxy = url_of(proxy_port) if way.startswith("proxy") else None
            error = await refused(port, proxy=proxy, ssl_context=ours)
        assert error.fault is fault
        assert says in str(error)

    with handshaking(server_of(kind)) as (port, heard):
        anyio.run(scenario, backend=WAYS[way])
    assert heard == []


@pytest.mark.parametrize("way", WAYS)
def test_certificates_that_vanish(
    way: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Certificates that can't be read any more keep a call from being sent, and are named."""
    if way.endswith("own"):
        no_mocks(monkeypatch)
    file = tmp_path / "authority.pem"
    file.write_text("nothing", encoding="utf-8")

    async def scenario() -> None:
        client = SunshineClient(
            "app",
            auth=AUTH,
            base_url=f"https://127.0.0.1:{port}",
            proxy=url_of(1) if way.startswith("proxy") else None,
            retry=Retry(max_attempts=1),
        )
        monkeypatch.setenv("SSL_CERT_FILE", str(file))
        async with client:
            with pytest.raises(ConnectError, match="SSL_CERT_FILE") as caught:
                await client.users.create(UserCreateBody())
        assert not caught.value.maybe_applied

    with handshaking(tls().server) as (port, _):
        anyio.run(scenario, backend=WAYS[way])


@pytest.mark.parametrize("way", WAYS)
def test_after_the_request(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that a server has read may have acted, whatever way it came."""
    if way.endswith("own"):
        no_mocks(monkeypatch)

    async def scenario() -> None:
        async with listening(gone, tls().server) as port, listening(tunnel([])) as proxy_port:
            client = SunshineClient(
                "app",
                auth=AUTH,
                base_url=f"https://127.0.0.1:{port}",
                proxy=url_of(proxy_port) if way.startswith("proxy") else None,
                ssl_context=tls().client,
            )
            async with client:
                with pytest.raises(ConnectionLostError) as caught:
                    await client.users.create(UserCreateBody())
        assert caught.value.maybe_applied
        assert caught.value.attempts == 1

    anyio.run(scenario, backend=WAYS[way])


@pytest.mark.parametrize("way", WAYS)
def test_calls_by_a_kept_connection(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls that go well share a connection, through a proxy one tunnel."""
    if way.endswith("own"):
        no_mocks(monkeypatch)

    async def scenario() -> None:
        heard: list[bytes] = []
        tunnels: list[bytes] = []
        async with (
            listening(saying(JANE, JANE, JANE, heard=heard), tls().server) as port,
            listening(tunnel(tunnels)) as proxy_port,
        ):
            client = SunshineClient(
                "app",
                auth=AUTH,
                base_url=f"https://127.0.0.1:{port}",
                proxy=url_of(proxy_port) if way.startswith("proxy") else None,
                ssl_context=tls().client,
                retry=Retry(max_attempts=1),
            )
            async with client:
                for _ in range(3):
                    assert (await client.users.create(UserCreateBody())).id == "1"
        assert len(heard) == 3
        assert len(tunnels) == way.startswith("proxy")
        assert all(b"Proxy-Authorization" not in head for head in heard)

    anyio.run(scenario, backend=WAYS[way])


@on_backend
@pytest.mark.parametrize("wire", WIRES)
async def test_proxy_without_a_password() -> None:
    """A proxy that asks for no password gets none, and may send early hints."""
    tunnels: list[bytes] = []

    async def hinting(link: anyio.abc.ByteStream) -> None:
        await link.send(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n")
        await tunnel(tunnels)(link)

    async with (
        listening(saying(JANE, heard=[]), tls().server) as port,
        listening(hinting) as proxy_port,
        SunshineClient(
            "app",
            auth=AUTH,
            base_url=f"https://127.0.0.1:{port}",
            proxy=f"http://127.0.0.1:{proxy_port}",
            ssl_context=tls().client,
        ) as client,
    ):
        assert (await client.users.create(UserCreateBody())).id == "1"
    assert tunnels[0].startswith(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\n" % port)
    assert b"Proxy-Authorization" not in tunnels[0]


async def test_churn_through_a_proxy_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls that are cancelled at any time, in the tunnel's making too, leave no connection."""
    no_mocks(monkeypatch)
    luck, before = random.Random(1), (sockets(), asyncio.all_tasks())
    tunnels: list[bytes] = []
    under_way: list[object] = []

    async def answer(link: anyio.abc.ByteStream) -> None:
        while True:
            await head_of(link)
            await link.send(JANE)

    async def count(link: anyio.abc.ByteStream) -> None:
        under_way.append(link)
        try:
            await tunnel(tunnels)(link)
        finally:
            under_way.remove(link)

    async def create(client: SunshineClient) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(luck.random() * 0.02):
                await client.request("GET", "/v2/apps/{app_id}/users/1")

    async with (
        listening(answer, tls().server) as port,
        listening(count) as proxy_port,
        SunshineClient(
            "app",
            auth=AUTH,
            base_url=f"https://127.0.0.1:{port}",
            proxy=url_of(proxy_port),
            ssl_context=tls().client,
            max_connections=8,
        ) as client,
    ):
        for _ in range(sized(20, 4)):
            await asyncio.gather(*(create(client) for _ in range(16)))
        answers = [client.request("GET", "/v2/apps/{app_id}/users/1") for _ in range(16)]
        assert await asyncio.gather(*answers) == [{"user": {"id": "1"}}] * 16
        await client.aclose()
        await until(lambda: not under_way)
    await until(lambda: sockets() <= before[0] and asyncio.all_tasks() <= before[1])
    assert len(tunnels) >= 8


@on_both
async def test_proxy_that_forwards() -> None:
    """A proxy that forwards a request itself is heard; its 407 is no answer of the service."""
    heard: list[bytes] = []
    no = b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n"
    for answers in ([JANE, no], [no]):  # on a connection that was used, and on a new one
        async with listening(saying(*answers, heard=heard)) as port:
            client = SunshineClient(
                "app", auth=AUTH, base_url="http://127.0.0.1:1", proxy=url_of(port)
            )
            async with client:
                for _ in answers[1:]:
                    assert (await client.users.create(UserCreateBody())).id == "1"
                with pytest.raises(ConnectError, match="407: give the proxy's URL") as caught:
                    await client.users.create(UserCreateBody())
        assert caught.value.fault is Fault.PERMANENT
        assert not caught.value.maybe_applied
    assert heard[0].startswith(b"POST http://127.0.0.1:1/v2/apps/app/users HTTP/1.1\r\n")


@on_both
async def test_no_socket_is_left_where_tls_never_ends() -> None:
    """The connection to a proxy that never answers TLS is closed once its time is over."""
    closed = anyio.Event()

    async def quiet(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            async for _ in stream:
                pass
        closed.set()

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)  # noqa: S610 - no Django
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, quiet)
        async with SunshineClient(
            "app",
            auth=AUTH,
            base_url="https://127.0.0.1:1",
            proxy=f"https://127.0.0.1:{port}",
            timeout=1.0,
            retry=Retry(max_attempts=1),
        ) as client:
            with pytest.raises(ConnectError, match="took too long"):
                await client.users.create(UserCreateBody())
            gc.collect()  # which complains of a socket that is still open
            with anyio.fail_after(PATIENCE):
                await closed.wait()
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("challenges", ["Negotiate", "NTLM\r\nProxy-Authenticate: Negotiate YII="])
async def test_proxy_that_does_not_take_a_password(
    challenges: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy without Basic is named as such: no user name and no password would help."""
    no_mocks(monkeypatch)
    heard: list[bytes] = []
    proxy = refusing(f"407 Sign in\r\nProxy-Authenticate: {challenges}")
    async with listening(proxy(heard)) as port:
        error = await refused(1, proxy=url_of(port))
    assert error.fault is Fault.PERMANENT
    names = challenges.replace("\r\nProxy-Authenticate: ", " or ").removesuffix(" YII=")
    assert f"the proxy takes {names}, of which none works here" in str(error)
    assert "password" not in str(error)


async def test_proxy_that_takes_a_password_among_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that takes Basic among others needs the right password."""
    no_mocks(monkeypatch)
    heard: list[bytes] = []
    proxy = refusing("407 No\r\nProxy-Authenticate: NTLM\r\nProxy-Authenticate: basic realm=x")
    async with listening(proxy(heard)) as port:
        error = await refused(1, proxy=url_of(port))
    assert "give the proxy's URL the right user name and password" in str(error)


async def test_silent_proxy_is_named_at_the_end_of_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A timeout that ends together with the wait for the proxy names the proxy, too."""
    no_mocks(monkeypatch)
    async with (
        listening(silent) as port,
        SunshineClient(
            "app",
            auth=AUTH,
            base_url="https://127.0.0.1:1",
            proxy=url_of(port),
            timeout=1.0,
            retry=Retry(max_attempts=1),
        ) as client,
    ):
        with pytest.raises(ConnectError, match=f"through the proxy http://127.0.0.1:{port} "):
            await client.users.create(UserCreateBody())


@pytest.mark.parametrize(
    "answer", ["Invalid username/password", "Requested NO AUTH from proxy server, but got X"]
)
def test_socks_proxy_that_wants_a_password(answer: str) -> None:
    """A SOCKS proxy that refuses the credentials is permanent, as is a proxy with a 407."""
    proxy = Proxy("socks5://localhost", "socks5://localhost", "proxy=")

    assert proxy.refusal(answer, "api.smooch.io").fault is Fault.PERMANENT
    assert proxy.refusal("Could not connect", "api.smooch.io").fault is Fault.UNSENT


class TestConstruction:
    """What is refused before any call, and how: without the password."""

    @pytest.mark.parametrize("by", ["argument", "HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
    @pytest.mark.parametrize(
        "proxy",
        [
            "http://user:geheim#1@localhost:3128",
            "http://user:geheim/1@localhost:3128",
            "http://user:geheim?1@localhost:3128",
            "http://user:geheim\\1@localhost:3128",
            "http://user:geheim 1@localhost:3128",
            "http://user:geheim\n@localhost:3128",
            "http://user:geheim\u00e9@localhost:3128",
            "http://user:geheim@localhost:99999",
            "http://user:geheim@localhost:0",
            "http://user:geheim@localhost:http",
            "http://user:geheim@",
            "http://user:geheim@:3128",
            "http://user:geheim@[::1",
            "http://user:geheim@local host:3128",
            "http://user:geheim@localhost:3128/path",
            "ftp://user:geheim@localhost:3128",
            "socks4://user:geheim@localhost:3128",
            "socks5://user:geheim@localhost:3128",
            "socks5h://user:geheim@localhost:3128",
            "://user:geheim@localhost:3128",
            " http://user:geheim@localhost:3128",
        ],
    )
    def test_proxy_that_cannot_be(
        self, proxy: str, by: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A proxy that no call could use is refused at once, without its password."""
        if by != "argument":
            monkeypatch.setenv(by, proxy)
        with pytest.raises(ConfigurationError, match=r"prox.*(must be a URL|socksio)") as caught:
            SunshineClient("app", auth=AUTH, proxy=proxy if by == "argument" else None)

        assert "geheim" not in str(caught.value)
        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None

    @pytest.mark.parametrize(
        ("proxy", "name"),
        [
            ("http://localhost", "http://localhost"),
            ("HTTP://user:p%40ss%23@LOCALHOST:3128/", "http://LOCALHOST:3128"),
            ("http://user:p@ss:w[o]rd@localhost:3128", "http://localhost:3128"),
            ("https://user@[::1]:3128", "https://[::1]:3128"),
            ("http://proxy.example.:", "http://proxy.example."),
        ],
    )
    async def test_proxy_that_can_be(self, proxy: str, name: str) -> None:
        """A proxy of httpx's is taken as httpx takes it, and its name has no user in it."""
        found = find_proxy(proxy, "https://api.smooch.io")

        assert found is not None
        assert found.name == name
        assert "user" not in repr(found)
        assert found.for_httpx(tls().client).url.host in name.lower()

    @pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
    def test_socks(self, scheme: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """A SOCKS proxy is taken where the package that it needs is installed."""
        (tmp_path / "socksio.py").touch()
        monkeypatch.syspath_prepend(tmp_path)

        SunshineClient("app", auth=AUTH, proxy=f"{scheme}://user:geheim@localhost")

    @pytest.mark.parametrize("value", ["", None])
    def test_no_proxy(self, value: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
        """An empty proxy is none."""
        monkeypatch.setenv("HTTPS_PROXY", "")

        assert find_proxy(value, "https://api.smooch.io") is None

    def test_exempt_hosts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """``NO_PROXY`` names hosts in the forms that curl, requests or Go take."""
        monkeypatch.setenv("ALL_PROXY", "http://proxy.example:3128")
        for exemptions, exempt, others in EXEMPT:
            monkeypatch.setenv("NO_PROXY", exemptions)
            for hosts, expected in ((exempt, True), (others, False)):
                direct = [find_proxy(None, f"https://{host}") is None for host in hosts.split()]
                assert set(direct) <= {expected}, (exemptions, hosts)

    def test_proxy_that_is_not_used(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A proxy of the environment that isn't for this service may be anything."""
        monkeypatch.setenv("HTTPS_PROXY", "socks4://user:geheim#@")
        monkeypatch.setenv("NO_PROXY", "smooch.io")

        SunshineClient("app", auth=AUTH)
        SunshineClient("app", auth=AUTH, base_url="https://localhost")


def server_of(kind: str) -> ssl.SSLContext:
    """Return the context of a server that a client of the tests can't call."""
    if kind in ("untrusted", "wrong host"):
        authority = trustme.CA() if kind == "untrusted" else tls().authority
        return certified(authority, "elsewhere.example" if kind == "wrong host" else "127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if kind == "expired":
        past = datetime(2020, 1, 1, tzinfo=UTC)
        certificate = tls().authority.issue_cert("127.0.0.1", not_before=past, not_after=past)
        certificate.configure_cert(context)
        return context
    tls().authority.issue_cert("127.0.0.1").configure_cert(context)
    context.verify_mode = ssl.CERT_REQUIRED
    (trustme.CA() if "another" in kind else tls().authority).configure_trust(context)
    if "1.2" in kind:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context


def client_with_certificate() -> ssl.SSLContext:
    """Return the context of a client that has a certificate of its own."""
    context = ssl.create_default_context()
    tls().authority.configure_trust(context)
    tls().authority.issue_cert("me.example").configure_cert(context)
    return context
