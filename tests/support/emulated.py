"""Calls of one app of an emulator by plain HTTP, and the parts of an answer."""

from typing import Any

import httpx

from sunshine_async.emulator import Emulator


def calling(emulator: Emulator, **headers: str) -> httpx.AsyncClient:
    """Return an HTTP client of the app ``app``, in process."""
    return httpx.AsyncClient(
        transport=emulator.transport(),
        base_url="http://emulator/v2/apps/app",
        headers=headers or {"authorization": "Bearer anything"},
    )


async def call(
    app: httpx.AsyncClient, method: str, path: str, status: int = 200, **more: Any
) -> Any:
    """Send a request, expect *status*, and return the JSON of the answer."""
    answer = await app.request(method, path, **more)
    assert answer.status_code == status, answer.text
    return answer.json()


async def refused(
    app: httpx.AsyncClient, method: str, path: str, status: int = 400, **more: Any
) -> tuple[str, str]:
    """Send a request, expect a refusal of *status*; return code and titles."""
    answer = await call(app, method, path, status, **more)
    assert answer.keys() == {"errors"}
    [code] = {error["code"] for error in answer["errors"]}
    return code, "; ".join(error["title"] for error in answer["errors"])
