"""Pickles of arrays and plain types, read without running code that is in them."""

import pickle
from collections import OrderedDict
from typing import Any

import numpy as np


def _encode_latin1(text: str, encoding: str) -> bytes:
    """Stand in for ``_codecs.encode``, with which Python 3 writes bytes in old protocols."""
    assert encoding == "latin1"
    return text.encode(encoding)


_ADMITTED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("_codecs", "encode"): _encode_latin1,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    **{
        (module, kind.__name__): kind
        for module in ("builtins", "__builtin__")  # the latter of Python 2
        for kind in (set, frozenset, complex, bytearray)
    },
}
for _package in ("numpy.core", "numpy._core"):
    _ADMITTED |= {
        (f"{_package}.multiarray", "_reconstruct"): np.ndarray.__reduce__(np.zeros(1))[0],
        (f"{_package}.multiarray", "scalar"): np.float64(0).__reduce__()[0],
        (f"{_package}.numeric", "_frombuffer"): np.zeros(1).__reduce_ex__(5)[0],
    }


class ArrayUnpickler(pickle.Unpickler):
    """Builds arrays and plain types only; a pickle can name any function to be called.

    A subclass may admit more, by module and name.
    """

    admitted = _ADMITTED

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.admitted:
            raise pickle.UnpicklingError(f"GLOBAL {module}.{name}")  # torch's words
        return self.admitted[module, name]
