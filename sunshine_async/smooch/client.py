"""Client of Smooch v1.1."""

from typing import ClassVar

from sunshine_async._calls.client import AppClient
from sunshine_async._calls.transport import Transport
from sunshine_async.smooch.app_users import GET, AppUsers


class SmoochClient(AppClient):
    """Client of Smooch v1.1, for one app.

    *app_id*, *auth*, *subdomain* and *base_url* default to ``SMOOCH_APP_ID``, ``SMOOCH_KEY_ID`` with
    ``SMOOCH_KEY_SECRET``, ``SMOOCH_SUBDOMAIN`` and ``SMOOCH_BASE_URL``. All else is as in
    `SunshineClient`: both clients serve one platform, with the same addresses and the same keys.

    `ConfigurationError`, naming argument and variable, for a setting that is missing or can't work.
    """

    prefix: ClassVar = "SMOOCH"
    probe: ClassVar = (GET, {"user_id": "is-the-service-back"})

    app_users: AppUsers

    def _bind(self, transport: Transport) -> None:
        super()._bind(transport)
        self.app_users = AppUsers(transport)
