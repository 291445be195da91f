"""Files of proposals (``MODEL.LOAD_PROPOSALS``), which Detectron2 unpickles."""

import os
import pickle

from detectron2.config import CfgNode
from detectron2.structures import BoxMode
from detectron2.utils.file_io import PathManager

from crnas_d2.common.array_pickles import ArrayUnpickler
from crnas_d2.common.errors import JobError

_NEEDED = (("ids", "indexes"), ("boxes",), ("objectness_logits", "scores"))


class _ProposalUnpickler(ArrayUnpickler):
    admitted = {**ArrayUnpickler.admitted, ("detectron2.structures.boxes", "BoxMode"): BoxMode}


def check_proposals(cfg: CfgNode, key: str) -> None:
    """Check the files of ``DATASETS.PROPOSAL_FILES_<key>``, if the model takes proposals.

    Detectron2 would run code that is in them.

    Raises:
        JobError: a file is missing, damaged, asks for more than arrays, or holds something else.
    """
    if not cfg.MODEL.LOAD_PROPOSALS:
        return
    names, files = list(cfg.DATASETS[key]), list(cfg.DATASETS[f"PROPOSAL_FILES_{key}"])
    if len(files) != len(names) or not all(map(os.path.isfile, files)):
        raise JobError(
            f"MODEL.LOAD_PROPOSALS is True: DATASETS.PROPOSAL_FILES_{key} has {len(files)} "
            f"files, {files}; expected a file that exists for each of {names}."
        )
    for file in files:
        expected = "expected a pickled dict of arrays: ids, boxes and objectness_logits"
        try:
            with PathManager.open(file, "rb") as stream:
                content = _ProposalUnpickler(stream, encoding="latin1").load()
        except Exception as error:  # a damaged pickle can raise anything
            is_code = isinstance(error, pickle.UnpicklingError) and "GLOBAL " in str(error)
            wanted = str(error).rpartition("GLOBAL ")[2]
            why = (
                f"asks for {wanted}, which could run code" if is_code else f"is damaged ({error!r})"
            )
            raise JobError(f"DATASETS.PROPOSAL_FILES_{key}: {file} {why}; {expected}.") from error
        if not isinstance(content, dict) or not all(any(n in content for n in k) for k in _NEEDED):
            raise JobError(f"DATASETS.PROPOSAL_FILES_{key}: {file} holds no proposals; {expected}.")
