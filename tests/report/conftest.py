import pytest

from crnas_d2.report import Page


@pytest.fixture
def no_figures(monkeypatch):
    """Figures take seconds."""
    monkeypatch.setattr(Page, "figure", lambda page, figure, description: None)
