"""Emulator of the three services in memory, with state, faults and a ledger of effects.

In process, and on a socket (in sync code a plain ``with emulator.serve()``)::

    import asyncio

    from sunshine_async import BasicAuth, SunshineClient
    from sunshine_async.emulator import Emulator, Mishap
    from sunshine_async.sunshine import UserCreateBody

    auth = BasicAuth("key-id", "secret")


    async def main() -> None:
        emulator = Emulator()
        emulator.faults += [Mishap(status=503), Mishap(reset=True, when="after")]
        async with SunshineClient("app", auth=auth, transport=emulator.transport()) as client:
            await client.users.create(UserCreateBody(external_id="jane-1"))
        async with (
            emulator.serve() as base_url,
            SunshineClient("app", auth=auth, base_url=base_url) as client,
        ):
            user = await client.users.get("jane-1")
        print(user.external_id, emulator.ledger()["sunshine"]["users"])


    asyncio.run(main())

A process of its own, for programs in any language; the state outlives a restart::

    $ sunshine-async emulator --port 8080 --state emulator.json

`Emulator` is the class for users. `Emulator.ledger` counts effects, `Emulator.faults` scripts
faults, `Emulator.add` and `Emulator.add_support` store users and Support records, and
`Emulator.say` lets a user write a message. Webhooks follow a change: `Emulator.add_webhook` stores a
webhook, `Emulator.connect` sends to a receiver in process, `Emulator.deliver` makes any event, and
`Emulator.deliveries` lists the deliveries. Scripts in other languages send control requests below
``/_emulator/``; see `control`.

`World` holds the state. Each service (`Sunshine`, `Smooch`, `Dixa`) is a `UserApi`: a table of
operations, declared by the endpoints of the client library. `Sunshine` collects the operations of
parts such as `MessageApi` and `SwitchboardApi`. Sunshine and Smooch are one platform with one
store, `Platform`: an `AppStore` for each app, with records of users, a `ConversationStore`, and
tables of the rest. `AppStore.publish` makes a `PlatformEvent` of a change, and `WebhookSender`
delivers the event to the webhooks with the trigger. Dixa has an `EndUserStore`. `StateFile` keeps
changes over a restart.

`AsgiApp` answers requests: match the path, take the next fault from the `FaultInjector`, run the
operation, respond or break the connection. `ServerThread` puts the application on a socket.
"""

try:
    import python_multipart as _python_multipart
    import starlette as _starlette
    import uvicorn as _uvicorn
except ImportError as error:
    _missing = (
        "the emulator needs starlette, uvicorn and python-multipart:"
        " pip install 'sunshine-async[emulator]'"
    )
    raise ImportError(_missing, name=error.name) from None

from sunshine_async.emulator.emulator import Emulator
from sunshine_async.emulator.faults import DRAWN, Mishap
from sunshine_async.emulator.webhook_sender import WebhookFaults

__all__ = ["DRAWN", "Emulator", "Mishap", "WebhookFaults"]

del _python_multipart, _starlette, _uvicorn
