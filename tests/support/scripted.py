"""Clients of a service that gives scripted answers."""

from collections.abc import Iterable

import httpx

from sunshine_async import BasicAuth, Retry, SunshineClient
from sunshine_async.testing import Answer, ScriptedTransport


def sunshine_with(*answers: Answer) -> tuple[SunshineClient, list[httpx.Request]]:
    """Return a client without retries that gets *answers*, and the list of requests."""
    transport = ScriptedTransport(answers)
    client = SunshineClient(
        "app", auth=BasicAuth("id", "secret"), transport=transport, retry=Retry(max_attempts=1)
    )
    return client, transport.requests


def methods(requests: Iterable[httpx.Request]) -> list[str]:
    """Return the methods of *requests*."""
    return [request.method for request in requests]
