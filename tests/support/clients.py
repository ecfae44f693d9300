"""Clients whose calls are given scripted answers, and clients of an emulator in process."""

from typing import Any, Final

from sunshine_async import BasicAuth, DixaClient, Pace, SmoochClient, SunshineClient
from sunshine_async.auth import ApiToken
from sunshine_async.emulator import Emulator
from sunshine_async.testing import Answer, ScriptedTransport

KEY: Final = BasicAuth("key-id", "top-secret")
TOKEN: Final = ApiToken("top-secret")


def sunshine(transport: Any, **options: Any) -> SunshineClient:
    """Return a client of Sunshine by *transport*."""
    return SunshineClient("app", **{"auth": KEY, "transport": transport, **options})


def smooch(transport: Any, **options: Any) -> SmoochClient:
    """Return a client of Smooch by *transport*."""
    return SmoochClient("app", **{"auth": KEY, "transport": transport, **options})


def dixa(transport: Any, **options: Any) -> DixaClient:
    """Return a client of Dixa by *transport*, without a rate."""
    return DixaClient(**{"auth": TOKEN, "pace": Pace(), "transport": transport, **options})


def dixa_on(emulator: Emulator, **options: Any) -> DixaClient:
    """Return a client of *emulator*, in process and without a rate."""
    return dixa(**{"transport": emulator.transport(), **options})


def scripted(
    *answers: Answer, client: Any = sunshine, **options: Any
) -> tuple[Any, ScriptedTransport]:
    """Return a *client* whose calls are given *answers*, and the transport that gives them."""
    transport = ScriptedTransport(answers)
    return client(transport, **options), transport


def sent(transport: ScriptedTransport) -> list[str]:
    """Return the method and the path of each request, a line a request."""
    return [f"{request.method} {request.url.raw_path.decode()}" for request in transport.requests]
