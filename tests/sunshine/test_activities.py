"""The typing sign: posted again while work goes on, stopped at the end, never in the way."""

import json
import logging
from collections.abc import Awaitable, Callable

import anyio
import httpx
import pytest
from anyio import get_cancelled_exc_class
from support.clients import sunshine
from support.virtual import sleep, virtual

from sunshine_async import BearerAuth, Retry, SunshineClient
from sunshine_async.sunshine import Author

TWICE = Retry(max_attempts=2, first_wait=0.1)


class Service(httpx.AsyncBaseTransport):
    """A service that notes the activities, and answers as *behave* says."""

    def __init__(self, behave: Callable[[], Awaitable[int]] | None = None) -> None:
        self._behave = behave
        self.posted: list[tuple[float, str]] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Note the activity and the time."""
        activity = json.loads(request.content)
        assert activity["author"] == {"type": "business"}
        self.posted.append((anyio.current_time(), activity["type"].removeprefix("typing:")))
        return httpx.Response(200 if self._behave is None else await self._behave(), json={})


async def never() -> int:
    """Answer never."""
    await anyio.sleep_forever()
    raise AssertionError


@virtual
async def test_the_sign_is_renewed_and_taken_back() -> None:
    """The sign is posted at once, again at each interval, and stopped right at the end."""
    service = Service()
    began = anyio.current_time()

    async with sunshine(service, retry=TWICE).activities.typing("c1", interval=5):
        await sleep(12)

    assert [(round(at - began), what) for at, what in service.posted] == [
        (0, "start"),
        (5, "start"),
        (10, "start"),
        (12, "stop"),
    ]


@virtual
async def test_the_work_does_not_wait_for_the_sign() -> None:
    """A block that ends at once takes no time, and leaves the sign off."""
    service = Service()
    began = anyio.current_time()

    async with sunshine(service, retry=TWICE).activities.typing("c1"):
        pass

    assert anyio.current_time() == began
    assert [what for _, what in service.posted][-1] == "stop"


@virtual
async def test_a_silent_service_delays_the_end_by_one_interval() -> None:
    """A service that never answers holds up nothing but the last post, for one interval."""
    service = Service(never)
    began = anyio.current_time()

    async with sunshine(service, retry=TWICE).activities.typing("c1", interval=3):
        await sleep(1)

    assert anyio.current_time() - began == pytest.approx(4)
    assert [what for _, what in service.posted] == ["start", "stop"]


@virtual
async def test_an_error_of_the_block_is_raised_as_itself() -> None:
    """What the block raises comes out, not in a group, and the sign is taken back."""
    service = Service()

    async def work() -> None:
        async with sunshine(service, retry=TWICE).activities.typing("c1"):
            await sleep(1)
            message = "lost"
            raise LookupError(message)

    with pytest.raises(LookupError, match="lost"):
        await work()

    assert service.posted[-1][1] == "stop"


@virtual
async def test_a_cancelled_block_ends_at_once() -> None:
    """A cancellation of the work passes through, and no further post delays it."""
    service = Service()
    ended = False

    with anyio.move_on_after(7) as scope:
        try:
            async with sunshine(service, retry=TWICE).activities.typing("c1", interval=5):
                await sleep(100)
        except get_cancelled_exc_class():
            ended = True
            raise

    assert ended
    assert scope.cancelled_caught
    assert [what for _, what in service.posted] == ["start", "start"]


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 503])
def test_a_refused_sign_breaks_nothing(status: int, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever the service answers, the work goes on; the log tells of the lost sign."""
    caplog.set_level(logging.WARNING, "sunshine_async")

    async def refuse() -> int:
        return status

    @virtual
    async def scenario() -> None:
        service = Service(refuse)
        async with sunshine(service, retry=TWICE).activities.typing("c1", interval=60):
            await sleep(200)
        assert service.posted

    scenario()

    lost = [record for record in caplog.records if "only the sign is lost" in record.message]
    assert lost
    assert "/activity" in lost[0].message


def test_the_log_shows_no_text_of_a_foreign_error(caplog: pytest.LogCaptureFixture) -> None:
    """An error of the caller's token function may hold a secret: the log has the class only."""

    async def no_token() -> str:
        message = "s3cret"
        raise LookupError(message)

    @virtual
    async def scenario() -> None:
        client = SunshineClient("app", auth=BearerAuth(no_token), transport=Service())
        async with client.activities.typing("c1", interval=5):
            await sleep(1)

    scenario()

    assert "LookupError" in caplog.text
    assert "s3cret" not in caplog.text


@pytest.mark.parametrize("interval", [0, -1, float("nan")])
async def test_an_interval_is_more_than_nothing(interval: float) -> None:
    """An interval that would post without a pause is refused before the block runs."""
    with pytest.raises(ValueError, match="interval"):
        async with sunshine(Service()).activities.typing("c1", interval=interval):
            raise AssertionError


@pytest.mark.parametrize("id", ["", ".."])
async def test_an_invalid_id_is_no_lost_sign(id: str) -> None:
    """A mistake of the program is raised, not logged."""
    author = Author(type="business")

    with pytest.raises(ValueError, match="conversation_id"):
        async with sunshine(Service()).activities.typing(id, author=author):
            raise AssertionError
