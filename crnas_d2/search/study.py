"""The Optuna study, which is the only state of a search."""

import json
import os
import socket
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from crnas_d2.common.digests import text_digest
from crnas_d2.space import Genotype

from .candidates import Candidate, has_result
from .presence import has_ended, is_gone, this_process

if TYPE_CHECKING:
    from .storage import PatientStorage

Direction = Literal["maximize", "minimize"]

_LATER = ("archval images", "calibration images")  # studies of earlier versions lack them
_STARTED_BY = "started by"  # a user attribute: the process that has created the study
_FOLDER = "folder"  # how user attributes begin that name the OUTPUT_DIR of a worker
_DETECTOR = "detector"
_MOST_DESCRIBING = 5.0  # seconds from the creation of a study to its description


@dataclass(frozen=True)
class StudySettings:
    """Where the study of a search is, and what identifies the search."""

    url: str  # of SQLAlchemy, e.g. sqlite:///output/search.db, or the path of a journal file
    name: str
    description: Mapping[str, object]  # what identifies the search; plain JSON data
    directions: Sequence[Direction] = ("maximize",)  # that of a second objective comes second
    patience: float = 0  # seconds for which to wait for a storage that is away

    def check(self, *, resume: bool) -> None:
        """Check whether :meth:`open` would begin or continue the study, without beginning it."""
        self._find(self._storage(), resume)

    def open(self, *, resume: bool) -> optuna.Study:
        """Open the study, or create it if there is none.

        One whose first candidates all ended without a result is begun anew, so that corrected
        settings are not refused, if the process that began it has ended, too.

        Raises:
            ValueError: it exists and ``resume`` is false, it is another search, or it is no study.
            StorageError: the storage cannot be reached, read or written.
        """
        storage = self._storage(patience=self.patience, for_workers=True)
        if (study := self._find(storage, resume)) is not None:
            return study
        try:
            study = optuna.create_study(
                storage=cast(BaseStorage, storage),  # it has all methods of one
                study_name=self.name,
                directions=self.directions,
            )
        except optuna.exceptions.DuplicatedStudyError:  # another process was faster
            study = self._find(storage, resume)
            assert study is not None, self.name
            return study
        study.set_user_attr(_STARTED_BY, this_process())
        self._name_objectives(study)
        study.set_user_attr("description", self.description)
        return study

    def _name_objectives(self, study: optuna.Study) -> None:
        """Name the objectives for optuna-dashboard, where they are known."""
        known = (self.description.get(key) for key in ("metric", "second objective"))
        names = [name for name in known if isinstance(name, str)]
        if len(names) == len(self.directions):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                study.set_metric_names(names)

    def _storage(self, **options: Any) -> "PatientStorage":
        from .storage import open_storage  # only now: SQLAlchemy takes a tenth of a second

        return open_storage(self.url, **options)

    def _find(self, opened: "PatientStorage", resume: bool) -> optuna.Study | None:
        """Return the study; ``None`` if it has to be created."""
        storage = cast(BaseStorage, opened)
        description: dict[str, Any] = json.loads(json.dumps(self.description))  # as it is read
        if self.name not in optuna.get_all_study_names(storage):
            return None
        study = optuna.load_study(storage=storage, study_name=self.name)
        known, place = _description(study), f"The study '{self.name}' in {opened.place}"
        if known is None and not study.get_trials(deepcopy=False):
            # The creator died between its two writes.
            study.set_user_attr("description", description)
            return study
        if known is None:
            other = "Choose another SEARCH.STUDY_NAME or SEARCH.STORAGE."
            raise ValueError(f"{place} is no search of this project. {other}")
        different = [
            f"{key} was {_shown(known, key)} and is {_shown(description, key)}"
            for key in sorted(known.keys() | description.keys())
            if known.get(key) != description.get(key) and (key in known or key not in _LATER)
        ]
        if not different and resume:
            return study
        if _has_failed(study, study.get_trials(deepcopy=False)):
            optuna.delete_study(study_name=self.name, storage=storage)
            return None
        other = "or choose another OUTPUT_DIR (or SEARCH.STUDY_NAME)."
        if not resume:
            raise ValueError(f"{place} exists already: continue it with --resume, {other}")
        raise ValueError(
            f"{place} is another search: {'; '.join(different)}. Its scores cannot be compared "
            f"with new ones. Continue it with its original settings and files, {other}"
        )


def add_folder(study: optuna.Study, folder: str | Path) -> None:
    """Keep in the study that workers of this machine write files to a folder."""
    place = {"host": socket.gethostname(), "folder": os.path.abspath(folder)}
    study.set_user_attr(f"{_FOLDER} {text_digest(str(place))}", place)


def folders(study: optuna.Study) -> list[str]:
    """Return the folders of all workers, absolute, those of other machines among them."""
    places = [v["folder"] for k, v in study.user_attrs.items() if k.startswith(_FOLDER)]
    return sorted(set(places))


def keep_detector(study: optuna.Study, detector: Candidate) -> None:
    """Keep in the study what the detector scores that it starts from, beside the candidates."""
    network = asdict(detector.genotype)
    study.set_user_attr(
        _DETECTOR,
        {"network": network, "metrics": dict(detector.metrics), "fitness": detector.fitness},
    )


def kept_detector(study: optuna.Study) -> Candidate | None:
    """Return what :func:`keep_detector` has kept."""
    if (kept := study.user_attrs.get(_DETECTOR)) is None:
        return None
    genotype = Genotype(**kept["network"])
    return Candidate(genotype, kept["fitness"], kept["metrics"])


def _has_failed(study: optuna.Study, trials: Sequence[FrozenTrial]) -> bool:
    """Whether a study can be begun anew: it has no result, and nobody is at work on it."""
    begun = [trial for trial in trials if trial.state != TrialState.WAITING]
    running = (trial for trial in begun if trial.state == TrialState.RUNNING)
    starter = study.user_attrs.get(_STARTED_BY)
    return (
        bool(begun)  # else another process is about to begin
        and not any(map(has_result, begun))
        and all(map(has_ended, running))
        and (starter is None or starter == this_process() or is_gone(starter))
    )


def _description(study: optuna.Study) -> dict[str, Any] | None:
    """Return the description of a study, which its creator may be about to write."""
    deadline = time.monotonic() + _MOST_DESCRIBING
    while "description" not in study.user_attrs:
        if time.monotonic() >= deadline or study.get_trials(deepcopy=False):
            return None
        time.sleep(0.1)
    return study.user_attrs["description"]


def _shown(description: Mapping[str, object], key: str) -> str:
    return repr(description[key]) if key in description else "at its default"
