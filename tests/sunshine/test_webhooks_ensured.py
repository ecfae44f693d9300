"""One webhook made sure of: found, updated or created; no foreign webhook is touched."""

from collections.abc import Mapping, Sequence
from typing import Any

import anyio
import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.clients import scripted, sunshine
from support.size import sized

from sunshine_async import (
    NotFoundError,
    PermissionDeniedError,
    ResponseDecodeError,
    Retry,
    ServerError,
    SunshineError,
)
from sunshine_async.emulator import Emulator
from sunshine_async.sunshine import Custom, CustomWebhook, Webhook, WebhookCreateBody
from sunshine_async.testing import Answer, ScriptedTransport, no_waiting

TARGET = "https://bot.example/hook"
OTHER = "https://other.example/hook"
TRIGGERS = ["conversation:message", "conversation:read"]

TWICE = Retry(max_attempts=2, first_wait=0)
THRICE = Retry(max_attempts=3, first_wait=0)


def hook(id: str, target: str = TARGET, triggers: Sequence[str] = TRIGGERS, **more: Any) -> Any:
    """Return a webhook as the service sends the webhook."""
    return {"id": id, "target": target, "triggers": [*triggers], "secret": f"s{id}", **more}


def hooks(*found: Any) -> Answer:
    """Return the answer to a list."""
    return 200, {"webhooks": [*found]}


def sent(transport: ScriptedTransport) -> list[str]:
    """Return method and end of the path of each request."""
    return [
        f"{request.method} {request.url.path.rpartition('/i/webhooks')[2]}".strip()
        for request in transport.requests
    ]


async def test_a_webhook_that_is_there_costs_one_look() -> None:
    """With the same values, in any order of the triggers, nothing is written."""
    client, transport = scripted(
        hooks(hook("9", OTHER), hook("5", triggers=TRIGGERS[::-1])), retry=TWICE
    )

    found = await client.webhooks.ensure("i", TARGET, TRIGGERS)

    assert (found.id, found.secret) == ("5", "s5")
    assert sent(transport) == ["GET"]


@pytest.mark.parametrize("target", [None, 5])
async def test_an_unreadable_target_may_be_the_target(target: Any) -> None:
    """Beside a webhook without a readable target nothing is created."""
    client, transport = scripted(hooks(hook("1", target), hook("2", OTHER)))

    with pytest.raises(ResponseDecodeError, match="may be the one looked for"):
        await client.webhooks.ensure("i", TARGET, TRIGGERS)

    assert sent(transport) == ["GET"]


async def test_a_missing_webhook_is_created() -> None:
    """Without a webhook of the target one is created, and looked at again."""
    new = hook("5", includeFullUser=True)
    client, transport = scripted(
        hooks(hook("1", OTHER)), (201, {"webhook": new}), hooks(hook("1", OTHER), new), retry=TWICE
    )

    found = await client.webhooks.ensure("i", TARGET, TRIGGERS, include_full_user=True)

    assert (found.id, found.include_full_user) == ("5", True)
    assert sent(transport) == ["GET", "POST", "GET"]


@pytest.mark.parametrize("different", [{"triggers": ["*"]}, {"includeFullUser": False}, {}])
async def test_a_webhook_with_other_values_is_updated(different: Mapping[str, Any]) -> None:
    """The webhook of the target gets the values; the id and the secret stay."""
    new = hook("5", includeFullUser=True)
    client, transport = scripted(
        hooks({**hook("5"), **different}), (200, {"webhook": new}), hooks(new), retry=TWICE
    )

    found = await client.webhooks.ensure("i", TARGET, TRIGGERS, include_full_user=True)

    assert found.secret == "s5"
    assert sent(transport) == ["GET", "PATCH /5", "GET"]


async def test_a_foreign_webhook_is_replaced_when_asked() -> None:
    """With *replace* a foreign webhook is changed, and all others are deleted."""
    client, transport = scripted(
        hooks(hook("2", OTHER), hook("1", OTHER), hook("3", OTHER)),
        (200, {"webhook": hook("1")}),
        hooks(hook("2", OTHER), hook("1"), hook("3", OTHER)),
        200,
        404,
        retry=TWICE,
    )

    found = await client.webhooks.ensure("i", TARGET, TRIGGERS, replace=True)

    assert found.id == "1"
    assert sent(transport) == ["GET", "PATCH /1", "GET", "DELETE /2", "DELETE /3"]


async def test_the_targets_own_webhook_is_updated_before_a_foreign_one() -> None:
    """With *replace*, the webhook of the target is the one that stays."""
    client, transport = scripted(
        hooks(hook("1", OTHER), hook("2", triggers=["*"])),
        (200, {"webhook": hook("2")}),
        hooks(hook("1", OTHER), hook("2")),
        200,
        retry=TWICE,
    )

    assert (await client.webhooks.ensure("i", TARGET, TRIGGERS, replace=True)).id == "2"
    assert sent(transport) == ["GET", "PATCH /2", "GET", "DELETE /1"]


async def test_equal_webhooks_become_one() -> None:
    """Of webhooks with the same values the smallest id stays; others of the target stay too."""
    client, transport = scripted(
        hooks(hook("7"), hook("3"), hook("4", OTHER), hook("5", triggers=["*"])), 200, retry=TWICE
    )

    assert (await client.webhooks.ensure("i", TARGET, TRIGGERS)).id == "3"
    assert sent(transport) == ["GET", "DELETE /7"]


async def test_a_lost_answer_is_settled_by_a_look() -> None:
    """A create with a lost answer that was applied is the result; nothing is created twice."""
    client, transport = scripted(hooks(), httpx.ReadTimeout("late"), hooks(hook("5")), retry=TWICE)

    assert (await client.webhooks.ensure("i", TARGET, TRIGGERS)).id == "5"
    assert sent(transport) == ["GET", "POST", "GET"]


async def test_a_lost_answer_without_a_webhook_stays_unknown() -> None:
    """Nothing found yet: the request may still be under way, and the error says so."""
    client, transport = scripted(hooks(), 500, hooks(), hooks(hook("5")), retry=TWICE)

    with pytest.raises(ServerError) as caught:
        await client.webhooks.ensure("i", TARGET, TRIGGERS)

    assert caught.value.maybe_applied
    assert sent(transport) == ["GET", "POST", "GET"]
    assert (await client.webhooks.ensure("i", TARGET, TRIGGERS)).id == "5"


async def test_a_refused_create_is_raised() -> None:
    """A certain refusal is raised at once."""
    client, transport = scripted(hooks(), 404, retry=TWICE)

    with pytest.raises(NotFoundError) as caught:
        await client.webhooks.ensure("i", TARGET, TRIGGERS)

    assert not caught.value.maybe_applied
    assert sent(transport) == ["GET", "POST"]


async def test_a_failed_second_look_says_that_a_webhook_may_be_there() -> None:
    """The webhook was created: an error after that has *maybe_applied*."""
    client, _ = scripted(hooks(), (201, {"webhook": hook("5")}), 500, 500, retry=TWICE)

    with pytest.raises(ServerError) as caught:
        await client.webhooks.ensure("i", TARGET, TRIGGERS)

    assert caught.value.maybe_applied


async def test_a_deletion_that_fails_after_a_write_says_that_a_webhook_is_there() -> None:
    """The webhook was created, so an error of the deletion of another has *maybe_applied*."""
    made = (201, {"webhook": hook("5")})
    client, _ = scripted(hooks(), made, hooks(hook("3"), hook("5")), 403, retry=TWICE)

    with pytest.raises(PermissionDeniedError) as caught:
        await client.webhooks.ensure("i", TARGET, TRIGGERS)

    assert caught.value.maybe_applied


async def test_a_target_in_another_spelling_is_the_created_webhook() -> None:
    """A service that spells the target otherwise gets no second webhook from this call."""
    spelt = hook("5", TARGET + "/")
    client, _ = scripted(hooks(), (201, {"webhook": spelt}), hooks(spelt), retry=TWICE)

    assert (await client.webhooks.ensure("i", TARGET, TRIGGERS)).id == "5"


async def test_one_text_is_no_list_of_triggers() -> None:
    """A text in place of a list would be a trigger a letter."""
    client, transport = scripted(retry=TWICE)

    with pytest.raises(TypeError, match="triggers must be a list"):
        await client.webhooks.ensure("i", TARGET, "conversation:message")

    assert transport.requests == []


class Flaky(httpx.AsyncBaseTransport):
    """A way to the emulator on which requests and answers get lost, by a script."""

    def __init__(self, emulator: Emulator, script: Sequence[str]) -> None:
        self._inner = emulator.transport()
        self._script = iter(script)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Lose the request, lose the answer, refuse, or pass on."""
        fate = next(self._script, "pass")
        if fate == "unsent":
            raise httpx.ConnectError("gone")  # noqa: EM101
        if fate == "throttled":
            return httpx.Response(429)
        answer = await self._inner.handle_async_request(request)
        if fate == "lost":
            raise httpx.ReadTimeout("late")  # noqa: EM101
        return httpx.Response(503) if fate == "failed" else answer


FATES = st.lists(st.sampled_from(["pass", "pass", "unsent", "throttled", "lost", "failed"]))


@settings(max_examples=sized(200, 20), deadline=None)
@given(scripts=st.lists(FATES, min_size=1, max_size=3))
def test_whatever_is_lost_one_webhook_remains(scripts: list[list[str]]) -> None:
    """Callers at the same time, with lost requests and answers, end with one webhook.

    Each caller calls again after an error; the foreign webhook stays as it was.
    """

    async def scenario() -> None:
        emulator = Emulator()
        good = sunshine(emulator.transport())
        body = Custom(
            display_name="Bot",
            webhooks=[CustomWebhook(target=OTHER, triggers=["conversation:read"])],
        )
        integration = (await good.integrations.create(body)).id or ""
        foreign = await good.webhooks.list(integration)

        async def call(script: Sequence[str]) -> None:
            client = sunshine(Flaky(emulator, script), retry=THRICE)
            for _ in range(20):
                try:
                    found = await client.webhooks.ensure(integration, TARGET, TRIGGERS)
                except SunshineError:
                    continue
                assert found.target == TARGET
                return

        async with anyio.create_task_group() as tasks:
            for script in scripts:
                tasks.start_soon(call, script)
        await good.webhooks.ensure(integration, TARGET, TRIGGERS)

        kept = await good.webhooks.list(integration)
        assert [one for one in kept if one.target == OTHER] == foreign
        assert [one.target for one in kept].count(TARGET) == 1

    with no_waiting():
        anyio.run(scenario)


async def test_a_webhook_of_a_create_is_found() -> None:
    """A webhook that was created by `create` is found by `ensure`."""
    client = sunshine(Emulator().transport())
    body = Custom(webhooks=[CustomWebhook(target=OTHER, triggers=["*"])])
    integration = (await client.integrations.create(body)).id or ""
    made = await client.webhooks.create(
        integration, WebhookCreateBody(target=TARGET, triggers=TRIGGERS)
    )

    found = await client.webhooks.ensure(integration, TARGET, TRIGGERS)

    assert isinstance(found, Webhook)
    assert found == made
