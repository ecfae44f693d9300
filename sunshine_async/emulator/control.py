"""Control requests of tests and scripts, below ``/_emulator``. They need no credentials.

======================================== ===========================================================
``GET /_emulator/ledger``                what was done, as JSON: `Emulator.ledger`
``GET /_emulator/users/{service}``       JSON lines, one stored user a line; ``?appId=`` for one app
``POST /_emulator/users/{service}``      stores the users of such lines (``?appId=`` is needed): 201
``POST /_emulator/support``              stores Support records, a line each: 201
``POST /_emulator/dixa/definitions``     stores definitions of custom attributes, a line each: 201
``POST /_emulator/dixa/conversations``   stores conversations, a line each, of ``requesterId``: 201
``POST /_emulator/faults``               scripts a fault, a `Mishap` as JSON: 204
``POST /_emulator/reset``                forgets users, counts and faults: 204
======================================== ===========================================================

A 201 answers with the lines as stored. What can't be is a 400 that names the field; of several
lines, those before it are stored.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import orjson
from attrs import frozen
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router

from sunshine_async.emulator.faults import read_mishap
from sunshine_async.emulator.fields import Field, Refusal
from sunshine_async.emulator.world import Emulation

PREFIX: Final = "/_emulator/"

_BEGUN: Final = Field(
    type="object", fields={"requesterId": Field(type="string")}, required=("requesterId",)
)


def router(emulation: Emulation) -> Router:
    """Return the ASGI application that answers for *emulation*."""
    desk = _Desk(emulation)
    return Router(
        [
            Route(PREFIX + "ledger", desk.ledger),
            Route(PREFIX + "users/{service}", desk.users),
            Route(PREFIX + "users/{service}", desk.add, methods=["POST"]),
            Route(PREFIX + "support", desk.add_support, methods=["POST"]),
            Route(PREFIX + "dixa/definitions", desk.define, methods=["POST"]),
            Route(PREFIX + "dixa/conversations", desk.add_conversations, methods=["POST"]),
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
        add = self._emulation.add
        return await _stored(request, lambda user: add(service, user, app_id=app_id or ""))

    async def add_support(self, request: Request) -> Response:
        return await _stored(request, self._emulation.add_support)

    async def define(self, request: Request) -> Response:
        return await _stored(request, self._emulation.dixa.define)

    async def add_conversations(self, request: Request) -> Response:
        add = self._emulation.dixa.add_conversation
        return await _stored(request, lambda one: add(_BEGUN.checked(one)["requesterId"], one))

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


async def _stored(request: Request, store: Callable[[Any], Mapping[str, Any]]) -> Response:
    """Hand each line of the body to *store*, and answer with what it returns."""
    try:
        return _lines(
            [store(orjson.loads(line)) for line in (await request.body()).splitlines()], status=201
        )
    except ValueError as error:
        return _problem(400, str(error))
    except Refusal as refusal:
        return _problem(refusal.status, str(refusal))


def _json(data: object, *, status: int = 200) -> Response:
    return Response(orjson.dumps(data), status, media_type="application/json")


def _lines(users: Iterable[Mapping[str, Any]], *, status: int = 200) -> Response:
    text = b"".join(orjson.dumps(user, option=orjson.OPT_APPEND_NEWLINE) for user in users)
    return Response(text, status, media_type="application/jsonl")


def _problem(status: int, message: str) -> Response:
    return _json({"message": message}, status=status)
