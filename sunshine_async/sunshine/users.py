"""The users of one app: Sunshine Conversations v2."""

from typing import Final

from attrs import frozen

from sunshine_async._endpoint import Endpoint
from sunshine_async._retry import Replay
from sunshine_async._transport.calls import Transport
from sunshine_async.sunshine.models import SyncUserBody, User, UserCreateBody, UserUpdateBody

_USERS: Final = "/v2/apps/{app_id}/users"
_USER: Final = _USERS + "/{user_id_or_external_id}"
_BRAND: Final = ("brandId",)

CREATE: Final = Endpoint(
    "POST", _USERS, operation="CreateUser",
    accepts=UserCreateBody, returns=User, inside="user", ok=(201,),
    replay=Replay.UNSAFE, keyed_by="external_id",
)  # fmt: skip
GET: Final = Endpoint(
    "GET", _USER, operation="GetUser",
    returns=User, inside="user", query=_BRAND,
    replay=Replay.SAFE,
)  # fmt: skip
UPDATE: Final = Endpoint(
    "PATCH", _USER, operation="UpdateUser",
    accepts=UserUpdateBody, returns=User, inside="user", query=_BRAND,
    replay=Replay.IDEMPOTENT,  # the values are absolute: a second sending sets the same
)  # fmt: skip
DELETE: Final = Endpoint(
    "DELETE", _USER, operation="DeleteUser",
    returns=type(None), query=_BRAND,
    replay=Replay.IDEMPOTENT,
)  # fmt: skip
DELETE_PERSONAL_INFORMATION: Final = Endpoint(
    "DELETE", _USER + "/personalinformation", operation="DeleteUserPersonalInformation",
    returns=User, inside="user", query=_BRAND,
    replay=Replay.IDEMPOTENT,
)  # fmt: skip
SYNC: Final = Endpoint(
    "POST", _USERS + "/{zendesk_id}/sync", operation="SyncUser",
    accepts=SyncUserBody, returns=User, inside="user",
    replay=Replay.IDEMPOTENT,
)  # fmt: skip
LIST: Final = Endpoint(
    "GET", _USERS, operation="ListUsers",
    returns=list[User], inside="users", query=("filter[identities.email]", *_BRAND),
    replay=Replay.SAFE,
)  # fmt: skip
ENDPOINTS: Final = (CREATE, GET, UPDATE, DELETE, DELETE_PERSONAL_INFORMATION, SYNC, LIST)
