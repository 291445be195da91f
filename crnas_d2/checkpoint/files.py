"""Files of weights: written whole or not at all, read as data; the checkpoints of one training."""

import logging
import os
import pickle
import re
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
from detectron2.checkpoint.catalog import ModelCatalog
from detectron2.utils.file_io import Detectron2Handler, PathManager
from iopath.common.file_io import get_cache_dir

from crnas_d2.common.array_pickles import ArrayUnpickler
from crnas_d2.common.files import PARTIAL, remove_abandoned, whole_file, write_file
from crnas_d2.common.secrets_in_urls import hide_secrets

FINAL = "model_final.pth"
_LAST = "last_checkpoint"  # Detectron2's file, which names the newest one
_PERIODIC = re.compile(r"model_\d{7,}\.pth")
STATE_DICT = "expected a state dict, tensors by name, at the top or under 'model'."


class UnreadableFileError(ValueError):
    """A file of weights is damaged, or holds something else; the message has its path."""


def write_weights(content: dict[str, Any], path: str | Path) -> None:
    """Write tensors and plain types to a ``.pth`` file, whole or not at all.

    Raises OSError if it cannot, e.g. because the disk is full; a file that was there is unchanged.
    """
    try:
        with whole_file(path) as stream:
            torch.save(content, stream)
    except (OSError, RuntimeError) as error:
        cause: BaseException | None = error
        while not isinstance(cause, OSError):  # torch may turn an error of the stream into another
            if cause is None:
                raise
            cause = cause.__cause__ or cause.__context__
        raise OSError(cause.errno, cause.strerror, str(path)) from error


def fetch_weights(path: str) -> str:
    """Return the local path of ``MODEL.WEIGHTS``, after a download if it is a URL.

    Raises ValueError if there is no such file, or the URL cannot be reached.
    """
    if os.path.isdir(path):
        raise ValueError(f"MODEL.WEIGHTS {path} is a folder; name the file of weights in it.")
    if os.path.isfile(path):
        return path
    # It logs an error besides raising it, which says the same.
    logging.getLogger("iopath.common.download").setLevel(logging.CRITICAL)
    url = urlparse(path)._replace(query="").geturl()
    try:
        local = PathManager.get_local_path(url)
    except Exception as error:  # iopath's handlers raise whatever their libraries do
        why = _line(getattr(error, "reason", None) or error)  # of a URLError
        for secret in filter(None, urlparse(path).netloc.rpartition("@")[0].split(":")):
            why = why.replace(secret, "...")
        url, shown = hide_secrets(_download_address(url)), hide_secrets(path)
        if not url.startswith(("http://", "https://")):
            fix = "Check the address, or set MODEL.WEIGHTS to the path of a file."
            raise ValueError(f"MODEL.WEIGHTS {shown} cannot be fetched ({why}). {fix}") from error
        cached = os.path.join(get_cache_dir(), urlparse(url).path.lstrip("/"))
        raise ValueError(
            f"MODEL.WEIGHTS {shown} cannot be downloaded from {url} ({why}). Without a network, "
            f"download it elsewhere and put it at {cached}, or anywhere and set MODEL.WEIGHTS to "
            "its path."
        ) from error
    if not os.path.isfile(local):
        fix = "Run the training that writes it, or name another file."
        raise ValueError(f"MODEL.WEIGHTS is {hide_secrets(path)}, which does not exist. {fix}")
    return local


def _download_address(url: str) -> str:
    """Return the address behind a name of Detectron2's: ``detectron2://``, ``catalog://``."""
    if url.startswith("catalog://"):
        try:
            url = ModelCatalog.get(url.removeprefix("catalog://"))
        except RuntimeError:  # no such name
            return url
    prefix = Detectron2Handler.PREFIX
    if url.startswith(prefix):
        return str(Detectron2Handler.S3_DETECTRON2_PREFIX + url.removeprefix(prefix))
    return url


def read_file(path: str) -> dict[str, Any]:
    """Read a ``.pth`` or, from a model zoo, a ``.pkl`` file, without running code that is in it.

    Raises UnreadableFileError if it is no dict of arrays, tensors and plain types.
    """
    try:
        if os.path.getsize(path) == 0:
            raise UnreadableFileError(f"{path} is empty. Copy it again, or name another file.")
        if path.endswith(".pkl"):
            with open(path, "rb") as stream:
                content = ArrayUnpickler(stream, encoding="latin1").load()
        else:
            _check_archive(path)
            content = torch.load(path, map_location="cpu", weights_only=True)
    except UnreadableFileError:
        raise
    except OSError as error:
        fix = "Copy it again, or name another file."
        raise UnreadableFileError(f"{path} cannot be read: {error.strerror}. {fix}") from error
    except Exception as error:  # a damaged pickle can raise anything
        why = _line(error)
        if " " not in why:  # e.g. the key of a KeyError
            why = f"{type(error).__name__} {why}".replace(f"{why} {why}", why)
        if isinstance(error, pickle.UnpicklingError):
            if wanted := re.search(r"GLOBAL (\S+)", str(error)):
                raise UnreadableFileError(
                    f"{path} is not loaded: it asks for {wanted[1]}, and loading it could run "
                    "code. Weights need arrays, tensors and plain types only. If you trust the "
                    "file, load it in Python yourself and save its tensors as a plain state dict: "
                    "torch.save({'model': tensors}, 'weights.pth')."
                ) from error
            if "weights_only" in str(error):  # torch advises to read the file without protection
                why = "not a file of torch.save"
        raise UnreadableFileError(
            f"{path} cannot be read as weights ({why}). It is truncated, damaged or of another "
            "format; expected a .pth of torch.save or a .pkl of a model zoo."
        ) from error
    if not isinstance(content, Mapping):
        raise UnreadableFileError(f"{path} holds a {type(content).__name__}; {STATE_DICT}")
    return dict(content)


def _check_archive(path: str) -> None:
    """Compare the checksums of a zip archive, which torch itself does not."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged:
            why = f"the checksum of {damaged} is wrong. Copy it again, or name another file."
            raise UnreadableFileError(f"{path} is damaged: {why}")


def _line(error: object) -> str:
    """Return the error in one line, with its type if it has no text."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


class RunFiles:
    """``model_<iteration>.pth``, ``model_final.pth``, and ``last_checkpoint``, which names one.

    Of the periodic checkpoints, the newest ``max_to_keep`` stay; 0 for all.
    """

    def __init__(self, folder: str, max_to_keep: int = 0):
        self.folder, self.max_to_keep = Path(folder), max_to_keep

    def write(self, name: str, content: dict[str, Any]) -> None:
        """Write one file, name it in ``last_checkpoint``, and delete those beyond the limit.

        Raises OSError if it is not written; all others are as before.
        """
        remove_abandoned(self.folder, f"model_*{PARTIAL}")
        write_weights(content, self.folder / name)
        write_file(self.folder / _LAST, name)
        if self.max_to_keep:
            # Later ones are damaged, if the training has fallen back; it writes them again.
            found = self._periodic()
            found = found[found.index(name) :] if name in found else found
            for old in found[self.max_to_keep :]:
                (self.folder / old).unlink()

    def newest_first(self) -> list[str]:
        """Return the names of all checkpoints, first the one that ``last_checkpoint`` names."""
        found = self._periodic()
        if (self.folder / FINAL).exists():
            # A finished training may have been extended.
            times = [(self.folder / name).stat().st_mtime_ns for name in (FINAL, *found[:1])]
            found.insert(0 if times[0] >= times[-1] else len(found), FINAL)
        with suppress(OSError, UnicodeDecodeError):
            last = (self.folder / _LAST).read_text().strip()
            found.sort(key=lambda name: name != last)
        return found

    def _periodic(self) -> list[str]:
        """Return the names of periodic checkpoints, the newest first."""
        if not self.folder.is_dir():
            return []
        found = filter(_PERIODIC.fullmatch, os.listdir(self.folder))
        return sorted(found, key=lambda name: (len(name), name), reverse=True)
