"""The Optuna study, which is the only state of a search."""

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

import optuna
from optuna.storages import BaseStorage
from optuna.trial import TrialState

from .candidates import has_result
from .presence import has_ended
from .storage import open_storage

Direction = Literal["maximize", "minimize"]

_LATER = ("archval images", "calibration images")  # studies of earlier versions lack them
_MOST_DESCRIBING = 5.0  # seconds from the creation of a study to its description


def check_study(url: str, name: str, description: Mapping[str, object], *, resume: bool) -> None:
    """Check that a study can be begun or continued, without beginning it.

    Raises: as :func:`open_study`.
    """
    opened = open_storage(url)
    _find_study(cast(BaseStorage, opened), opened.place, name, _plain(description), resume)


def open_study(
    url: str,
    name: str,
    description: Mapping[str, object],
    *,
    resume: bool,
    directions: Sequence[Direction] = ("maximize",),
    patience: float = 0,
) -> optuna.Study:
    """Open a study, or create it if there is none.

    A study whose first candidates all ended without a result is begun anew: what it leaves must not
    refuse corrected settings.

    Args:
        url: of the storage: an SQLAlchemy URL, e.g. ``sqlite:///output/search.db``, or the path of
            a journal file.
        description: what identifies the search; plain JSON data.
        resume: continue an existing study.
        directions: ``maximize`` for the fitness, then that of a second objective.
        patience: seconds for which to wait for a storage that is away.

    Raises:
        ValueError: the study exists and ``resume`` is false, it belongs to another search, or the
            storage is no storage of a study.
        StorageError: the storage cannot be reached, read or written.
    """
    opened = open_storage(url, patience=patience, for_workers=True)
    storage, place = cast(BaseStorage, opened), opened.place  # it has all methods of one
    description = _plain(description)
    study = _find_study(storage, place, name, description, resume)
    if study is None:
        try:
            study = optuna.create_study(storage=storage, study_name=name, directions=directions)
        except optuna.exceptions.DuplicatedStudyError:  # another process was faster
            other = _find_study(storage, place, name, description, resume)
            assert other is not None, name
            return other
        study.set_user_attr("description", description)
    return study


def _find_study(
    storage: BaseStorage, place: str, name: str, description: Mapping[str, object], resume: bool
) -> optuna.Study | None:
    """Return the study of a search; ``None`` if it has to be created."""
    if name not in optuna.get_all_study_names(storage):
        return None
    study = optuna.load_study(storage=storage, study_name=name)
    known = _description(study)
    if not study.get_trials(deepcopy=False) and known is None:
        # The creator died between its two writes.
        study.set_user_attr("description", description)
        return study
    if known is None:
        raise ValueError(
            f"The study '{name}' in {place} is no search of this project. Choose another "
            "SEARCH.STUDY_NAME or SEARCH.STORAGE."
        )
    different = [
        f"{key} was {_shown(known, key)} and is {_shown(description, key)}"
        for key in sorted(set(known) | set(description))
        if known.get(key) != description.get(key) and (key in known or key not in _LATER)
    ]
    if (different or not resume) and not _is_in_use(study):
        optuna.delete_study(study_name=name, storage=storage)
        return None
    if not resume:
        raise ValueError(
            f"The study '{name}' in {place} exists already: continue it with --resume, or "
            "choose another OUTPUT_DIR (or SEARCH.STUDY_NAME)."
        )
    if different:
        raise ValueError(
            f"The study '{name}' in {place} is another search: {'; '.join(different)}. Its "
            "scores cannot be compared with new ones. Continue it with its original settings and "
            "files, or choose another OUTPUT_DIR (or SEARCH.STUDY_NAME)."
        )
    return study


def _description(study: optuna.Study) -> dict[str, Any] | None:
    """Return the description of a study, which its creator may be about to write."""
    deadline = time.monotonic() + _MOST_DESCRIBING
    while "description" not in study.user_attrs:
        if time.monotonic() >= deadline or study.get_trials(deepcopy=False):
            return None
        time.sleep(0.1)
    return study.user_attrs["description"]


def _is_in_use(study: optuna.Study) -> bool:
    """Whether a study has a result, or is just being created or worked at."""
    trials = study.get_trials(deepcopy=False)
    return not trials or any(
        has_result(trial) or (trial.state == TrialState.RUNNING and not has_ended(trial))
        for trial in trials
    )


def _plain(description: Mapping[str, object]) -> dict[str, Any]:
    return json.loads(json.dumps(description))


def _shown(description: Mapping[str, object], key: str) -> str:
    return repr(description[key]) if key in description else "at its default"
