"""Values of an obviously wrong type: refused at once, by the name of the argument, without the value."""

from collections.abc import Callable, Iterator
from inspect import signature
from pathlib import Path
from typing import Any

import anyio
import pytest
from support.clients import KEY, sunshine
from support.frames import leaks

from sunshine_async import (
    ApiToken,
    ConfigurationError,
    DixaClient,
    FileAllowance,
    JwtAuth,
    Pace,
    RedisAllowance,
    Retry,
    SunshineClient,
    from_json,
    jobs,
    migration,
    rows,
    webhooks,
)
from sunshine_async.emulator import Emulator, Mishap, WebhookFaults
from sunshine_async.sunshine import User, UserCreateBody
from sunshine_async.testing import ScriptedTransport
from sunshine_async.webhooks import DixaWebhooks, Receiver, SunshineWebhooks

SECRET = "redis://:pass-word@host"
SHAPE = rows.Shape(UserCreateBody)


def job(**options: Any) -> object:
    """Return a job of Sunshine with *options*."""
    client = sunshine(ScriptedTransport(()))
    return jobs.open("unused.sqlite", client, jobs.SUNSHINE, jobs.Mode.CREATE, **options)


def receiver(**options: Any) -> object:
    """Return a receiver with *options*."""
    return Receiver(SunshineWebhooks("secret"), "unused.sqlite", **options)


def parse(headers: Any) -> object:
    """Return the delivery of a request with *headers*."""
    return SunshineWebhooks("secret").parse(headers, b"{}")


def open_rows(**options: Any) -> object:
    """Open rows with *options*."""
    return rows.open_rows(**{"path": "unused.csv", "shape": SHAPE, **options})


def split(**options: Any) -> object:
    """Split a file that isn't one."""
    task = jobs.SUNSHINE.task(jobs.Mode.CREATE)
    return jobs.partition(task=task, **{"source": None, "into": 2, **options})


def emulated(method: str, *arguments: Any) -> Callable[..., object]:
    """Return a call of a method of an emulator, with arguments of which some may be replaced."""

    def call(**given: Any) -> object:
        names = [*signature(getattr(Emulator, method)).parameters][1:]
        return getattr(Emulator(), method)(**{**dict(zip(names, arguments, strict=False)), **given})

    return call


def served(**given: Any) -> object:
    """Serve an emulator for a moment."""
    with Emulator().serve(**given) as base_url:
        return base_url


def connected(app: Any) -> object:
    """Connect an emulator with an application."""

    async def scenario() -> None:
        async with Emulator().connect(app):
            pass

    return anyio.run(scenario)


def with_faults(faults: Any) -> object:
    """Return an emulator with scripted faults."""
    emulator = Emulator()
    emulator.faults = faults
    return emulator


NO_NUMBER = (SECRET, b"x", [], int)
NO_BOOL = (SECRET, None, 1)
NO_LIST = (SECRET, b"x", None, 1)
NO_TEXT = (None, 5, b"x", Retry)
CHOICES: tuple[tuple[Callable[..., object], dict[str, tuple[Any, ...]]], ...] = (
    (Mishap, {
        **dict.fromkeys(("status", "delay", "times", "retry_after"), (*NO_NUMBER, True)),
        **dict.fromkeys(("reset", "cut", "garbled"), NO_BOOL),
        "headers": (SECRET, None, [("a", "b")]), "body": (b"x", {}),
        **dict.fromkeys(("when", "retry_after_as", "method", "operation"), ([SECRET], 5)),
    }),
    (WebhookFaults, dict.fromkeys(("twice", "lost", "late", "batch"), (*NO_NUMBER, None))),
    (Emulator, {
        **dict.fromkeys(("latency", "fail", "webhook_retry", "webhook_timeout"), (*NO_NUMBER, None)),
        **dict.fromkeys(("keys", "tokens"), NO_LIST),
        "odds": (SECRET, 0.5, {"reset": 0.5}, {Mishap(reset=True): SECRET}), "webhook_faults": (None, {"twice": 0.5}, WebhookFaults),
    }),
    (Emulator, {
        "keys": ([5], ["x"]), "tokens": ([5],), "seed": ([1],), "state": (5, b"x"), "clock": (5,),
        "max_messages": (*NO_NUMBER, None, 0),
    }),
    (emulated("users"), {"service": (*NO_TEXT, "sunshne")}),
    (emulated("users", "sunshine"), {"app_id": (5, b"x", Retry)}),
    (emulated("add", "sunshine", {}, "app"), {
        "service": (*NO_TEXT, "sunshne"), "user": (*NO_TEXT, [], UserCreateBody()),
        "app_id": (*NO_TEXT, ""),
    }),
    (emulated("add_support"), {"record": (*NO_TEXT, [], UserCreateBody())}),
    (emulated("say", "app", "user", "text"), {
        "app_id": (*NO_TEXT, ""), "user": (*NO_TEXT, "missing"), "text": (5, b"x", ""),
        "content": ("x", []), "conversation": (5, b"x"),
    }),
    (emulated("add_webhook", "sunshine", {"target": "http://x/"}, "app"), {
        "service": (*NO_TEXT, "sunshne"), "webhook": (*NO_TEXT, []), "app_id": (*NO_TEXT, ""),
    }),
    (emulated("deliver", "sunshine", "user:update", {}, "app"), {
        "service": (*NO_TEXT, "sunshne"), "trigger": NO_TEXT, "payload": (*NO_TEXT, []),
        "app_id": (*NO_TEXT, ""),
    }),
    (served, {"port": (SECRET, None, 0.0, -1), "host": NO_TEXT}),
    (connected, {"app": (None, "http://receiver/")}),
    (with_faults, {"faults": (None, Mishap(reset=True), (Mishap(reset=True),))}),
    (Pace, {"shared": (SECRET, Path("x.pace"), 5), "rate": NO_NUMBER, "burst": (0, SECRET)}),
    (FileAllowance, {"path": (None, 5, b"x")}),
    (lambda scheme: ApiToken("token", scheme=scheme), {"scheme": NO_TEXT}),
    (lambda **given: JwtAuth("key-id", SECRET, **given), {
        "scope": NO_TEXT, "lifetime": (*NO_NUMBER, None),
    }),
    (lambda **given: SunshineClient("app", auth=KEY, **given), {"allow_insecure": NO_BOOL}),
    (lambda **given: DixaClient(auth=ApiToken("t"), **given), {"allow_insecure": NO_BOOL}),
    (receiver, {"retry": (None, 3, Retry), "hooks": (5, SECRET)}),
    (SunshineWebhooks, {"secret": (None, 1.5, object(), Retry)}),
    (lambda tolerance: DixaWebhooks("ab", tolerance), {"tolerance": (None, SECRET)}),
    (parse, {"headers": (None, SECRET, 5, {b"a": "b"}, {"a": ["b"]}, {"a": b"b"})}),
    (open_rows, {
        "path": (None, 5, b"x"), "shape": (None, jobs.SUNSHINE, UserCreateBody),
        "format": ("csv", rows.Format), "empty": ("null", None), "renames": (SECRET, []),
        "only_mapped": NO_BOOL, "delimiter": NO_TEXT, "encoding": NO_TEXT,
        "default_region": (5, b"DE"), "timezone": (5, b"x"),
        "skip": NO_LIST, "date_formats": NO_LIST,
    }),
    (job, {
        **dict.fromkeys(
            ("retry_failed", "retry_unknown", "accept_changed_source", "full", "keep_bodies"), NO_BOOL
        ),
        "concurrency": (SECRET, 0, 1.5, True), "duplicates": ("last", jobs.Duplicates),
        "on_problem": (SECRET, 5), "on_progress": (SECRET, 5),
    }),
    (split, {"source": (None, "users.csv"), "into": (*NO_NUMBER, None, 1.5)}),
    (migration.user_create_body, {"app_user": (None, {"userId": SECRET})}),
    (migration.left_out, {"app_user": (None, {"userId": SECRET})}),
    (lambda text: from_json(User, text), {"text": (None, {"id": SECRET}, 5)}),
    (ScriptedTransport, {"answers": (None, 404, SECRET)}),
)  # fmt: skip
"""Functions, with values that fit no argument of that name."""


def cases() -> Iterator[Any]:
    """Yield each function with each argument and each value."""
    for number, (function, arguments) in enumerate(CHOICES):
        for name, values in arguments.items():
            for index, value in enumerate(values):
                yield pytest.param(function, name, value, id=f"{number} {name} {index}")


@pytest.mark.parametrize(("function", "name", "value"), [*cases()])
def test_a_value_of_another_type_is_refused_by_name(
    function: Callable[..., object], name: str, value: Any
) -> None:
    """The error names the argument, and says what fits; local variables can be shown on the way."""
    with pytest.raises((TypeError, ValueError), match=rf"\b{name}\b.*(must be|: |has )") as error:
        function(**{name: value})

    kinds = ("not supported between", "is not iterable", "object has no", "JSON serializable")
    assert not any(kind in str(error.value) for kind in kinds)
    assert leaks(error.value) == []


@pytest.mark.parametrize("value", [SECRET, None, 5, b"x"])
def test_no_refusal_of_an_address_shows_it(value: Any) -> None:
    """The address of a store may have a password: neither the error nor a local variable has it."""
    with pytest.raises(ConfigurationError, match=r"^RedisAllowance: the URL must begin") as error:
        RedisAllowance(f"http{value}" if value == SECRET else value)
    with pytest.raises(TypeError, match=r"^shared must be FileAllowance or") as shared:
        Pace(shared=value or "")

    assert leaks(error.value, "pass-word") == leaks(shared.value, "pass-word") == []


def test_values_that_fit_pass() -> None:
    """Any list, any number and any mapping that fits is taken; an integer is a number."""
    Emulator(keys=("a:b",), tokens={"t"}, latency=0, odds={Mishap(reset=True): 0.5})
    Mishap(status=503, headers={"a": ["b"]}, delay=1, retry_after=1.5)
    WebhookFaults(twice=1, late=2)
    JwtAuth("key-id", SECRET, lifetime=60)
    webhooks.DixaWebhooks(["ab", b"cd"], 60)
    receiver(hooks=[])
    assert Pace(shared=None).shared_rate is None
