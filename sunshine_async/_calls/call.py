"""Retry loop of one call: wait for the pace, attempt, decide, and attempt again until the end."""

import logging
import sys
from collections.abc import Awaitable, Callable
from math import inf
from typing import Final, TypeVar, cast

import anyio
from attrs import evolve

from sunshine_async._calls.context import LOG, log_attempt, raise_unsent, report_pace
from sunshine_async._calls.decisions import NO_SIGN, CallState
from sunshine_async._calls.fence import TASK_LEASE, FencedWire
from sunshine_async._calls.retry import MAY_HAVE_ACTED, Replay
from sunshine_async._http.failures import CallerBody, strip_frames
from sunshine_async._http.foreign_text import request_id_of
from sunshine_async._http.messages import (
    Failure,
    Request,
    Response,
    Sending,
    SendProgress,
    Timeout,
    Wire,
)
from sunshine_async._pace import Lane, Pace
from sunshine_async._pace.slots import Slots
from sunshine_async._pace.waiting import acquire_slot
from sunshine_async.errors import Fault

T = TypeVar("T")

UNAUTHORIZED: Final = 401
_BATCH: Final = Lane.BATCH  # looked up once: an enum's members take their time


class _ProbeProgress(SendProgress):
    """Progress of a probe: no byte of *call* leaves, and the place in the pace is that of *call*."""

    def __init__(self, call: "OneCall") -> None:
        super().__init__()
        self._call: Final = call

    def end_with_loop(self) -> None:
        self._call.end_with_loop()


class OneCall(CallState):
    """One call: waits, attempts, and waits again until a decision ends the call."""

    __slots__ = ()

    async def run(self) -> Response:
        """Return the response that ends the call; raise `TransportError` if none came.

        One frame for all attempts: the garbage collector visits each frame of a waiting call.
        """
        context, handled = self.context, sys.exception()
        reply: Response | Failure | None = None
        while True:
            last = reply
            if self._start_at_once(last) or await self._wait_for_turn(last):
                try:
                    limits = context.timeout.cap(cast("float", self.deadline) - self.began_at)
                    self.authorization = context.auth.current() or ""
                    if not self.authorization:
                        limits = await self._fetch_token(limits)
                    try:
                        self.sending = self._send(limits, last)
                        reply = await self.sending
                        self.sending = None  # holds the request: not for the next wait
                        if self.sent_at is not None:
                            self._tell(reply, self.sent_at)
                        reply = self._record(reply)
                    except BaseException as error:
                        self._abandon(error, handled)
                        raise
                finally:
                    self._leave()
            if reply is None:  # a probe was sent
                self._check_outage()
                reply = last
            elif (
                isinstance(reply, Response) and self.fault is None and reply.status != UNAUTHORIZED
            ) or await self._is_over(reply, last):
                return cast("Response", reply)

    async def _is_over(self, reply: Response | Failure, last: Response | Failure | None) -> bool:
        """Return True if *reply*, which may be the *last* one again, is the response of the call.

        Return False when the next attempt may begin; raise the error of a call without a response.
        """
        if isinstance(reply, Response):
            if reply.status == UNAUTHORIZED and await self._renew() and self.request.ready:
                return False
            if self.fault is None:
                return True
        wait = None if reply is last else self._next_wait(cast("Fault", self.fault))
        report_pace(self.context.pace, self.endpoint, self.observer)
        if wait is None:
            if isinstance(reply, Response):
                return True
            raise self._error(reply)
        if self.fault in MAY_HAVE_ACTED and self.replay is not Replay.SAFE:
            self.maybe_applied = True
        await self.context.clock.sleep(wait)
        return False

    def _start_at_once(self, last: Response | Failure | None) -> bool:
        """Start without a wait; return False if that can't be, or after the reply *last*."""
        context, lane = self.context, self.lane
        now = self.queued_at = self.began_at = context.clock.now()
        if self.deadline is None:
            self.deadline = now + context.retry.deadline
        self.sign = NO_SIGN
        self.has_slot = last is None and context.slots.enter(now, lane)
        try:
            return self.has_slot and context.pace.enter(now, lane)
        except BaseException:
            context.slots.leave(lane)
            raise

    async def _wait_for_turn(self, last: Response | Failure | None) -> bool:
        """Wait for a free connection and for the pace; return False if the deadline passes first.

        Raise an error then if there is no previous reply, *last*.
        """
        context, lane, deadline = self.context, self.lane, cast("float", self.deadline)
        slots, pace, clock = context.slots, context.pace, context.clock
        # others first, where the call itself may be the cause
        gives_way = self.lone_failures or (self.throttling and self.throttling.give_way)
        again = last is not None and not gives_way
        until = inf if lane is _BATCH else deadline
        if not self.has_slot and not await acquire_slot(
            slots, clock, lane, again=again, until=until
        ):
            return last is None and raise_unsent(self.endpoint, None)
        has_started = is_due = False
        try:
            has_started = await acquire_slot(pace, clock, lane, again=again, until=until)
            self.began_at = clock.now()
            if lane is _BATCH:  # a batch's deadline excludes waits in the queue
                self.deadline = deadline = deadline + self.began_at - self.queued_at
            is_due = has_started and (last is None or self.began_at < deadline)
            if is_due or last is not None:
                return is_due
            raise_unsent(self.endpoint, pace.pause(self.began_at, lane))
        finally:
            if has_started and not is_due:
                self._leave()
            elif not has_started:
                slots.leave(lane)

    def end_with_loop(self) -> None:
        """End the attempt in the pace and free the connection, as its event loop is closed.

        The end of the coroutine, whenever that is cleared up, then frees nothing a second time.
        """
        self._leave()
        self.context = evolve(self.context, pace=Pace(), slots=Slots(None))

    def _leave(self) -> None:
        """End the attempt in the pace, which learns from the sign, and free the connection."""
        context, pace = self.context, self.context.pace
        now: float | None = None
        try:
            try:
                now = self.ended_at = context.clock.now()
            finally:
                pace.leave(self.lane, self.sign, now, self.began_at, self.retry_after)
            if pace.events.pending:
                report_pace(pace, self.endpoint, self.observer)
        finally:
            context.slots.leave(self.lane)

    def _send(self, limits: Timeout, last: Response | Failure | None) -> Sending:
        """Send the request, or a probe instead; *last* is the previous reply, if any."""
        context, observer = self.context, self.observer
        request: Request = self.request
        progress: SendProgress = self
        probe = self._probe() if self.lane is _BATCH else None
        self.is_probing = probe is not None
        if probe is not None:
            request, progress = probe, _ProbeProgress(self)
        else:
            self.attempts += 1
            self.answers_at_send = context.pace.answers
            context.stats.resent += last is not None
        context.stats.requests += 1
        headers = context.headers(self.authorization, request.content_type)
        self.sent_at = None
        if observer is not None or LOG.isEnabledFor(logging.DEBUG):
            self.sent_at = context.clock.now()
        if observer is not None:
            waited = self.began_at - self.queued_at
            headers = observer.start_attempt(
                headers, attempt=self.attempts, waited=waited, is_probe=self.is_probing
            )
        wire: Wire = context.wire
        if (lease := TASK_LEASE.get()) is not None:
            wire = FencedWire(wire, lease)
        return wire.send(request, headers, limits, progress)

    def _abandon(self, error: BaseException, handled: BaseException | None) -> None:
        """End the sending, which has no reply because of *error*, without the frames of the wire."""
        sending, self.sending = self.sending, None
        try:
            if sending is not None:
                sending.close()
        finally:
            strip_frames(error, self.request.body, handled=handled)
            if self.observer is not None:
                fault = Fault.LOST if self.started else Fault.PERMANENT
                is_cut_off = not isinstance(error, Exception)
                self.observer.end_attempt(None if is_cut_off else Failure(fault, ""))

    def forget_error(self, error: Exception) -> bool:
        """Forget *error*, whose frames hold the call: a cycle.

        Return True if *error* is of the caller's own code.
        """
        body = self.request.body
        is_own = error is self.token_error
        self.token_error = None
        if isinstance(body, CallerBody):
            is_own = is_own or error is body.error
            body.forget_error()
        return is_own

    def _tell(self, reply: Response | Failure, sent_at: float) -> None:
        """Tell the hooks and the log of *reply*."""
        request_id = None
        if isinstance(reply, Response):
            request_id = request_id_of(reply.headers, self.secrets)
        if self.observer is not None:
            self.observer.end_attempt(reply, request_id)
        if LOG.isEnabledFor(logging.DEBUG):
            seconds = self.context.clock.now() - sent_at
            waited = sent_at - self.queued_at
            log_attempt(self.endpoint, self.attempts, reply, waited, seconds, request_id=request_id)

    @property
    def secrets(self) -> tuple[str, ...]:
        """The texts that no text of the service may bring into an error or a log."""
        # the token of the request, too: another token may have replaced it meanwhile
        return (*self.context.auth.secrets(), self.authorization.rpartition(" ")[2])

    async def _renew(self) -> bool:
        """Renew the refused credentials; return True if the credentials are new now."""
        if self.renewed:
            return False
        self.renewed = True
        self.started = False  # refused
        context = self.context
        left = cast("float", self.deadline) - context.clock.now()
        return await self._await_token(
            lambda: context.auth.renew(self.authorization), context.timeout.cap(left)
        )

    async def _fetch_token(self, limits: Timeout) -> Timeout:
        """Fetch the token of the credentials; return the *limits* that are left then."""
        context = self.context
        asked = context.clock.now()
        self.authorization = await self._await_token(context.auth.fetch, limits)
        return limits.cap(cast("float", limits.total) - (context.clock.now() - asked))

    async def _await_token(self, function: Callable[[], Awaitable[T]], timeout: Timeout) -> T:
        """Return the result of *function*, a function of the credentials, within *timeout*."""
        clock, seconds = self.context.clock, cast("float", timeout.total)
        until = clock.now() + seconds
        with anyio.move_on_after(seconds):
            try:
                result = await function()
            except Exception as error:
                self.token_error = error
                raise
            if clock.now() < until:  # later where the function blocks, or can't be cancelled
                return result
        kind = type(self.context.auth).__name__
        reason = f"the token function of {kind} returned no token in {seconds:.3g} s"
        raise self._error(Failure(Fault.UNSENT, f"{reason}, so the request was not sent"))
