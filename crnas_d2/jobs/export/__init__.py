"""A trained network as a folder that stands alone."""

from .folder import Export, run_export
from .graphs import FORMATS

__all__ = ["FORMATS", "Export", "run_export"]
