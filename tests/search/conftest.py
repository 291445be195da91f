import pytest
from study_worker import begin


@pytest.fixture
def study(tmp_path):
    return begin(tmp_path)
