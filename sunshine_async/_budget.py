"""How many second tries all calls together have left: an outage isn't met with a storm of them."""

from typing import Final


class Budget:
    """Second tries in hand: each takes one, each answer gives half a one back."""

    FIRST: Final = 20.0
    MOST: Final = 50.0
    BACK: Final = 0.5

    def __init__(self) -> None:
        self.left = self.FIRST

    def take(self) -> bool:
        """Take one; return whether there was one."""
        if self.left < 1:
            return False
        self.left -= 1
        return True

    def give(self) -> None:
        """Give back a part of one."""
        self.left = min(self.MOST, self.left + self.BACK)
