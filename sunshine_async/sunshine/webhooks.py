"""Webhooks of an integration: operations, models, and a webhook made sure of."""

from collections.abc import Collection, Iterable, Sequence
from contextlib import nullcontext, suppress
from typing import Final, TypeAlias

from attrs import field, frozen

from sunshine_async._calls.arguments import check_type
from sunshine_async._calls.endpoint import Endpoint
from sunshine_async._calls.pages import unreadable_page
from sunshine_async._calls.retry import Replay
from sunshine_async._calls.transport import Transport
from sunshine_async._calls.upsert import mark_uncertain
from sunshine_async._codec import covers
from sunshine_async._codec.model import UNSET, Model, Unset, redact
from sunshine_async.errors import NotFoundError, SunshineError

_WEBHOOKS: Final = "/v2/apps/{app_id}/integrations/{integration_id}/webhooks"
_NO_TARGET: Final = "a webhook has no target that can be read, so it may be the one looked for"
_WEBHOOK: Final = _WEBHOOKS + "/{webhook_id}"


@frozen(kw_only=True, slots=False)
class WebhookBody(Model):
    """The body of `Webhooks.update`: a field left out stays unchanged."""

    target: str | Unset = UNSET
    """The URL that the service calls."""
    triggers: list[str] | Unset = UNSET
    """Kinds of events such as ``conversation:message``; ``*`` means all."""
    include_full_user: bool | Unset = UNSET
    """True: deliveries have the complete user."""
    include_full_source: bool | Unset = UNSET
    """True: deliveries have the client and the device of a message's source."""


@frozen(kw_only=True, slots=False)
class WebhookCreateBody(Model):
    """The body of `Webhooks.create`."""

    target: str
    """The URL that the service calls."""
    triggers: list[str]
    """Kinds of events such as ``conversation:message``; ``*`` means all."""
    include_full_user: bool | Unset = UNSET
    """True: deliveries have the complete user."""
    include_full_source: bool | Unset = UNSET
    """True: deliveries have the client and the device of a message's source."""


@frozen(kw_only=True, slots=False)
class Webhook(Model):
    """Webhook of an integration, in answers."""

    id: str
    version: str | None = None
    """The version of the deliveries: ``v1``, ``v1.1`` or ``v2``."""
    target: str | None = None
    triggers: list[str] | None = None
    secret: str | None = field(default=None, repr=redact)
    """The secret that deliveries carry: hand the secret to `webhooks.SunshineWebhooks`."""
    include_full_user: bool | None = None
    include_full_source: bool | None = None


_Webhooks: TypeAlias = list[Webhook]

CREATE: Final = Endpoint(
    "POST", _WEBHOOKS, operation="CreateWebhook",
    accepts=WebhookCreateBody, returns=Webhook, inside="webhook", ok=(201,),
    replay=Replay.UNSAFE,
)  # fmt: skip
LIST: Final[Endpoint[None, _Webhooks]] = Endpoint(
    "GET", _WEBHOOKS, operation="ListWebhooks",
    returns=_Webhooks, inside="webhooks",
    replay=Replay.SAFE,
)  # fmt: skip
GET: Final[Endpoint[None, Webhook]] = Endpoint(
    "GET", _WEBHOOK, operation="GetWebhook",
    returns=Webhook, inside="webhook",
    replay=Replay.SAFE,
)  # fmt: skip
UPDATE: Final = Endpoint(
    "PATCH", _WEBHOOK, operation="UpdateWebhook",
    accepts=WebhookBody, returns=Webhook, inside="webhook",
    replay=Replay.IDEMPOTENT,  # absolute values: a second sending sets the same
)  # fmt: skip
DELETE: Final[Endpoint[None, None]] = Endpoint(
    "DELETE", _WEBHOOK, operation="DeleteWebhook",
    returns=type(None),
    replay=Replay.GONE,
)  # fmt: skip
ENDPOINTS: Final = (CREATE, LIST, GET, UPDATE, DELETE)


@frozen
class Webhooks:
    """Webhooks of an integration; errors and cancellation are as in `Users`.

    An app has at most 10 webhooks. Deliveries are read by `sunshine_async.webhooks`.
    """

    _transport: Transport = field(alias="transport")

    async def create(self, integration_id: str, body: WebhookCreateBody) -> Webhook:
        """Create a webhook; return the webhook, with the secret of deliveries (CreateWebhook).

        Not sent again once the service may have acted. `ensure` finds a webhook that was created
        with a lost answer.
        """
        return await self._transport.call(CREATE, body, path=_path(integration_id))

    async def list(self, integration_id: str) -> _Webhooks:
        """Return all webhooks of an integration (ListWebhooks)."""
        return await self._transport.call(LIST, path=_path(integration_id))

    async def get(self, integration_id: str, webhook_id: str) -> Webhook:
        """Return a webhook (GetWebhook)."""
        return await self._transport.call(
            GET, path={**_path(integration_id), "webhook_id": webhook_id}
        )

    async def update(self, integration_id: str, webhook_id: str, body: WebhookBody) -> Webhook:
        """Set the fields that *body* sets; return the webhook (UpdateWebhook).

        After a lost answer the update is sent again with the same values, and may overwrite another
        writer's change in between.
        """
        return await self._transport.call(
            UPDATE, body, path={**_path(integration_id), "webhook_id": webhook_id}
        )

    async def delete(self, integration_id: str, webhook_id: str) -> None:
        """Delete a webhook; a resent delete that finds no webhook is done (DeleteWebhook)."""
        await self._transport.call(DELETE, path={**_path(integration_id), "webhook_id": webhook_id})

    async def ensure(
        self,
        integration_id: str,
        target: str,
        triggers: Collection[str],
        *,
        replace: bool = False,
        include_full_user: bool | Unset = UNSET,
        include_full_source: bool | Unset = UNSET,
    ) -> Webhook:
        """Make sure of a webhook with *target* and *triggers*; return the webhook.

        - A webhook with the same values is there: the webhook stays unchanged.
        - A webhook with *target* is there, with different values: the webhook is updated.
        - Else a webhook is created. A webhook with another target is never changed, unless
          *replace* is set: then that webhook is updated, and all further webhooks are deleted.
        - After a write, or a lost answer, the webhooks are listed again. Of several webhooks with
          the same values the smallest id stays, and the rest is deleted. So concurrent callers end
          with a single webhook.
        - The error of a create with a lost answer is raised, with *maybe_applied*, if no such
          webhook is found then. `ensure` may be called again.
        - `ResponseDecodeError` for a webhook without a readable target, which may be the webhook
          looked for: nothing is created then.

        Assumed: the service keeps a target as sent. (ListWebhooks, CreateWebhook, UpdateWebhook,
        DeleteWebhook)
        """
        check_type("target", type(target))
        check_type("triggers", type(triggers), Iterable)
        check_type("replace", type(replace), bool)
        if not target:
            message = "target is empty: hand in the URL that the service calls"
            raise ValueError(message)
        wanted = WebhookCreateBody(
            target=target,
            triggers=[*triggers],
            include_full_user=include_full_user,
            include_full_source=include_full_source,
        )
        found: Sequence[Webhook] = await self.list(integration_id)
        if any(_agrees(webhook, wanted) for webhook in found):
            written = None
        else:
            written, found = await self._write(integration_id, wanted, found, replace=replace)
        same = sorted((each for each in found if _agrees(each, wanted)), key=_id_of)
        kept, *_ = *same, *([written] if written else [])
        with mark_uncertain(CREATE) if written else nullcontext():
            for webhook in found if replace else same:
                if webhook.id != kept.id:
                    with suppress(NotFoundError):  # a concurrent caller has deleted the webhook
                        await self.delete(integration_id, webhook.id)
        return kept

    async def _write(
        self,
        integration_id: str,
        wanted: WebhookCreateBody,
        found: Sequence[Webhook],
        *,
        replace: bool,
    ) -> tuple[Webhook | None, Sequence[Webhook]]:
        """Update a webhook of *found*, or create; return the webhook and the webhooks afterwards.

        After a lost answer, the webhook is None, and the webhooks afterwards have one as *wanted*.
        """
        changeable = [each for each in found if replace or each.target == wanted.target]
        changeable.sort(key=lambda each: (each.target != wanted.target, each.id))
        if not changeable and any(each.target is None for each in found):
            raise unreadable_page(str(LIST), _NO_TARGET, path="webhooks")
        lost = written = None
        try:
            if changeable:
                changes = WebhookBody(
                    target=wanted.target,
                    triggers=wanted.triggers,
                    include_full_user=wanted.include_full_user,
                    include_full_source=wanted.include_full_source,
                )
                written = await self.update(integration_id, changeable[0].id, changes)
            else:
                written = await self.create(integration_id, wanted)
        except SunshineError as error:
            if not error.maybe_applied:
                raise
            lost = error
        try:
            with mark_uncertain(CREATE):
                afterwards = await self.list(integration_id)
            if lost and not any(_agrees(webhook, wanted) for webhook in afterwards):
                raise lost
            return written, afterwards
        finally:
            del lost  # which holds this frame


def _agrees(webhook: Webhook, wanted: WebhookCreateBody) -> bool:
    """Return True if *webhook* has every value of *wanted*; the order of triggers is free."""
    flags = WebhookBody(
        target=wanted.target,
        include_full_user=wanted.include_full_user,
        include_full_source=wanted.include_full_source,
    )
    return covers(webhook, flags) and set(webhook.triggers or ()) == set(wanted.triggers)


def _id_of(webhook: Webhook) -> str:
    return webhook.id


def _path(integration_id: str) -> dict[str, str]:
    return {"integration_id": integration_id}
