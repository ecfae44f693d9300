"""A function for another process, which imports nothing else."""


def raise_it(error: Exception) -> None:
    """Raise *error*."""
    raise error
