"""Conversion of app users: from Smooch v1.1 to Sunshine Conversations v2.

Both APIs serve one platform: each user of v1.1 is in v2 already, with the same id, and needs no
copy. The functions here are for a move to a different app or account. The caller's key is
``userId`` in v1.1, ``externalId`` in v2; the caller's values are ``properties`` and ``metadata``:

======================================= ==========================================================
v1.1                                    v2
======================================= ==========================================================
``givenName surname email avatarUrl``   ``profile``, with the same names
``signedUpAt``                          ``signedUpAt``
``_id``                                 ``id``: set by the service
``clients``, ``pendingClients``         ``GET /v2/apps/{appId}/users/{userId}/clients``
``conversationStarted``                 none: see the user's conversations
``hasPaymentInfo``                      in answers only
``credentialRequired``                  ``authenticated``, in answers only
======================================= ==========================================================
"""

from collections.abc import Mapping
from typing import Final

from sunshine_async._codec.model import UNSET
from sunshine_async._pace.settings import Kinds, check_kinds
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
"""Fields of an `AppUser` without a place in a `UserCreateBody`, with the reasons."""


_KINDS: Final[Kinds] = {
    "app_user": (AppUser, "an AppUser: from_dict(AppUser, data) makes one of plain data"),
}


def user_create_body(app_user: AppUser) -> UserCreateBody:
    """Return the body that creates in v2 a copy of the v1.1 user *app_user*.

    An absent or empty field is left out; a null among the properties stays. `left_out` lists the
    fields of *app_user* without a place in the body.
    """
    check_kinds(_KINDS, {"app_user": app_user})
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
    """Return the fields of *app_user* that `user_create_body` leaves out, with the reasons."""
    check_kinds(_KINDS, {"app_user": app_user})
    return {name: why for name, why in WITHOUT_PLACE.items() if getattr(app_user, name)}
