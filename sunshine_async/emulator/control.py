"""Control requests of tests and scripts, below ``/_emulator``, without credentials.

======================================== ===========================================================
``GET /_emulator/ledger``                the counts as JSON: `Emulator.ledger`
``GET /_emulator/users/{service}``       JSON lines, one stored user a line; ``?appId=`` for one app
``POST /_emulator/users/{service}``      stores the users of such lines (``?appId=`` is needed): 201
``POST /_emulator/support``              stores Support records, a line each: 201
``POST /_emulator/dixa/definitions``     stores definitions of custom attributes, a line each: 201
``POST /_emulator/dixa/conversations``   stores conversations, a line each, of ``requesterId``: 201
``POST /_emulator/faults``               scripts a fault, a `Mishap` as JSON: 204
``POST /_emulator/reset``                deletes users, counts and faults: 204
======================================== ===========================================================

A 201 responds with the lines as stored. An invalid line is a 400 with the name of the field; the
lines before the invalid line are stored.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import orjson
from attrs import frozen
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router

from sunshine_async.emulator.faults import parse_mishap
from sunshine_async.emulator.fields import TEXT, Refusal, object_schema
from sunshine_async.emulator.world import World

PREFIX: Final = "/_emulator/"
_JSON: Final = "application/json"

_CONVERSATION: Final = object_schema("requesterId", requesterId=TEXT)


def router(world: World) -> Router:
    """Return the ASGI application of control requests for *world*."""
    handlers = _Handlers(world)
    return Router(
        [
            Route(PREFIX + "ledger", handlers.ledger),
            Route(PREFIX + "users/{service}", handlers.users),
            Route(PREFIX + "users/{service}", handlers.add, methods=["POST"]),
            Route(PREFIX + "support", handlers.add_support, methods=["POST"]),
            Route(PREFIX + "dixa/definitions", handlers.define, methods=["POST"]),
            Route(PREFIX + "dixa/conversations", handlers.add_conversations, methods=["POST"]),
            Route(PREFIX + "faults", handlers.script, methods=["POST"]),
            Route(PREFIX + "reset", handlers.reset, methods=["POST"]),
        ]
    )


@frozen(eq=False)
class _Handlers:
    _world: World

    async def ledger(self, _: Request) -> Response:
        return Response(orjson.dumps(self._world.ledger()), media_type=_JSON)

    async def users(self, request: Request) -> Response:
        service = request.path_params["service"]
        if service not in self._world.services:
            return _problem(404, f"there is no {service} here")
        app_id = request.query_params.get("appId")
        return _json_lines(self._world.users(service, app_id=app_id))

    async def add(self, request: Request) -> Response:
        service = request.path_params["service"]
        app_id = request.query_params.get("appId")
        if service not in self._world.services:
            return _problem(404, f"there is no {service} here")
        if not app_id and self._world.has_apps(service):
            return _problem(400, "appId: which app are they of? POST ...?appId=...")
        add = self._world.add
        return await _store_lines(request, lambda user: add(service, user, app_id=app_id or ""))

    async def add_support(self, request: Request) -> Response:
        return await _store_lines(request, self._world.add_support)

    async def define(self, request: Request) -> Response:
        return await _store_lines(request, self._world.dixa.define)

    async def add_conversations(self, request: Request) -> Response:
        add = self._world.dixa.add_conversation
        return await _store_lines(
            request, lambda data: add(_CONVERSATION.validate(data)["requesterId"], data)
        )

    async def script(self, request: Request) -> Response:
        try:
            mishap = parse_mishap(orjson.loads(await request.body()))
        except ValueError as error:
            return _problem(400, str(error))
        self._world.faults.append(mishap)
        return Response(status_code=204)

    async def reset(self, _: Request) -> Response:
        self._world.reset()
        return Response(status_code=204)


async def _store_lines(request: Request, store: Callable[[Any], Mapping[str, Any]]) -> Response:
    """Call *store* with each line of the body; respond with the results."""
    try:
        return _json_lines(
            [store(orjson.loads(line)) for line in (await request.body()).splitlines()], status=201
        )
    except ValueError as error:
        return _problem(400, str(error))
    except Refusal as refusal:
        return _problem(refusal.status, str(refusal))


def _json_lines(users: Iterable[Mapping[str, Any]], *, status: int = 200) -> Response:
    text = b"".join(orjson.dumps(user, option=orjson.OPT_APPEND_NEWLINE) for user in users)
    return Response(text, status, media_type="application/jsonl")


def _problem(status: int, message: str) -> Response:
    return Response(orjson.dumps({"message": message}), status, media_type=_JSON)
