"""The articles: each block of code in an introduction is a complete program that does as told."""

import ast
import asyncio
import inspect
import json
import logging
import re
import shlex
from collections.abc import Callable, Mapping
from contextlib import closing
from importlib import import_module
from pathlib import Path
from typing import Any, Final, TypeAlias

import httpx
import pytest
import trustme
from attrs import frozen
from support.deliveries import SECRET, envelope, message, post, sender
from support.user_tests import run_tests
from support.virtual import until
from typer.main import get_command
from typer.testing import CliRunner

from sunshine_async import SunshineClient, from_dict
from sunshine_async.cli.app import app
from sunshine_async.emulator import Emulator, Mishap
from sunshine_async.journal import open_reader, place_of
from sunshine_async.sunshine import User

ARTICLES: Final = (
    *("sunshine_async", "sunshine_async.bulk", "sunshine_async.dixa", "sunshine_async.emulator"),
    *("sunshine_async.jobs", "sunshine_async.jobs.partition", "sunshine_async.smooch"),
    *("sunshine_async.sunshine", "sunshine_async.telemetry", "sunshine_async.testing"),
    "sunshine_async.webhooks",
)
BLOCK: Final = re.compile(r"::\n\n((?: {4}.*\n|\n)+)")
CSV: Final = "customer_no;profile.givenName;note\njane-1;Jane;x\njune-2;June;y\n"


def blocks(name: str) -> list[str]:
    """Return the blocks of code in the introduction of the module *name*."""
    text = (inspect.getdoc(import_module(name)) or "") + "\n"
    return [inspect.cleandoc(block) for block in BLOCK.findall(text)]


BLOCKS: Final = {
    (name, place): text for name in ARTICLES for place, text in enumerate(blocks(name))
}


@frozen
class Scene:
    """A folder, an emulator that the settings of the environment name, and a block's output."""

    folder: Path
    emulator: Emulator
    capsys: pytest.CaptureFixture[str]
    request: pytest.FixtureRequest

    def run(self, block: str) -> dict[str, Any]:
        """Run *block* as a reader would; return the names."""
        names: dict[str, Any] = {"__name__": "article"}
        exec(compile(block, "article", "exec", dont_inherit=True), names)  # noqa: S102
        return names

    def output(self) -> str:
        return self.capsys.readouterr().out

    def users(self) -> dict[str, Any]:
        """Return the users of the emulator, by external id."""
        return {user["externalId"]: user for user in self.emulator.users("sunshine")}

    def console(self, block: str) -> str:
        """Run the command lines of *block* in this process; return the output of all."""
        outputs: list[str] = []
        for line in re.sub(r"\\\n\s+", "", block).splitlines():
            command = shlex.split(line.removeprefix("$ sunshine-async "))
            outputs.append(CliRunner().invoke(app, command, catch_exceptions=False).output)
        return "\n".join(outputs)


@pytest.fixture
def scene(
    *,
    emulator: Emulator,
    emulator_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
) -> Scene:
    monkeypatch.chdir(tmp_path)
    settings = {"APP_ID": "app", "KEY_ID": "key-id", "KEY_SECRET": "secret"}
    for name, value in {**settings, "BASE_URL": emulator_url}.items():
        monkeypatch.setenv(f"SUNSHINE_{name}", value)
        monkeypatch.setenv(f"SMOOCH_{name}", value)
    monkeypatch.setenv("DIXA_API_TOKEN", "token")
    monkeypatch.setenv("DIXA_BASE_URL", emulator_url)
    monkeypatch.setenv("WEBHOOK_SECRET", SECRET)
    emulator.add("sunshine", {"externalId": "jane-1"}, app_id="app")
    return Scene(tmp_path, emulator, capsys, request)


def first_calls(scene: Scene, block: str) -> None:
    """Check that a user is created and read, and that the error of a missing user is printed."""
    scene.run(block)
    found, missing = scene.output().splitlines()
    assert found == f"{scene.users()['june-2']['id']} June"
    assert missing.startswith("404 user_not_found")


def fastapi_app(scene: Scene, block: str) -> None:
    """Check the wire names, a 422 that names the field, a 404, and a 503 for any other refusal."""
    app = scene.run(block)["app"]

    async def visit() -> tuple[httpx.Response, ...]:
        async with app.router.lifespan_context(app), sender(app) as service:
            answers = [
                await service.post("/users", json={"externalId": "june-2"}),
                await service.get("/users/june-2"),
                await service.post("/users", json={"externalId": 7}),
                await service.get("/users/nobody"),
                await service.post("/users", json={"externalId": "x", "metadata": {"n": 2**64}}),
                await service.post("/users", json={}),
                await service.get("/users/%2e%2e"),
            ]
            scene.emulator.faults.append(Mishap(status=401))
            return *answers, await service.get("/users/june-2")

    created, read, wrong, missing, *unsendable, refused = asyncio.run(visit())
    assert (created.status_code, read.status_code) == (201, 200)
    assert created.json()["externalId"] == read.json()["externalId"] == "june-2"
    assert wrong.status_code == 422
    assert wrong.json()["detail"][0]["loc"] == ["body", "externalId"]
    assert missing.status_code == 404
    assert [answer.status_code for answer in unsendable] == [422, 422, 422]
    assert "metadata.n: JSON can't hold it" in unsendable[0].json()["detail"]
    assert refused.status_code == 503


def configure_django() -> Any:
    """Return Django's factory of requests, after the least of settings."""
    django = pytest.importorskip("django.conf", reason="pip install -e '.[dev]' has Django")
    if not django.settings.configured:
        django.settings.configure(ALLOWED_HOSTS=["*"], DEFAULT_CHARSET="utf-8")
    return import_module("django.test.client").RequestFactory()


def django_view(scene: Scene, block: str) -> None:
    """Check that a view answers a user, 404, and 422 for what is no id."""
    requests = configure_django()
    names = scene.run(block)

    async def visit() -> list[Any]:
        async with names["client"]:
            ids = ("jane-1", "nobody", "..")
            return [await names["user"](requests.get("/"), name) for name in ids]

    found, missing, no_id = asyncio.run(visit())

    assert found.status_code == 200
    assert from_dict(User, json.loads(found.content)).external_id == "jane-1"
    assert (missing.status_code, no_id.status_code) == (404, 422)


def celery_task(scene: Scene, block: str) -> None:
    """Check that two tasks, each in a loop of its own, create and change a user."""
    names = scene.run(block)
    names["app"].conf.task_always_eager = True

    ids = [names["welcome"].delay("june-2", name).get() for name in ("Jun", "June")]

    assert ids[0] == ids[1] == scene.users()["june-2"]["id"]
    assert scene.users()["june-2"]["profile"]["givenName"] == "June"


def logs(scene: Scene, block: str) -> None:
    """Check that the library's logger tells from INFO on."""
    logger = logging.getLogger("sunshine_async")
    level, root = logger.level, logging.getLogger().level
    try:
        scene.run(block)
        assert logger.getEffectiveLevel() == logging.INFO
    finally:
        logger.setLevel(level)
        logging.getLogger().setLevel(root)


def company_ca(scene: Scene, block: str) -> None:
    """Check that a client is made with the CA in the file."""
    trustme.CA().cert_pem.write_to_path("company-ca.pem")
    assert isinstance(scene.run(block)["client"], SunshineClient)


def shared_pace(scene: Scene, block: str) -> None:
    """Check that the rate is shared, by the file of the example."""
    client = scene.run(block)["client"]
    assert client.pace.rate == 10
    assert client.pace.shared_rate is not None


def bulk_run(scene: Scene, block: str) -> None:
    """Check that each id has an outcome."""
    scene.run(block)
    lines = sorted(scene.output().splitlines())
    assert lines[0] == f"jane-1 is {scene.users()['jane-1']['id']}"
    assert lines[1].startswith("june-2 failed: 404 user_not_found")


def end_users(scene: Scene, block: str) -> None:
    """Check that an end user is created, patched and found."""
    scene.run(block)
    [user] = scene.emulator.users("dixa")
    assert scene.output() == f"{user['id']} June +4930123456\n"


def app_users(scene: Scene, block: str) -> None:
    """Check that a user of v1.1 is created and read."""
    scene.run(block)
    assert scene.output() == f"{scene.users()['june-2']['id']} June\n"


def message_to_a_user(scene: Scene, block: str) -> None:
    """Check that the message is in the conversation of the user."""
    said = scene.emulator.say("app", "jane-1", "Hello")
    scene.run(block)
    assert scene.output().endswith(f" is in {said['conversation']}\n")
    assert scene.emulator.ledger()["sunshine"]["messages"] == 2


def emulator_program(scene: Scene, block: str) -> None:
    """Check that the user is created once, and is read over the socket."""
    scene.run(block)
    assert scene.output() == "jane-1 1\n"


def emulator_command(scene: Scene, block: str) -> None:
    """Check that the options are there."""
    command: Any = get_command(app)
    _, name, *options = shlex.split(block.removeprefix("$ "))
    assert command.commands[name].make_context(name, options).params["port"] == 8080


def journaled_job(scene: Scene, block: str) -> None:
    """Check that the file is upserted, and the report is JSON."""
    scene.folder.joinpath("users.csv").write_text(CSV)
    scene.run(block)
    report = json.loads(scene.output())
    assert report["outcomes"] == {"updated": 1, "created": 1}
    assert scene.users()["june-2"]["profile"]["givenName"] == "June"


def job_commands(scene: Scene, block: str) -> None:
    """Check that the command sends the file, and the journal shows the job."""
    scene.folder.joinpath("users.csv").write_text(CSV)
    shown = scene.console(block)
    assert "updated" in shown
    assert scene.users()["june-2"]["profile"]["givenName"] == "June"


def job_without_a_file(scene: Scene, block: str) -> None:
    """Check that three customers are created."""
    scene.run(block)
    assert scene.output() == "3 0 0 0\n"
    assert {f"customer-{number}" for number in range(3)} < scene.users().keys()


def parts_with_dask(scene: Scene, block: str) -> None:
    """Check that the parts of a file are upserted, the reports add up, and each part has a journal."""
    database = str(scene.request.getfixturevalue("database"))
    lines = (json.dumps({"externalId": f"customer-{n}"}) + "\n" for n in range(9))
    scene.folder.joinpath("users.jsonl").write_text("".join(lines))
    scene.run(block.replace("postgresql://user@host/imports", database))
    assert scene.output() == "9\n"
    for part in range(4):
        with closing(open_reader(place_of(f"{database}?job=part_{part}"))) as journal:
            assert journal.about()["state"] == "finished"


def open_telemetry(scene: Scene, block: str) -> None:
    """Check that a client and a receiver share a hook."""
    assert isinstance(scene.run(block)["client"], SunshineClient)


def counting_hook(scene: Scene, block: str) -> None:
    """Check that the hook counts the attempts of a call."""
    names = scene.run(block)

    async def call() -> None:
        async with names["client"] as client:
            await client.users.get("jane-1")

    asyncio.run(call())
    assert [*names["counts"].attempts.values()] == [1]


def conftest(scene: Scene, block: str) -> None:
    """Check that the line loads the fixtures: `file_of_tests` runs with the line."""
    assert block == 'pytest_plugins = ["sunshine_async.testing"]'


def file_of_tests(scene: Scene, block: str) -> None:
    """Check that the tests pass, with the mode of pytest-asyncio that the article names."""
    said = run_tests(scene.folder, blocks("sunshine_async.testing")[0], block)
    assert "4 passed" in said, said


def bot(scene: Scene, block: str) -> None:
    """Check that a message is answered once, however often the delivery comes."""
    said = scene.emulator.say("app", "jane-1", "Hello")
    names = scene.run(block)
    event = message(1, said["conversation"])

    async def deliver() -> None:
        async with (
            names["app"].router.lifespan_context(names["app"]),
            sender(names["app"]) as service,
            names["client"],
        ):
            for _ in range(2):
                assert await post(service, event, path="/webhooks/") == 200
            await until(lambda: scene.emulator.ledger()["sunshine"]["effects"].get("message") == 1)

    asyncio.run(deliver())


def django_webhook(scene: Scene, block: str) -> None:
    """Check that a delivery is printed, and a wrong secret is refused."""
    requests = configure_django()
    view = scene.run(block)["webhook"]
    events = [message(1, "c-7"), message(2, type="new:trigger")]

    def status(secret: str) -> int:
        return view(
            requests.post(
                "/",
                json.dumps(envelope(events)),
                content_type="application/json",
                headers={"X-API-Key": secret},
            )
        ).status_code

    assert (status("wrong"), status(SECRET)) == (401, 200)
    assert scene.output() == "a message in c-7\nan event without a type\n"


Drive: TypeAlias = Callable[[Scene, str], None]
DRIVES: Final[Mapping[str, tuple[Drive, ...]]] = {
    "sunshine_async": (
        first_calls,
        fastapi_app,
        django_view,
        celery_task,
        logs,
        company_ca,
        shared_pace,
    ),
    "sunshine_async.bulk": (bulk_run,),
    "sunshine_async.dixa": (end_users,),
    "sunshine_async.emulator": (emulator_program, emulator_command),
    "sunshine_async.jobs": (journaled_job, job_commands, job_without_a_file),
    "sunshine_async.jobs.partition": (parts_with_dask,),
    "sunshine_async.smooch": (app_users,),
    "sunshine_async.sunshine": (message_to_a_user,),
    "sunshine_async.telemetry": (open_telemetry, counting_hook),
    "sunshine_async.testing": (conftest, file_of_tests),
    "sunshine_async.webhooks": (bot, django_webhook),
}
"""What each block of an article has to do, in the order of the article."""
CASES: Final = [(name, place) for name in ARTICLES for place, _ in enumerate(DRIVES[name])]


def test_each_block_is_run() -> None:
    """Every block of an article is in the table; a program imports all that it uses."""
    assert [*BLOCKS] == CASES
    for block in BLOCKS.values():
        assert block.startswith("$ sunshine-async ") or ast.parse(block)


@pytest.mark.parametrize(("name", "place"), CASES)
def test_an_article_runs(scene: Scene, name: str, place: int) -> None:
    """Each block does as its article tells."""
    DRIVES[name][place](scene, BLOCKS[name, place])
