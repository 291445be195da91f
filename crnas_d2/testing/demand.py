"""How a check says what it found."""


def demand(condition: object, sentence: str) -> None:
    """Raise AssertionError with a sentence unless a condition holds, also with ``python -O``."""
    if not condition:
        raise AssertionError(sentence)
