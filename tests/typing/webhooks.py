"""Types of webhooks, as an editor shows them: read by type checkers, never run."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import assert_type

from starlette.applications import Starlette
from starlette.routing import Mount

from sunshine_async import SunshineClient, WebhookError, webhooks
from sunshine_async.sunshine.contents import Content, TextMessage

client = SunshineClient()
receiver = webhooks.Receiver(webhooks.SunshineWebhooks(["new", "old"]), inbox="inbox.sqlite")


@receiver.on("conversation:message")
async def answer(received: webhooks.Received[webhooks.ConversationMessage]) -> None:
    """Answer a message once."""
    event = assert_type(received.event, webhooks.ConversationMessage)
    assert_type(event.payload.message.content, Content | None)
    assert_type(received.begun_before, datetime | None)
    if isinstance(event.payload.message.content, TextMessage):
        await client.messages.send_text(
            event.payload.conversation.id,
            event.payload.message.content.text or "",
            once=received.key("echo"),
            sent_before=received.begun_before,
        )


@receiver.on("*")
async def note(received: webhooks.Received[webhooks.Event]) -> None:
    """Take any other event."""
    match received.event:
        case webhooks.UserMerge(payload=payload):
            assert_type(payload, webhooks.UserMergePayload)
        case webhooks.UnknownEvent(type=kind):
            assert_type(kind, str | None)
        case _:
            pass


app = Starlette(routes=[Mount("/webhooks", receiver)], lifespan=receiver.lifespan)


async def letters() -> None:
    """List, replay and drop dead letters."""
    found = assert_type(await receiver.dead(limit=10), list[webhooks.DeadLetter])
    assert_type(await receiver.replay(*(letter.id for letter in found)), int)
    assert_type(await receiver.drop("id"), int)


def view(headers: Mapping[str, str], body: bytes) -> int:
    """Parse without a receiver."""
    try:
        delivery = webhooks.DixaWebhooks("00ff", tolerance=60.0).parse(headers, body)
    except WebhookError as error:
        return assert_type(error.status, int)
    assert_type(delivery, webhooks.Delivery)
    assert_type(delivery.events, Sequence[webhooks.Event])
    return 200
