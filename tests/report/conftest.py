import pytest

from crnas_d2.report import Page


@pytest.fixture
def figures(monkeypatch):
    """The figures of pages, by description; they are not drawn into them, which takes seconds."""
    found = {}
    monkeypatch.setattr(Page, "figure", lambda page, figure, what: found.update({what: figure}))
    return found
