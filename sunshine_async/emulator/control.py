"""What a test sees and sets from outside, below ``/_emulator``. It needs no credentials.

======================================== ===========================================================
``GET /_emulator/ledger``                what was done, as JSON: `Emulator.ledger`
``GET /_emulator/users/{service}``       JSON lines, one stored user a line; ``?appId=`` for one app
``POST /_emulator/users/{service}``      stores the users of such lines (``?appId=`` is needed): 201
``POST /_emulator/faults``               scripts a fault, a `Mishap` as JSON: 204
``POST /_emulator/reset``                forgets users, counts and faults: 204
======================================== ===========================================================

What can't be is a 400 that names the field; of lines of users, those before it are stored.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import orjson
from attrs import frozen
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router

from sunshine_async.emulator.emulation import Emulation
from sunshine_async.emulator.mishaps import read_mishap

PREFIX: Final = "/_emulator/"


def router(emulation: Emulation) -> Router:
    """Return the ASGI application that answers for *emulation*."""
    desk = _Desk(emulation)
    return Router(
        [
            Route(PREFIX + "ledger", desk.ledger),
            Route(PREFIX + "users/{service}", desk.users),
            Route(PREFIX + "users/{service}", desk.add, methods=["POST"]),
            Route(PREFIX + "faults", desk.script, methods=["POST"]),
            Route(PREFIX + "reset", desk.reset, methods=["POST"]),
        ]
    )


@frozen(eq=False)
class _Desk:
    _emulation: Emulation

    async def ledger(self, _: Request) -> Response:
        return _json(self._emulation.ledger())

    async def users(self, request: Request) -> Response:
        service = request.path_params["service"]
        if service not in self._emulation.services:
            return _problem(404, f"there is no {service} here")
        app_id = request.query_params.get("appId")
        return _lines(self._emulation.users(service, app_id=app_id))

    async def add(self, request: Request) -> Response:
        service = request.path_params["service"]
        app_id = request.query_params.get("appId")
        if service not in self._emulation.services:
            return _problem(404, f"there is no {service} here")
        if not app_id and self._emulation.has_apps(service):
            return _problem(400, "appId: which app are they of? POST ...?appId=...")
        try:
            users = [orjson.loads(line) for line in (await request.body()).splitlines()]
            stored = [self._emulation.add(service, user, app_id=app_id or "") for user in users]
        except ValueError as error:
            return _problem(400, str(error))
        return _lines(stored, status=201)

    async def script(self, request: Request) -> Response:
        try:
            mishap = read_mishap(orjson.loads(await request.body()))
        except ValueError as error:
            return _problem(400, str(error))
        self._emulation.faults.append(mishap)
        return Response(status_code=204)

    async def reset(self, _: Request) -> Response:
        self._emulation.reset()
        return Response(status_code=204)


def _json(data: object, *, status: int = 200) -> Response:
    return Response(orjson.dumps(data), status, media_type="application/json")


def _lines(users: Iterable[Mapping[str, Any]], *, status: int = 200) -> Response:
    text = b"".join(orjson.dumps(user, option=orjson.OPT_APPEND_NEWLINE) for user in users)
    return Response(text, status, media_type="application/jsonl")


def _problem(status: int, message: str) -> Response:
    return _json({"message": message}, status=status)
