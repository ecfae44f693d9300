"""From Smooch v1.1 to Sunshine Conversations v2: what an app user of the one is in the other.

It is one platform: whoever is in v1.1 is in v2 already, with the same id, and needs no copy there.
These are for another app, or another account. Both services say ``userId`` and ``externalId`` for
the caller's key, ``properties`` and ``metadata`` for the caller's values; the rest:

======================================= ==========================================================
v1.1                                    v2
======================================= ==========================================================
``givenName surname email avatarUrl``   ``profile``, with the same names
``signedUpAt``                          ``signedUpAt``
``_id``                                 ``id``: the service gives it
``clients``, ``pendingClients``         ``GET /v2/apps/{appId}/users/{userId}/clients``
``conversationStarted``                 none: whether the user has conversations
``hasPaymentInfo``                      in answers only
``credentialRequired``                  ``authenticated``, in answers only
======================================= ==========================================================
"""

from collections.abc import Mapping
from typing import Final

from sunshine_async._codec.model import UNSET
from sunshine_async.smooch.models import AppUser
from sunshine_async.sunshine.models import Profile, UserCreateBody

WITHOUT_PLACE: Final[Mapping[str, str]] = {
    "id": "the service gives a user its id",
    "conversation_started": "v2 shows that by the user's conversations",
    "clients": "link them anew: v2 has them at /clients",
    "pending_clients": "link them anew: v2 has them at /clients, with the status pending",
    "devices": "v2 has them at /devices",
    "has_payment_info": "only the service sets it",
    "credential_required": "only the service sets it: v2 calls it authenticated",
    "extra": "v1.1 has it beyond its documentation, or it can't be read",
}
"""The fields of an `AppUser` that a `UserCreateBody` has no place for, and why."""


def user_create_body(app_user: AppUser) -> UserCreateBody:
    """Return the body that makes in v2 the user that *app_user* is in v1.1.

    What is absent or empty is left out; a null among the properties goes along. `left_out` says
    what *app_user* has that this has no place for.
    """
    profile = Profile(
        given_name=app_user.given_name or UNSET,
        surname=app_user.surname or UNSET,
        email=app_user.email or UNSET,
        avatar_url=app_user.avatar_url or UNSET,
    )
    return UserCreateBody(
        external_id=app_user.user_id or UNSET,
        signed_up_at=app_user.signed_up_at or UNSET,
        profile=UNSET if profile == Profile() else profile,
        metadata=app_user.properties or UNSET,
    )


def left_out(app_user: AppUser) -> Mapping[str, str]:
    """Return which fields `user_create_body` leaves out though *app_user* sets them, and why."""
    return {name: why for name, why in WITHOUT_PLACE.items() if getattr(app_user, name)}
