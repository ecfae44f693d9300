"""A bot under uvicorn, to be killed: its handler notes each begin and each end in a file."""

import os
import sys
from pathlib import Path

import anyio
import uvicorn
from support.deliveries import SECRET

from sunshine_async import webhooks


def main(folder: Path, port: int, seconds: float) -> None:
    """Serve on *port*; a handler takes so many *seconds*."""
    log = os.open(folder / "log", os.O_APPEND | os.O_CREAT | os.O_WRONLY)
    receiver = webhooks.Receiver(webhooks.SunshineWebhooks(SECRET), folder / "inbox.sqlite")

    @receiver.on("conversation:message")
    async def handle(received: webhooks.Received[webhooks.ConversationMessage]) -> None:
        os.write(log, f"begin {received.id} {received.attempt}\n".encode())
        await anyio.sleep(seconds)
        os.write(log, f"end {received.id} {received.attempt}\n".encode())

    uvicorn.run(receiver, port=port, log_level="warning", access_log=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
