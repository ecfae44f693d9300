"""What users get for their own tests, used as they would use it."""

import asyncio
from collections.abc import Mapping
from functools import wraps
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock, patch

import anyio
import httpx
import pytest
import respx
from pytest_httpx import HTTPXMock
from support.patience import PATIENCE
from support.servers import unused_port

from sunshine_async import (
    BasicAuth,
    ConfigurationError,
    ConnectError,
    ConnectionLostError,
    DixaClient,
    RequestTimeoutError,
    Retry,
    SmoochClient,
    SunshineClient,
    TransportError,
    webhooks,
)
from sunshine_async.dixa import CreateEndUserInput
from sunshine_async.emulator import Emulator
from sunshine_async.smooch import AppUserPreCreate
from sunshine_async.sunshine import UserCreateBody, Users
from sunshine_async.testing import ScriptedTransport, no_waiting

AUTH = BasicAuth("key-id", "secret")
USERS = "https://api.smooch.io/v2/apps/app/users"
JANE = {"user": {"id": "1", "externalId": "jane-1"}}


class TestFixtures:
    """The fixtures."""

    async def test_a_client_on_an_emulator(
        self, emulator: Emulator, sunshine_client: SunshineClient
    ) -> None:
        """`sunshine_client` calls `emulator`, in this process."""
        user = await sunshine_client.users.create(UserCreateBody(external_id="jane-1"))

        assert [stored["id"] for stored in emulator.users("sunshine")] == [user.id]

    async def test_both_clients_are_on_one_platform(
        self, sunshine_client: SunshineClient, smooch_client: SmoochClient
    ) -> None:
        """A user that `smooch_client` makes is there for `sunshine_client`."""
        made = await smooch_client.app_users.pre_create(AppUserPreCreate(user_id="jane-1"))

        assert (await sunshine_client.users.get("jane-1")).id == made.id

    async def test_a_client_of_dixa(self, emulator: Emulator, dixa_client: DixaClient) -> None:
        """`dixa_client` calls the same emulator, and is not held to the service's rate."""
        for _ in range(50):
            await dixa_client.end_users.create(CreateEndUserInput(display_name="Jane"))

        assert emulator.ledger()["dixa"]["users"] == 50

    async def test_a_bot(
        self,
        emulator: Emulator,
        sunshine_client: SunshineClient,
        sunshine_webhook: Mapping[str, Any],
        tmp_path: Path,
    ) -> None:
        """`sunshine_webhook` and `Emulator.connect` bring events to a bot in this process."""
        parser = webhooks.SunshineWebhooks(sunshine_webhook["secret"])
        receiver = webhooks.Receiver(parser, tmp_path / "inbox.sqlite")
        handled = anyio.Event()

        @receiver.on("conversation:message")
        async def answer(received: webhooks.Received[webhooks.ConversationMessage]) -> None:
            conversation = received.event.payload.conversation.id
            await sunshine_client.messages.send_text(conversation, "Hello", once=received.key("a"))
            handled.set()

        user = await sunshine_client.users.create(UserCreateBody())
        async with receiver, emulator.connect(receiver):
            said = emulator.say("app", user.id, "Hi")
            await handled.wait()
            await emulator.delivered()

        found = [one async for one in sunshine_client.messages.list(said["conversation"])]
        assert {one.author.type for one in found if one.author} == {"user", "business"}
        assert len(found) == 2

    def test_a_test_that_runs_its_own_loop(
        self, emulator: Emulator, sunshine_client: SunshineClient
    ) -> None:
        """They serve a test that is not async just as well."""
        asyncio.run(sunshine_client.users.create(UserCreateBody(external_id="jane-1")))

        assert emulator.ledger()["sunshine"]["users"] == 1

    async def test_an_emulator_on_a_socket(self, emulator: Emulator, emulator_url: str) -> None:
        """`emulator_url` is the same emulator, for whatever speaks HTTP."""
        async with SunshineClient("app", auth=AUTH, base_url=emulator_url) as client:
            await client.users.create(UserCreateBody())

        assert emulator.ledger()["sunshine"]["users"] == 1

    @pytest.mark.usefixtures("instant_waits")
    async def test_waits_are_over_at_once(
        self, emulator: Emulator, sunshine_client: SunshineClient
    ) -> None:
        """With `instant_waits` a call that would wait an hour is back at once."""
        emulator.faults += [httpx.ConnectError("refused")]
        patient = sunshine_client.with_options(
            retry=Retry(first_wait=3600, max_wait=3600, deadline=9999)
        )

        with anyio.fail_after(PATIENCE):
            await patient.users.create(UserCreateBody())

    @pytest.mark.usefixtures("instant_waits")
    async def test_a_bot_retries_at_once(
        self, emulator: Emulator, sunshine_webhook: Mapping[str, Any], tmp_path: Path
    ) -> None:
        """With `instant_waits` a `Receiver` calls a handler that has raised again at once."""
        receiver = webhooks.Receiver(
            webhooks.SunshineWebhooks(sunshine_webhook["secret"]),
            tmp_path / "inbox.sqlite",
            retry=Retry(first_wait=3600, max_wait=3600, deadline=99999),
        )
        handled = anyio.Event()

        @receiver.on("conversation:message")
        async def answer(received: webhooks.Received[webhooks.ConversationMessage]) -> None:
            if received.attempt < 4:
                raise ZeroDivisionError
            handled.set()

        emulator.add("sunshine", {"externalId": "jane-1"}, app_id="app")
        async with receiver, emulator.connect(receiver):
            emulator.say("app", "jane-1", "Hi")
            with anyio.fail_after(PATIENCE):
                await handled.wait()


class TestScriptedTransport:
    """`ScriptedTransport`."""

    async def test_it_gives_its_answers_in_their_order(self) -> None:
        """A status, a status with JSON, a response and an error each are an answer."""
        transport = ScriptedTransport(
            [(201, JANE), httpx.Response(200, json=JANE), 200, httpx.ReadError("")]
        )
        client = SunshineClient("app", auth=AUTH, transport=transport, retry=Retry(max_attempts=1))

        assert (await client.users.create(UserCreateBody(external_id="jane-1"))).id == "1"
        assert (await client.users.get("jane-1")).id == "1"
        await client.users.delete("jane-1")
        with pytest.raises(ConnectionLostError):
            await client.users.delete("jane-1")

        assert [request.method for request in transport.requests] == [
            "POST",
            "GET",
            "DELETE",
            "DELETE",
        ]
        assert transport.requests[0].content == b'{"externalId":"jane-1"}'

    async def test_a_request_without_an_answer_fails_the_test(self) -> None:
        """A request too many is an `AssertionError` that says which."""
        client = SunshineClient("app", auth=AUTH, transport=ScriptedTransport([]))

        with pytest.raises(AssertionError, match="no answer is scripted for request 1"):
            await client.users.get("jane-1")

    @pytest.mark.parametrize("answer", ["x", (200,), (200, JANE, 1), 2.0, b""])
    async def test_an_answer_of_another_type_is_named(self, answer: Any) -> None:
        """What is no answer fails with its place, and isn't taken for one."""
        transport = ScriptedTransport([answer])

        with pytest.raises(AssertionError, match="answer 1 is a"):
            await transport.handle_async_request(httpx.Request("GET", USERS))

    async def test_a_cancellation_of_other_code_can_be_scripted(self) -> None:
        """An answer may be any exception, also one that is no `Exception`."""
        transport = ScriptedTransport([asyncio.CancelledError()])

        with pytest.raises(asyncio.CancelledError):
            await transport.handle_async_request(httpx.Request("GET", USERS))


class TestNoWaiting:
    """`no_waiting`."""

    async def test_waits_that_overlap_pass_together(self, still_clock: None) -> None:
        """Ten callers that wait a second each at once take a second, not ten."""
        client = SunshineClient("app", auth=AUTH, transport=ScriptedTransport([]))
        clock = client._transport.clock
        before = clock.sleep

        with no_waiting():
            began = clock.now()
            async with anyio.create_task_group() as tasks:
                for _ in range(10):
                    tasks.start_soon(clock.sleep, 1.0)
            assert clock.now() - began == pytest.approx(1)

        assert clock.sleep is before


class TestMocks:
    """Other people's mocks meet our default client, and nothing leaves the process."""

    @respx.mock
    async def test_respx(self) -> None:
        """Its default mocker answers a client that knows nothing of it."""
        route = respx.post(USERS).respond(201, json=JANE)

        async with SunshineClient("app", auth=AUTH) as client:
            user = await client.users.create(UserCreateBody(external_id="jane-1"))

        assert user.id == "1"
        assert route.calls.last.request.content == b'{"externalId":"jane-1"}'

    async def test_pytest_httpx(self, httpx_mock: HTTPXMock) -> None:
        """So does pytest-httpx."""
        httpx_mock.add_response(url=USERS, status_code=201, json=JANE)

        async with SunshineClient("app", auth=AUTH) as client:
            assert (await client.users.create(UserCreateBody())).id == "1"

    async def test_patched_objects(self) -> None:
        """A resource, and a method of all users, can be replaced; a single object's method can't."""
        async with SunshineClient("app", auth=AUTH) as client:
            with patch.object(client, "users") as users:
                users.get = AsyncMock(return_value="patched")
                assert str(await client.users.get("jane-1")) == "patched"
            with patch.object(Users, "get", return_value="patched"):
                assert str(await client.users.get("jane-1")) == "patched"
            with pytest.raises(AttributeError), patch.object(client.users, "get"):
                pass

    async def test_vcr(self, tmp_path: Path) -> None:
        """A cassette of vcr is played to it."""
        cassette = tmp_path / "create.yaml"
        cassette.write_text(f"""
version: 1
interactions:
- request: {{body: "{{}}", headers: {{}}, method: POST, uri: "{USERS}"}}
  response:
    body: {{string: '{{"user": {{"id": "1"}}}}'}}
    headers: {{content-type: [application/json]}}
    status: {{code: 201, message: Created}}
""")
        vcr = import_module("vcr")  # the import takes long
        with vcr.use_cassette(str(cassette), record_mode="none") as played:
            async with SunshineClient("app", auth=AUTH) as client:
                assert (await client.users.create(UserCreateBody())).id == "1"

        assert played.play_count == 1

    async def test_a_vcr_that_would_be_bypassed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """In a cassette of vcrpy 7, which wraps a method of httpx's clients, nothing is sent."""
        import_module("vcr")
        unused = f"http://127.0.0.1:{unused_port()}"
        send = httpx.AsyncClient._send_single_request
        monkeypatch.setattr(httpx.AsyncClient, "_send_single_request", wraps(send)(lambda: None))

        with pytest.raises(ConfigurationError, match=r"install vcrpy>=8"):
            await SunshineClient("app", auth=AUTH, base_url=unused).users.get("1")

    @pytest.mark.httpx_mock(assert_all_requests_were_expected=False)
    async def test_words_of_pytest_httpx(self, httpx_mock: HTTPXMock) -> None:
        """A request that nobody registered fails in pytest-httpx's own words."""
        httpx_mock.add_response(status_code=503)
        client = SunshineClient("app", auth=AUTH, retry=Retry(first_wait=0, max_attempts=2))

        with pytest.raises(TransportError, match="No response can be found for GET") as caught:
            await client.users.get("1")

        assert "did not answer" not in str(caught.value)

    async def test_words_of_a_registered_error(self, httpx_mock: HTTPXMock) -> None:
        """An error that a test registered keeps its kind and its text; one without text its name."""
        client = SunshineClient("app", auth=AUTH, retry=Retry(max_attempts=1))
        httpx_mock.add_exception(httpx.ReadTimeout("too slow today"))
        httpx_mock.add_exception(httpx.ConnectError(""))

        with pytest.raises(RequestTimeoutError, match="too slow today"):
            await client.users.create(UserCreateBody())
        with pytest.raises(ConnectError, match=r"api\.smooch\.io failed: ConnectError"):
            await client.users.create(UserCreateBody())

    async def test_words_of_vcr(self, tmp_path: Path) -> None:
        """A request that a cassette doesn't have fails in vcr's own words."""
        vcr = import_module("vcr")
        client = SunshineClient("app", auth=AUTH, retry=Retry(max_attempts=1))

        with (
            vcr.use_cassette(str(tmp_path / "users.yaml"), record_mode="none"),
            pytest.raises(AssertionError, match=r"users\.yaml"),
        ):
            await client.users.get("1")
