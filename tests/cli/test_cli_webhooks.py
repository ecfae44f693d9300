"""The commands for webhooks: deliveries shown, recorded and sent again."""

import json
import os
import resource
import signal
import stat
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any

import httpx
import pytest
from support.deliveries import DELIVERIES, SECRET
from support.limits import limited
from support.patience import PATIENCE
from support.servers import unused_port
from support.targets import Target
from typer.testing import CliRunner, Result

from sunshine_async import webhooks
from sunshine_async.cli import webhook_listener
from sunshine_async.cli.app import app
from sunshine_async.cli.webhook_listener import Listener
from sunshine_async.emulator import Emulator
from sunshine_async.emulator.emulator import ServerThread

ENV = {"SUNSHINE_WEBHOOK_SECRET": SECRET, "SMOOCH_WEBHOOK_SECRET": SECRET}


def listener(service: str = "sunshine", file: int | None = None, secret: str = SECRET) -> Listener:
    """Return a listener of *service*."""
    return Listener(service, webhook_listener.PARSERS[service](secret), file)


@pytest.fixture
def target() -> Target:
    """Return a target that answers 200."""
    return Target()


@pytest.fixture
def url(target: Target) -> Iterator[str]:
    """Serve the target on a socket; give the URL."""
    with ServerThread(lambda: target, "127.0.0.1", 0) as base_url:
        yield base_url


def invoke(*arguments: str, env: dict[str, str] | None = None) -> Result:
    """Run a command for webhooks."""
    return CliRunner().invoke(app, ["webhooks", *arguments], env=ENV if env is None else env)


class TestListener:
    """Deliveries are shown, one line an event."""

    @pytest.mark.parametrize("service", ["sunshine", "smooch", "dixa"])
    async def test_each_example(self, service: str, capsys: pytest.CaptureFixture[str]) -> None:
        """Each example of the references is a line, with the trigger."""
        secret = "ab" * 8
        emulator = Emulator()
        triggers: list[str] = []
        for one in DELIVERIES[service]:
            for event in one.get("events", [one]):
                trigger = event.get("type") or event.get("trigger") or event["event_fqn"]
                triggers.append(trigger)
        hook = {"target": "http://x/", "secret": secret, "triggers": [*dict.fromkeys(triggers)]}
        app_id = "" if service == "dixa" else "app"
        emulator.add_webhook(service, hook, app_id=app_id)
        async with emulator.connect(listener(service, secret=secret)):
            for one in DELIVERIES[service]:
                for event in one.get("events", [one]):
                    trigger = event.get("type") or event.get("trigger") or event["event_fqn"]
                    payload = event.get("payload") or event.get("data") or event
                    emulator.deliver(service, trigger, payload, app_id=app_id)
            deliveries = await emulator.delivered()

        assert {one["state"] for one in deliveries} == {"delivered"}
        lines = capsys.readouterr().out.splitlines()
        assert [line.split()[1] for line in lines] == triggers
        assert all(len(line) <= 110 for line in lines)

    async def test_a_message(self, capsys: pytest.CaptureFixture[str]) -> None:
        """A message has author and text; control characters don't reach the terminal."""
        emulator = Emulator()
        emulator.add("sunshine", {"id": "1"}, app_id="app")
        for service in ("sunshine", "smooch"):
            emulator.add_webhook(service, {"target": "http://x/", "secret": SECRET}, app_id="app")
        async with emulator.connect(listener()):
            ids = emulator.say("app", "1", "Hi\x1b[2J\nthere")
            deliveries = await emulator.delivered()

        lines = capsys.readouterr().out.splitlines()
        create, message, *refused = sorted(
            lines, key=lambda line: ("answered" in line, line.split()[1])
        )
        conversation = f"conversation {ids['conversation']}"
        assert create.endswith(f"  conversation:create  {conversation}  message")
        assert message.endswith(f"  conversation:message  {conversation}  user: Hi\\x1b[2J there")
        assert [one["attempts"] for one in deliveries if one["service"] == "smooch"] == [[400]] * 2
        assert all("answered 400: the body is no delivery" in line for line in refused)

    async def test_refusals(self, capsys: pytest.CaptureFixture[str]) -> None:
        """A wrong secret is a 401, a long body a 413; a look by HEAD is a 200."""
        transport = httpx.ASGITransport(listener())
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            assert (await client.post("/", headers={"x-api-key": "no"})).status_code == 401
            long = b"x" * (webhook_listener.MAX_BYTES + 1)
            assert (await client.post("/", content=long)).status_code == 413
            assert (await client.head("/")).status_code == 200
        [line] = capsys.readouterr().out.splitlines()
        assert "answered 401" in line
        assert SECRET not in line

    async def test_a_recording_that_cannot_be_written(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """A full disk is a 503, so the service sends the delivery again."""
        file = os.open("/dev/full", os.O_WRONLY)
        headers = {"x-api-key": SECRET}
        transport = httpx.ASGITransport(listener(file=file))
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            answer = await client.post("/", headers=headers, json={"events": []})
        os.close(file)
        assert answer.status_code == 503
        assert "answered 503: the recording can't be written: No space" in capsys.readouterr().out

    async def test_a_disk_that_takes_a_part(self, tmp_path: Path) -> None:
        """A line that fits only in part is a 503, and leaves the recording as before."""
        record = tmp_path / "record.jsonl"
        file = os.open(record, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        transport = httpx.ASGITransport(listener(file=file))
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        statuses: list[int] = []
        async with httpx.AsyncClient(
            transport=transport, base_url="http://x", headers={"x-api-key": SECRET}
        ) as client:
            for room in (10_000, 50, 10_000):
                with limited(resource.RLIMIT_FSIZE, os.fstat(file).st_size + room):
                    answer = await client.post("/", json={"events": [], "x": "x" * 100})
                statuses.append(answer.status_code)
        signal.signal(signal.SIGXFSZ, handler)
        os.close(file)
        assert statuses == [200, 503, 200]
        assert len(webhook_listener.read_recordings(record)) == 2

    @pytest.mark.parametrize("char", ["\u2028", "\u2029", "\x85", "\x1c", "\x0c", "\r", "\n"])
    async def test_any_text_is_read_back(self, tmp_path: Path, char: str) -> None:
        """A line of the recording ends at the line feed alone: texts may have other ends of lines."""
        record = tmp_path / "record.jsonl"
        file = os.open(record, os.O_WRONLY | os.O_CREAT)
        transport = httpx.ASGITransport(listener(file=file))
        body = json.dumps({"events": [{"text": f"a{char}b"}]}, ensure_ascii=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            answer = await client.post("/", content=body, headers={"x-api-key": SECRET})
        os.close(file)
        [read] = webhook_listener.read_recordings(record)
        assert (answer.status_code, read.body) == (200, body)

    async def test_an_event_is_one_line(self, capsys: pytest.CaptureFixture[str]) -> None:
        """A line break in a trigger or an id makes no further line."""
        event = {"type": "a\n12:00:00  b", "payload": {"conversation": {"id": "c\nd"}}}
        transport = httpx.ASGITransport(listener())
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            await client.post("/", json={"events": [event]}, headers={"x-api-key": SECRET})
        [line] = capsys.readouterr().out.splitlines()
        assert line.endswith("  a\\n12:00:00  b  conversation c\\nd")

    @pytest.mark.parametrize(
        ("data", "expected"),
        [
            ({"type": ""}, ["(no trigger)"]),
            ({"type": "a", "payload": {"reason": "api"}}, ["a", "api"]),
            ({"type": "a", "payload": {"activity": {"author": {"type": "business"}}}}, ["a"]),
        ],
    )
    def test_a_description(self, data: Any, expected: list[str]) -> None:
        """An event without text is the trigger alone."""
        event = webhook_listener.RawEvent("1", data["type"], data, b"")
        assert [*webhook_listener.describe_event(event)] == expected


class TestCommands:
    """``webhooks listen`` and ``webhooks replay``."""

    def test_record_and_replay(self, tmp_path: Path, target: Target, url: str) -> None:
        """A recording, sent again, gives the same bodies with the secret; the file has no secret."""
        record = tmp_path / "record.jsonl"
        bodies = [json.dumps(one) for one in DELIVERIES["sunshine"]]
        free, has_ended, found = str(unused_port()), Event(), list[int]()

        def send() -> None:
            with httpx.Client(trust_env=False, timeout=PATIENCE) as client:
                while not has_ended.is_set():
                    with suppress(httpx.ConnectError):
                        client.head(f"http://127.0.0.1:{free}/")
                        break
                else:
                    return  # a signal would end the tests
                for body in bodies:
                    answer = client.post(
                        f"http://127.0.0.1:{free}/", content=body, headers={"x-api-key": SECRET}
                    )
                    found.append(answer.status_code)
            os.kill(os.getpid(), signal.SIGINT)

        thread = Thread(None, send)
        thread.start()
        result = invoke("listen", "--port", free, "--record", str(record))
        has_ended.set()
        thread.join()

        assert (result.exit_code, {*found}) == (0, {200}), result.output
        assert result.stdout.startswith(f"listening on http://127.0.0.1:{free}\n")
        assert result.stdout.count("\n") > len(bodies)
        assert SECRET not in record.read_text()
        assert stat.S_IMODE(record.stat().st_mode) == 0o600

        result = invoke("replay", str(record), "--target", url)
        assert result.exit_code == 0
        assert [json.loads(one.body) for one in target.received] == DELIVERIES["sunshine"]
        assert {one.headers["x-api-key"] for one in target.received} == {SECRET}
        assert result.stdout.splitlines()[0] == "     1  200"

    def test_failures(self, tmp_path: Path, target: Target, url: str) -> None:
        """A refused delivery makes the exit status 1; every delivery is sent once."""
        record = tmp_path / "record.jsonl"
        line = json.dumps({"service": "smooch", "body": "{}"}) + "\n"
        record.write_text(line * 3)
        target.statuses = iter([200, 401, 503])
        result = invoke("replay", str(record), "--target", url)
        assert result.exit_code == 1
        assert result.stdout.split() == ["1", "200", "2", "401", "3", "503"]

    def test_dixa_is_signed_anew(self, tmp_path: Path, target: Target, url: str) -> None:
        """A replayed delivery of Dixa has a signature of now."""
        record, secret = tmp_path / "record.jsonl", tmp_path / "secret"
        body = json.dumps(DELIVERIES["dixa"][0])
        record.write_text(json.dumps({"service": "dixa", "body": body}) + "\n")
        secret.write_text("abcd\n")
        arguments = ("replay", str(record), "--target", url, "--secret-file", str(secret))
        assert invoke(*arguments).exit_code == 0
        [received] = target.received
        parsed = webhooks.DixaWebhooks("abcd").parse(received.headers, received.body)
        assert len(parsed.events) == 1

        secret.write_text("no hex")
        result = invoke(*arguments)
        assert (result.exit_code, len(target.received)) == (2, 1)

    def test_a_taken_port(self, url: str, tmp_path: Path) -> None:
        """A port that is taken is exit status 2, and leaves no file."""
        record = tmp_path / "record.jsonl"
        for options in ((), ("--record", str(record))):
            result = invoke("listen", "--port", url.rpartition(":")[2], *options)
            assert result.exit_code == 2
            assert "can't listen on" in result.stderr
        assert not record.exists()

    @pytest.mark.parametrize(
        "line",
        [
            "",
            "no",
            "1",
            "{}",
            '{"service": "x", "body": ""}',
            '{"service": "dixa", "body": 1}',
            '{"service": [], "body": ""}',
            '{"service": "dixa", "body": "\\ud800"}',
            "\xff\xfe",
        ],
    )
    def test_a_foreign_file(self, tmp_path: Path, line: str) -> None:
        """A line of another form is named, and nothing is sent."""
        record = tmp_path / "record.jsonl"
        text = json.dumps({"service": "smooch", "body": "{}"}) + f"\n{line}\n"
        record.write_bytes(text.encode("latin-1"))
        result = invoke("replay", str(record), "--target", "http://127.0.0.1:1/")
        assert result.exit_code == 2
        assert "record.jsonl line 2: no delivery" in result.stderr

    def test_a_target_that_is_no_url(self, tmp_path: Path) -> None:
        """A target without a scheme is refused with an example."""
        result = invoke("replay", str(tmp_path / "record.jsonl"), "--target", "localhost:8000")
        assert result.exit_code == 2
        assert "http://127.0.0.1:8000/webhooks/" in result.stderr

    def test_a_missing_secret(self, tmp_path: Path) -> None:
        """A missing secret is named by the variable."""
        result = invoke("listen", "--port", "0", env={"SUNSHINE_WEBHOOK_SECRET": ""})
        assert result.exit_code == 2
        assert (
            "set SUNSHINE_WEBHOOK_SECRET, or name a file with it: --secret-file secret.txt"
            in result.stderr
        )
        result = invoke("listen", "--record", str(tmp_path / "no" / "file"))
        assert result.exit_code == 2

    def test_the_missing_extra(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without the extra of the emulator the error names the extra."""
        for name in [*sys.modules]:
            if name.startswith("sunshine_async.emulator") or name.endswith("webhook_listener"):
                monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, "starlette", None)
        result = invoke("listen")
        assert result.exit_code == 2
        assert (
            "this command uses the server of the emulator, and the emulator needs" in result.stderr
        )
        assert "sunshine-async[emulator]" in result.stderr
