"""Echo bot of `demo --bot`: answers each message exactly once, although killed at any time.

Run the bot under any ASGI server: ``uvicorn sunshine_async.cli.demo_bot:receiver``.
"""

import os

from sunshine_async import BasicAuth, SunshineClient, webhooks
from sunshine_async.sunshine import TextMessage

URL = os.environ.get("DEMO_URL", "http://127.0.0.1:8080")
client = SunshineClient("demo", auth=BasicAuth("demo", "demo"), base_url=URL)
parser = webhooks.SunshineWebhooks(os.environ.get("DEMO_SECRET", "demo"))
receiver = webhooks.Receiver(parser, inbox=os.environ.get("DEMO_INBOX", "demo-inbox.sqlite"))


@receiver.on("conversation:message")
async def answer(received: webhooks.Received[webhooks.ConversationMessage]) -> None:
    """Answer a text with the same text."""
    payload = received.event.payload
    if isinstance(payload.message.content, TextMessage):
        await client.messages.send_text(
            payload.conversation.id,
            f"You said: {payload.message.content.text}",
            once=received.key("echo"),
            sent_before=received.begun_before,
        )
