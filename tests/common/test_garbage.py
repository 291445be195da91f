import gc

import pytest

from crnas_d2.common.garbage import without_garbage_collection


def test_garbage_is_looked_for_again_afterwards_unless_it_was_not_before():
    with without_garbage_collection():
        assert not gc.isenabled()
        with without_garbage_collection():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(ValueError), without_garbage_collection():
        raise ValueError
    assert gc.isenabled()
