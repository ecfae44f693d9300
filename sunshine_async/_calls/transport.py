"""Calls of a service's endpoints: encode, send, settle a lost answer, decode."""

from collections.abc import Coroutine, Mapping
from datetime import UTC, datetime
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from attrs import evolve, field, frozen

from sunshine_async import _codec
from sunshine_async._calls.call import UNAUTHORIZED, OneCall
from sunshine_async._calls.context import CallContext, CallInfo, uncertain
from sunshine_async._calls.endpoint import Endpoint, ReadBack
from sunshine_async._calls.error_body import is_foreign
from sunshine_async._calls.retry import SETTLES, Replay, Settlement
from sunshine_async._http.failures import CallerBody
from sunshine_async._http.httpx_wire import is_mock_error
from sunshine_async._http.messages import SENT_NOTE, Response, StreamedBody
from sunshine_async._pace.slots import CURRENT_LANE, Lane
from sunshine_async.errors import (
    ApiError,
    ConnectError,
    Fault,
    ResponseDecodeError,
    SunshineError,
)

if TYPE_CHECKING:
    from sunshine_async._calls.hooks import CallObserver, Hooks

B = TypeVar("B")
R = TypeVar("R")

_NOTHING: Final[Mapping[str, str]] = {}


@frozen(eq=False, repr=False)
class Transport(CallContext):
    """Calls of a service's endpoints in one context, shared by tasks."""

    path: Mapping[str, str] = _NOTHING
    """Values that every path of the service needs, such as the id of the app."""
    lane: Lane | None = None
    """The lane of the calls; None: the lane of the calling task."""
    _targets: dict[str, str] = field(factory=dict, init=False, repr=False)
    """The paths that have no values but *path*, filled once: to fill a path takes longer."""

    def call(
        self,
        endpoint: Endpoint[B, R],
        body: B | None = None,
        *,
        path: Mapping[str, str] = _NOTHING,
        query: Mapping[str, str | None] | str = _NOTHING,
        info: CallInfo | None = None,
    ) -> Coroutine[Any, Any, R]:
        """Return the service's answer to *endpoint*, after as many attempts as `Retry` allows.

        - `ValueError` before anything is sent; after that an error of `errors`.
        - An error of the caller's own token function, or of the source of a streamed body, is
          raised as itself, unless an earlier attempt may have been applied.
        - A cancellation gets a note if the call may act and a byte may have left.

        *info* receives facts that the result doesn't show.
        """
        run = self._call if self.hooks is None else self._observed_call
        return run(endpoint, body, path, query, info=info)

    async def _observed_call(
        self,
        endpoint: Endpoint[B, R],
        body: B | None,
        path: Mapping[str, str],
        query: Mapping[str, str | None] | str,
        *,
        info: CallInfo | None,
    ) -> R:
        """Call *endpoint* as `call` does, and tell the hooks."""
        lane = self.lane or CURRENT_LANE.get()
        with cast("Hooks", self.hooks).observe(endpoint, lane, self.clock.now) as observer:
            called = self._call(endpoint, body, path, query, info=info, observer=observer)
            del path, query  # error reporters attach local variables
            return await called

    async def _call(
        self,
        endpoint: Endpoint[B, R],
        body: B | None,
        path: Mapping[str, str],
        query: Mapping[str, str | None] | str,
        *,
        info: CallInfo | None,
        observer: "CallObserver | None" = None,
    ) -> R:
        """Call *endpoint* as `call` does."""
        request = endpoint.request(body, self._path_of(endpoint, path), query)
        del path, query  # error reporters attach local variables
        # an ABC is slow, and no local variable may hold the body
        if type(request.body) is not bytes and isinstance(request.body, StreamedBody):
            request = evolve(request, body=CallerBody(request.body))
        call = OneCall(
            self,
            endpoint,
            request,
            endpoint.replay_of(body),
            self.lane or CURRENT_LANE.get(),
        )
        call.observer = observer  # an argument by name costs 1,000 instructions more
        response = None
        try:
            response = await call.run()
            if call.maybe_applied:
                settled = await self._settle(call, response, body, info)
                if settled is not None:
                    return cast("R", settled[0])
            if response.ok:
                return endpoint.result(response)
            failed: SunshineError = self._api_error(call, response)
        except SunshineError as error:
            started = call.started and call.replay is not Replay.SAFE  # a transport raised
            error.maybe_applied |= call.maybe_applied or started
            raise
        except Exception as error:
            own = call.forget_error(error)
            if own and not call.maybe_applied:
                raise
            failed = uncertain(error) if own else _unexpected_error(error, call, response)
        except BaseException as error:
            left = call.maybe_applied or call.started
            if left and call.replay is not Replay.SAFE:
                error.add_note(SENT_NOTE.format(endpoint=endpoint))
            raise
        try:
            raise failed
        finally:
            del failed  # which holds this frame

    def _path_of(
        self, endpoint: Endpoint[Any, Any], path: Mapping[str, str]
    ) -> Mapping[str, str] | str:
        """Return the values of the path, or the path itself where a call has no values."""
        if path is not _NOTHING:
            return {**self.path, **path}
        target = self._targets.get(endpoint.path)
        if target is None:
            target = self._targets[endpoint.path] = endpoint.fill_path(self.path)
        return target

    def _api_error(self, call: OneCall, response: Response) -> ApiError:
        """Return the error to raise for a *response* of refusal."""
        advice = None
        if response.status == UNAUTHORIZED:
            advice = self.auth.advice(response.headers.get("date"))
        error = call.endpoint.error(
            response,
            now=datetime.now(UTC),
            attempts=call.attempts,
            maybe_applied=call.maybe_applied,
            hidden=call.secrets,
            advice=advice,
        )
        error.retry_budget_spent = call.retry_budget_spent
        return error

    async def _settle(
        self, call: OneCall, response: Response, body: object, info: CallInfo | None
    ) -> tuple[Any] | None:
        """Return the result in a tuple if *response* proves that an earlier attempt was applied."""
        settlement = SETTLES.get((call.replay, response.status))
        if settlement is Settlement.DONE and not is_foreign(response):
            return (None,)  # a gateway without a route answers 404 too, by a page of HTML
        if settlement is Settlement.READ_BACK:
            found = await self._read_back(call, body)
            if found is not None:
                if info is not None:
                    info.read_back = True
                return (found,)
        return None

    async def _read_back(self, call: OneCall, body: object) -> Any:
        """Return the record under the key of *body* if the record holds all values of *body*.

        The look-up ends by the deadline of *call*, unless *call* is a batch's: nobody waits then.
        """
        look, transport = call.endpoint.read_back, self
        if look is None:
            return None
        try:
            if call.lane is Lane.INTERACTIVE:
                left = cast("float", call.deadline) - self.clock.now()
                transport = evolve(self, retry=evolve(self.retry, deadline=left))
            found = await transport.call(look.endpoint, **_read_back_arguments(look, body))
            return found if _codec.covers(found, body) else None
        except Exception:  # noqa: BLE001 - of any kind: the record stays unknown
            return None


class MockError(ResponseDecodeError, AssertionError):
    """A test's mock refused the request: an `AssertionError` with the mock's own text."""

    advice = ""


def _unexpected_error(error: Exception, call: OneCall, response: Response | None) -> SunshineError:
    """Return the error of a *call* after an unexpected *error*, perhaps behind a *response*.

    Only the class and the line of *error* are kept: the rest may hold a header or a body. The text
    of the error of a test's mock is kept as well.
    """
    reason = f"{type(error).__name__} at {_line_of(error)}"
    kind = ResponseDecodeError
    sent = call.maybe_applied or call.started or response is not None
    if is_mock_error(error):
        reason, kind = f"{reason}: {error}", MockError
    elif not sent:
        return ConnectError(
            f"{reason}, before the service could act",
            fault=Fault.PERMANENT,
            endpoint=str(call.endpoint),
            attempts=call.attempts,
            maybe_applied=False,
        )
    return kind(
        reason,
        path="",
        status=None if response is None else response.status,
        endpoint=str(call.endpoint),
        body=None if response is None else response.body,
        maybe_applied=sent and call.replay is not Replay.SAFE,
    )


def _line_of(error: Exception) -> str:
    """Return the file and the line that raised *error*."""
    at = error.__traceback__
    while at is not None and at.tb_next is not None:
        at = at.tb_next
    return "?" if at is None else f"{PurePath(at.tb_frame.f_code.co_filename).name}:{at.tb_lineno}"


def _read_back_arguments(look: ReadBack, body: object) -> dict[str, Any]:
    """Return path and query of *look*, which no local variable of an awaiting frame may hold."""
    sent = _codec.unstructure(body)
    return {
        "path": {name: sent[key] for name, key in look.path.items()},
        "query": {name: sent.get(key) for name, key in look.query.items()},
    }
