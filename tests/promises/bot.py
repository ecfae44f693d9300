"""A bot under uvicorn, to be killed: its handler notes each begin and each end in a file.

With the URL of an emulator the bot answers each message with the same text.
"""

import os
import sys
from pathlib import Path

import anyio
import uvicorn
from support.deliveries import SECRET

from sunshine_async import BasicAuth, Retry, SunshineClient, webhooks
from sunshine_async.sunshine import TextMessage


def main(
    folder: Path, inbox: str, port: int, *, seconds: float, lease: float, emulator: str | None
) -> None:
    """Serve on *port*; a handler takes so many *seconds*."""
    (folder / f"{port}.pid").write_text(f"{os.getpid()}")
    log = os.open(folder / "log", os.O_APPEND | os.O_CREAT | os.O_WRONLY)
    receiver = webhooks.Receiver(webhooks.SunshineWebhooks(SECRET), inbox, lease=lease)
    auth = BasicAuth("key", "secret")
    retry = Retry(first_wait=0.05)
    client = emulator and SunshineClient("bots", auth=auth, base_url=emulator, retry=retry)

    @receiver.on("conversation:message")
    async def handle(received: webhooks.Received[webhooks.ConversationMessage]) -> None:
        os.write(log, f"begin {received.id} {received.attempt}\n".encode())
        await anyio.sleep(seconds)
        message = received.event.payload.message
        if client and isinstance(message.content, TextMessage):
            await client.messages.send_text(
                received.event.payload.conversation.id,
                f"You said: {message.content.text}",
                once=received.key("echo"),
                sent_before=received.begun_before,
            )
        os.write(log, f"end {received.id} {received.attempt}\n".encode())

    uvicorn.run(receiver, port=port, log_level="warning", access_log=False)


if __name__ == "__main__":
    _, folder, inbox, port, seconds, lease, *emulators = sys.argv
    main(
        Path(folder),
        inbox,
        int(port),
        seconds=float(seconds),
        lease=float(lease),
        emulator=next(iter(emulators), None),
    )
