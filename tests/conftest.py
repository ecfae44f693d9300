"""What all tests share: the fixtures that users get, and settings for hypothesis."""

from hypothesis import HealthCheck, settings

pytest_plugins = ["sunshine_async.testing"]

settings.register_profile(
    "promises",
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],  # a busy machine breaks no promise
)
settings.load_profile("promises")
