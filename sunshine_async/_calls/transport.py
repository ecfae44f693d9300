"""Calls of a service's endpoints: encode, call, settle a lost answer, decode."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, TypeVar, cast

from attrs import evolve, frozen

from sunshine_async import _codec
from sunshine_async._calls.call import UNAUTHORIZED, OneCall
from sunshine_async._calls.caller import Caller, CallInfo
from sunshine_async._calls.endpoint import Endpoint, ReadBack
from sunshine_async._calls.retry import MAY_HAVE_ACTED, SETTLES, Replay, Verdict
from sunshine_async._http.failures import CallerBody, unexpected_error
from sunshine_async._http.messages import SENT_NOTE, Response, StreamedBody
from sunshine_async._pace.slots import CURRENT_LANE, Lane
from sunshine_async.errors import ApiError, SunshineError, uncertain

B = TypeVar("B")
R = TypeVar("R")

_NOTHING: Final[Mapping[str, str]] = {}


@frozen(eq=False)
class Transport(Caller):
    """Calls the endpoints of a service as one caller; tasks share it."""

    path: Mapping[str, str] = _NOTHING
    """What every path of the service needs, such as the id of the app."""
    lane: Lane | None = None
    """The lane of its calls; None: that of the task which calls."""

    async def call(
        self,
        endpoint: Endpoint[B, R],
        body: B | None = None,
        *,
        path: Mapping[str, str] = _NOTHING,
        query: Mapping[str, str | None] | str = _NOTHING,
        aside: CallInfo | None = None,
    ) -> R:
        """Return what the service answers to *endpoint*, tried as often as `Retry` allows.

        Raise `ValueError` before anything is sent, or else an error of `errors`. An error of the
        caller's own token function, or of the source of a streamed body, comes out as itself,
        unless an earlier attempt may have been applied. A call that may act, and is cancelled
        after a byte may have left, has a note on the cancellation. *aside* hears what the result
        doesn't say.
        """
        request = endpoint.request(body, {**self.path, **path} if path else self.path, query)
        if type(request.body) is not bytes and isinstance(
            request.body, StreamedBody
        ):  # an ABC is slow
            request = evolve(request, body=CallerBody(request.body))
        call = OneCall(
            self, endpoint, request, endpoint.replay_of(body), self.lane or CURRENT_LANE.get()
        )
        response = None
        try:
            response = await call.answer()
            if call.maybe_applied:
                settled = await self._settled(call, response, body, aside)
                if settled is not None:
                    return cast("R", settled[0])
            if response.ok:
                return endpoint.result(response)
            failed: SunshineError = self._refused(call, response)
        except SunshineError as error:
            begun = call.sending.started and call.replay is not Replay.SAFE  # raised by a transport
            error.maybe_applied |= call.maybe_applied or begun
            raise
        except Exception as error:
            own = _is_callers_own(error, call)
            if own and not call.maybe_applied:
                raise
            failed = uncertain(error) if own else _surprised(error, call, response)
        except BaseException as error:
            left = call.maybe_applied or call.sending.started
            if left and call.replay is not Replay.SAFE:
                error.add_note(SENT_NOTE.format(endpoint=endpoint))
            raise
        try:
            raise failed
        finally:
            del failed  # which holds this frame

    def _refused(self, call: OneCall, response: Response) -> ApiError:
        """Return the error that a *response* is raised as."""
        advice = None
        if response.status == UNAUTHORIZED:
            advice = self.auth.advice(response.headers.get("date"))
        return call.marked(
            call.endpoint.error(
                response,
                call.attempts,
                now=datetime.now(UTC),
                hidden=self.auth.secrets(),
                advice=advice,
            )
        )

    async def _settled(
        self, call: OneCall, response: Response, body: object, aside: CallInfo | None
    ) -> tuple[Any] | None:
        """Return the result, if *response* says that an earlier attempt was applied."""
        verdict = SETTLES.get((call.replay, response.status))
        if verdict is Verdict.DONE:
            return (None,)
        if verdict is Verdict.READ_BACK:
            found = await self._read_back(call.endpoint, body)
            if found is not None:
                if aside is not None:
                    aside.read_back = True
                return (found,)
        return None

    async def _read_back(self, endpoint: Endpoint[B, R], body: B | None) -> R | None:
        """Return what is there under the key of *body*, if it holds all that *body* says."""
        look = endpoint.read_back
        if look is None:
            return None
        try:
            found: R = await self.call(look.endpoint, **_keys(look, body))
            return found if _codec.covers(found, body) else None
        except Exception:  # noqa: BLE001 - whatever it is, nobody knows what is there
            return None


def _is_callers_own(error: Exception, call: OneCall) -> bool:
    """Return whether *error* is of the caller's own token function, or source of a body."""
    body = call.request.body
    return error is call.callers_own or (isinstance(body, CallerBody) and body.error is error)


def _surprised(error: Exception, call: OneCall, response: Response | None) -> SunshineError:
    """Return the error of a *call* after an unexpected *error*, perhaps behind a *response*."""
    in_doubt = call.maybe_applied or call.sending.started or call.fault in MAY_HAVE_ACTED
    return unexpected_error(
        error,
        endpoint=call.endpoint,
        attempts=call.count,
        sent=in_doubt or response is not None,
        response=response,
        maybe_applied=call.replay is not Replay.SAFE,
    )


def _keys(look: ReadBack, body: object) -> dict[str, Any]:
    """Return path and query of *look*; in no local variable of who awaits the look-up."""
    sent = _codec.unstructure(body)
    return {
        "path": {name: sent[key] for name, key in look.path.items()},
        "query": {name: sent.get(key) for name, key in look.query.items()},
    }
