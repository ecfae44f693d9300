"""How an operation says no."""


class Refusal(Exception):  # noqa: N818 - an answer, not something that broke
    """The service says no: a *status*, a *code*, and a title for each reason."""

    def __init__(self, status: int, code: str, *titles: str) -> None:
        self.status = status
        self.code = code
        self.titles = titles
        super().__init__(status, code, *titles)

    def __str__(self) -> str:
        return "; ".join(self.titles)
