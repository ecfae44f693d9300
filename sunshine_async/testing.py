"""Pytest fixtures for your own tests: an emulator, clients, scripted responses, and instant waits.

Add the fixtures in ``conftest.py``::

    pytest_plugins = ["sunshine_async.testing"]

A test file. The fixtures need ``pip install 'sunshine-async[emulator]' pytest-asyncio``. Async tests
need ``asyncio_mode = auto`` below ``[pytest]`` in ``pytest.ini``, or the anyio plugin of pytest::

    import asyncio
    from collections.abc import Mapping
    from pathlib import Path

    import pytest

    from sunshine_async import BasicAuth, NotFoundError, SunshineClient, webhooks
    from sunshine_async.emulator import Emulator, Mishap
    from sunshine_async.sunshine import UserCreateBody
    from sunshine_async.testing import ScriptedTransport


    async def test_lost_answer(emulator: Emulator, sunshine_client: SunshineClient) -> None:
        emulator.faults += [Mishap(reset=True, when="after")]
        await sunshine_client.users.create(UserCreateBody(external_id="jane-1"))
        assert emulator.ledger()["sunshine"]["users"] == 1


    async def test_exact_answers(instant_waits: None) -> None:
        missing = {"errors": [{"code": "user_not_found", "title": "User not found"}]}
        transport = ScriptedTransport([503, (404, missing)])
        client = SunshineClient("app", auth=BasicAuth("id", "secret"), transport=transport)
        with pytest.raises(NotFoundError, match="User not found"):
            await client.users.get("jane-1")
        assert len(transport.requests) == 2


    async def test_bot(
        emulator: Emulator,
        sunshine_client: SunshineClient,
        sunshine_webhook: Mapping[str, str],
        tmp_path: Path,
    ) -> None:
        parser = webhooks.SunshineWebhooks(sunshine_webhook["secret"])
        receiver = webhooks.Receiver(parser, inbox=tmp_path / "inbox.sqlite")
        answered = asyncio.Event()

        @receiver.on("conversation:message")
        async def answer(received: webhooks.Received[webhooks.ConversationMessage]) -> None:
            conversation = received.event.payload.conversation.id
            await sunshine_client.messages.send_text(conversation, "Hi", once=received.key("hi"))
            answered.set()

        emulator.add("sunshine", {"externalId": "jane-1"}, app_id="app")
        async with receiver, emulator.connect(receiver):
            emulator.say("app", "jane-1", "Hello")
            await answered.wait()
        assert emulator.ledger()["sunshine"]["messages"] == 2


    def test_program_with_a_loop_of_its_own(emulator: Emulator, emulator_url: str) -> None:
        emulator.add("sunshine", {"externalId": "jane-1"}, app_id="app")
        assert emulator_url.startswith("http://127.0.0.1:")

- `emulator`: the services, in this process; `emulator_url`: the same emulator on a socket.
- `sunshine_webhook`: a webhook of the emulator's app, for a bot in this process.
- `sunshine_client`, `smooch_client`, `dixa_client`: clients of the emulator.
- `instant_waits`: waits of the library take no time in the test.

Async tests and sync tests can use the fixtures. Mocks of httpx (respx, pytest-httpx, vcrpy from 8 on)
work with the clients without any setting. Resources are frozen: ``patch.object(client, "users")`` and
``patch.object(sunshine.Users, "get")`` replace what is called, ``patch.object(client.users, "get")``
is refused.
"""

from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import anyio.lowlevel
import httpx
import pytest

from sunshine_async._pace import Pace
from sunshine_async._pace.settings import check_kinds
from sunshine_async._pace.waiting import CLOCK
from sunshine_async.auth import ApiToken, BasicAuth
from sunshine_async.dixa.client import DixaClient
from sunshine_async.smooch.client import SmoochClient
from sunshine_async.sunshine.client import SunshineClient

if TYPE_CHECKING:
    from sunshine_async.emulator import Emulator

Answer: TypeAlias = int | tuple[int, Any] | httpx.Response | BaseException


class ScriptedTransport(httpx.AsyncBaseTransport):
    """Transport with scripted answers, in order: ``SunshineClient(..., transport=...)``.

    An answer is a status, a status with JSON data, an `httpx.Response`, or an exception to raise,
    such as ``httpx.ReadTimeout("")``. The received requests are in *requests*. A request without
    an answer, or with an answer of another type, raises `AssertionError`.
    """

    def __init__(self, answers: Iterable[Answer]) -> None:
        check_kinds({"answers": (Iterable, "a list, such as [404]")}, {"answers": answers})
        self._answers: Final = iter(answers)
        self.requests: Final[list[httpx.Request]] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Record *request*; return or raise the next answer."""
        await request.aread()
        self.requests.append(request)
        await anyio.lowlevel.checkpoint()
        answer: Any = next(self._answers, None)
        match answer:
            case None:
                message = f"no answer is scripted for request {len(self.requests)}"
                raise AssertionError(message)
            case BaseException() as error:
                raise error
            case int(status):
                return httpx.Response(status)
            case (int(status), data):
                return httpx.Response(status, json=data)
            case httpx.Response() as response:
                return response
            case other:
                kind = type(other).__name__
                message = f"answer {len(self.requests)} is a {kind}: script a status, a status with"
                message += " JSON, an httpx.Response or an exception"
                raise AssertionError(message)


@contextmanager
def no_waiting() -> Generator[None]:
    """Make every wait of the library instant; the library's clock moves on by the time of the wait.

    Waits that overlap pass together, as in real time. Timeouts still take real time, and so do the
    waits of a `Receiver` with an inbox in PostgreSQL.
    """
    sleep, now = CLOCK.sleep, CLOCK.now
    skipped = 0.0

    async def skip(seconds: float) -> None:
        nonlocal skipped
        until = CLOCK.now() + seconds
        await sleep(0)
        skipped = max(skipped, until - now())

    CLOCK.sleep, CLOCK.now = skip, lambda: now() + skipped
    try:
        yield
    finally:
        CLOCK.sleep, CLOCK.now = sleep, now


@pytest.fixture
def emulator() -> "Generator[Emulator]":
    """Give an emulator of the services, in this process and without data."""
    from sunshine_async.emulator import Emulator  # noqa: PLC0415 - its extra may be missing

    emulator = Emulator()
    yield emulator
    emulator.close()


@pytest.fixture
def sunshine_webhook(emulator: "Emulator") -> Mapping[str, Any]:
    """Return a webhook of the app of `sunshine_client`, with every trigger: a bot has the ``secret``.

    ::

        receiver = Receiver(SunshineWebhooks(sunshine_webhook["secret"]), tmp_path / "inbox.sqlite")
        async with receiver, emulator.connect(receiver):
            emulator.say("app", user.id, "Hello")
            await emulator.delivered()
    """
    return emulator.add_webhook("sunshine", {"target": "http://receiver/"}, app_id="app")


@pytest.fixture
def emulator_url(emulator: "Emulator") -> Generator[str]:
    """Serve the same emulator on a socket; give the base URL."""
    with emulator.serve() as base_url:
        yield base_url


@pytest.fixture
def sunshine_client(emulator: "Emulator") -> SunshineClient:
    """Return a client of the emulator, for async tests and for tests that run an event loop."""
    return SunshineClient("app", auth=BasicAuth("key-id", "secret"), transport=emulator.transport())


@pytest.fixture
def smooch_client(emulator: "Emulator") -> SmoochClient:
    """Return a Smooch v1.1 client of the emulator, with the same users as `sunshine_client`."""
    return SmoochClient("app", auth=BasicAuth("key-id", "secret"), transport=emulator.transport())


@pytest.fixture
def dixa_client(emulator: "Emulator") -> DixaClient:
    """Return a Dixa client of the emulator, without a rate."""
    return DixaClient(auth=ApiToken("token"), transport=emulator.transport(), pace=Pace())


@pytest.fixture
def instant_waits() -> Generator[None]:
    """Make waits of the library instant in this test; see `no_waiting`."""
    with no_waiting():
        yield
