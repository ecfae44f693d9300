"""Text as tests compare it."""


def words(text: str) -> str:
    """Return *text* as one line, whatever its width made of it."""
    return " ".join(text.split())
