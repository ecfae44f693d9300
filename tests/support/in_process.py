"""HTTP clients that call an emulator in process."""

from collections.abc import Mapping
from typing import Any, Final

import httpx

from sunshine_async.emulator import Emulator

APP: Final = "http://emulator/v2/apps/app"
ANYBODY: Final = {"authorization": "Bearer anything"}


def calling(
    emulator: Emulator,
    base_url: str = APP,
    *,
    headers: Mapping[str, str] = ANYBODY,
    **options: Any,
) -> httpx.AsyncClient:
    """Return a client that calls *emulator* below *base_url*."""
    return httpx.AsyncClient(
        transport=emulator.transport(), base_url=base_url, headers=headers, **options
    )
