import optuna
import pytest
from study_worker import begin

optuna.logging.set_verbosity(optuna.logging.ERROR)


@pytest.fixture
def study(tmp_path):
    return begin(tmp_path)
