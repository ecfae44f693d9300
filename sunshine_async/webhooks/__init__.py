"""Webhooks of the three services: verified, parsed, and handled once.

`Receiver` is an ASGI application for Starlette, FastAPI or a server alone. A delivery is written to
an inbox on disk, then answered, then handled by an async function of yours::

    import os

    from fastapi import FastAPI

    from sunshine_async import SunshineClient, webhooks

    client = SunshineClient()
    receiver = webhooks.Receiver(
        webhooks.SunshineWebhooks(os.environ["WEBHOOK_SECRET"]), inbox="inbox.sqlite"
    )


    @receiver.on("conversation:message")
    async def answer(received: webhooks.Received[webhooks.ConversationMessage]) -> None:
        await client.messages.send_text(
            received.event.payload.conversation.id,
            "Hello",
            once=received.key("hello"),
            sent_before=received.begun_before,
        )


    app = FastAPI(lifespan=receiver.lifespan)
    app.mount("/webhooks", receiver)  # the target is https://.../webhooks/

The address of a PostgreSQL database, ``inbox="postgresql://..."``, makes several processes and
machines a single receiver: each has a `Receiver` with the same address, behind a load balancer
(``pip install 'sunshine-async[postgres]'``).

An event is handled once, in the order of the conversation, also after a kill. An attempt that was
interrupted starts again, so a handler passes ``received.key(...)`` and ``received.begun_before`` on
to sending, which finds a message of an earlier attempt. Where another worker made that attempt, the
search waits 5 seconds first: with several workers, ``handler_timeout`` has to be longer.

Other programs may read an inbox, but for a short time. While a database browser has the file open,
the ``-wal`` file next to the file grows. During a long transaction in PostgreSQL, such as that of a
dump, the receiver slows down.

Without a receiver, in Django or Flask, ``parse`` verifies and returns a `Delivery` of typed events,
or raises `WebhookError` with the status to answer. The events are the view's to store: a service
delivers an event again after an answer other than 200, and may deliver an event twice::

    import os

    from django.http import HttpRequest, HttpResponse
    from django.views.decorators.csrf import csrf_exempt

    from sunshine_async import webhooks

    parser = webhooks.SunshineWebhooks(os.environ["WEBHOOK_SECRET"])


    @csrf_exempt
    def webhook(request: HttpRequest) -> HttpResponse:
        try:
            delivery = parser.parse(request.headers, request.body)
        except webhooks.WebhookError as error:
            return HttpResponse(status=error.status)
        for event in delivery.events:
            match event:
                case webhooks.ConversationMessage():
                    print("a message in", event.payload.conversation.id)
                case webhooks.UnknownEvent():
                    print("an event without a type")
        return HttpResponse(status=200)

`SmoochWebhooks` and `DixaWebhooks` do the same for the other services. ``parsers`` verify and read,
``sunshine_events``, ``sunshine_payloads`` and ``smooch_events`` are the types, ``deliveries`` has the
shared parts.
``receiver`` answers the requests of ``asgi``, ``handling`` runs the handlers, and ``inbox`` declares
the store of events: ``sqlite_inbox`` is a file, ``postgres_inbox`` is a database.
"""

from sunshine_async.errors import WebhookError
from sunshine_async.webhooks.deliveries import (
    Delivery,
    Event,
    UnknownEvent,
)
from sunshine_async.webhooks.handling import (
    DeadLetter,
    Received,
)
from sunshine_async.webhooks.inbox import (
    InboxError,
)
from sunshine_async.webhooks.parsers import (
    DixaEvent,
    DixaOrganization,
    DixaWebhooks,
    SmoochWebhooks,
    SunshineWebhooks,
)
from sunshine_async.webhooks.receiver import (
    Receiver,
)
from sunshine_async.webhooks.smooch_events import (
    SmoochApp,
    SmoochConversationEvent,
    SmoochDeliveryEvent,
    SmoochDestination,
    SmoochError,
    SmoochEvent,
    SmoochLinkEvent,
    SmoochMergeEvent,
    SmoochMessageEvent,
    SmoochPaymentEvent,
    SmoochPostback,
    SmoochPostbackEvent,
    SmoochReferral,
)
from sunshine_async.webhooks.sunshine_events import (
    ClientAdd,
    ClientRemove,
    ClientUpdate,
    ConversationCreate,
    ConversationJoin,
    ConversationLeave,
    ConversationMessage,
    ConversationMessageDeliveryChannel,
    ConversationMessageDeliveryFailure,
    ConversationMessageDeliveryUser,
    ConversationPostback,
    ConversationRead,
    ConversationReferral,
    ConversationRemove,
    ConversationTyping,
    SunshineEvent,
    SwitchboardAcceptControl,
    SwitchboardAcceptControlFailure,
    SwitchboardOfferControl,
    SwitchboardOfferControlFailure,
    SwitchboardPassControl,
    SwitchboardPassControlFailure,
    SwitchboardReleaseControl,
    UserMerge,
    UserRemove,
    UserUpdate,
)
from sunshine_async.webhooks.sunshine_payloads import (
    ActivityPayload,
    AuthorWebhook,
    Campaign,
    ClientPayload,
    ConversationActivity,
    ConversationCreatePayload,
    ConversationMessageDeliveryPayload,
    ConversationMessagePayload,
    ConversationPayload,
    ConversationPostbackPayload,
    ConversationReferralPayload,
    DeliveryDestination,
    EventError,
    MergedClients,
    MergedConversations,
    MergedUsers,
    MessageId,
    MessageWebhook,
    ParticipantPayload,
    PostbackWebhook,
    Referral,
    ReferralDetails,
    SourceWithCampaignWebhook,
    SwitchboardPayload,
    UserMergePayload,
    UserPayload,
)

# fmt: off
__all__ = [
    "ActivityPayload", "AuthorWebhook", "Campaign", "ClientAdd", "ClientPayload",
    "ClientRemove", "ClientUpdate", "ConversationActivity", "ConversationCreate",
    "ConversationCreatePayload", "ConversationJoin", "ConversationLeave", "ConversationMessage",
    "ConversationMessageDeliveryChannel", "ConversationMessageDeliveryFailure",
    "ConversationMessageDeliveryPayload", "ConversationMessageDeliveryUser",
    "ConversationMessagePayload", "ConversationPayload", "ConversationPostback",
    "ConversationPostbackPayload", "ConversationRead", "ConversationReferral",
    "ConversationReferralPayload", "ConversationRemove", "ConversationTyping", "DeadLetter",
    "Delivery", "DeliveryDestination", "DixaEvent", "DixaOrganization", "DixaWebhooks", "Event",
    "EventError", "InboxError", "MergedClients", "MergedConversations", "MergedUsers",
    "MessageId", "MessageWebhook", "ParticipantPayload", "PostbackWebhook", "Received",
    "Receiver", "Referral", "ReferralDetails", "SmoochApp", "SmoochConversationEvent",
    "SmoochDeliveryEvent", "SmoochDestination", "SmoochError", "SmoochEvent", "SmoochLinkEvent",
    "SmoochMergeEvent", "SmoochMessageEvent", "SmoochPaymentEvent", "SmoochPostback",
    "SmoochPostbackEvent", "SmoochReferral", "SmoochWebhooks", "SourceWithCampaignWebhook",
    "SunshineEvent", "SunshineWebhooks", "SwitchboardAcceptControl",
    "SwitchboardAcceptControlFailure", "SwitchboardOfferControl",
    "SwitchboardOfferControlFailure", "SwitchboardPassControl", "SwitchboardPassControlFailure",
    "SwitchboardPayload", "SwitchboardReleaseControl", "UnknownEvent", "UserMerge",
    "UserMergePayload", "UserPayload", "UserRemove", "UserUpdate", "WebhookError",
]
# fmt: on
