"""Files of weights are data: whatever they hold, nothing is executed, and errors are sentences."""

import os
import pickle
import re
import urllib.error
from collections import OrderedDict
from random import Random

import numpy as np
import pytest
import torch

from crnas_d2.checkpoint import StrictCheckpointer, TrainingCheckpointer, read_weights
from crnas_d2.checkpoint.files import read_file, write_weights

ARRAYS = {
    "a": np.arange(6, dtype=np.float32).reshape(2, 3),
    "b": np.asfortranarray(np.ones((3, 2))),
    "c": np.float64(2.5),
    "d": np.arange(3, dtype=">i4"),
}


class Attack:
    """Runs code when it is read without care."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def one_line(error):
    text = str(error.value)
    assert "\n" not in text and "Traceback" not in text
    return text


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_and_plain_types_of_a_pickle_are_read(protocol, tmp_path):
    content = {"model": OrderedDict(ARRAYS), "__author__": "x", "more": [1, None, (b"x", {2}, "y")]}
    file = tmp_path / "zoo.pkl"
    file.write_bytes(pickle.dumps(content, protocol=protocol))
    found = read_file(str(file))
    assert found["more"] == content["more"]
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found["model"][name], array)


def test_a_pickle_of_python_2_is_read(tmp_path):
    # {"a": numpy.arange(2, dtype="<i4")} as Python 2 and an old numpy write it, protocol 2
    file = tmp_path / "old.pkl"
    file.write_bytes(
        b"\x80\x02}U\x01acnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b"
        b"\x87R(K\x01K\x02\x85cnumpy\ndtype\nU\x02i4K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff"
        b"\xffJ\xff\xff\xff\xffK\x00tb\x89U\x08\x00\x00\x00\x00\x01\x00\x00\x00tbs."
    )
    np.testing.assert_array_equal(read_file(str(file))["a"], [0, 1])


@pytest.mark.parametrize("suffix", ["pkl", "pth", "pyth"])
@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (exec, ("open('{}', 'w').close()",)),
        (eval, ("open('{}', 'w').close()",)),
        (getattr, (OrderedDict, "fromkeys")),
        (torch.storage._load_from_bytes, (b"x",)),
        (np.load, ("{}",)),
    ],
    ids=["exec", "eval", "getattr", "nested torch.load", "numpy.load"],
)
def test_nothing_in_a_file_is_executed(function, arguments, suffix, tmp_path):
    trace = tmp_path / "trace"
    filled = [a.format(trace) if isinstance(a, str) else a for a in arguments]
    content = {"model": {"a": Attack(function, *filled)}, "__author__": "x"}
    file = tmp_path / f"weights.{suffix}"
    if suffix == "pkl":
        file.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, file)
    asks = r"weights\.\w+ is not loaded: it asks for \S+, .*torch\.s"
    with pytest.raises(ValueError, match=asks):
        read_weights(str(file))
    assert not trace.exists()


CONTENT = {
    "empty": (b"", "is empty"),
    "text": (b"not weights at all", "cannot be read as weights"),
    "cut off": (pickle.dumps({"a": np.ones(99)})[:-20], "cannot be read as weights"),
    "list": (pickle.dumps([1, 2]), "holds a list; expected a state dict"),
    "number": (pickle.dumps(3), "holds a int; expected a state dict"),
    "names": (pickle.dumps({"a": "text"}), "'a' is of type str; expected a state dict"),
    "objects": (pickle.dumps({"a": np.array([None])}), "'a' is no array of numbers"),
    "nothing": (pickle.dumps({}), "holds no tensors"),
    "list inside": (pickle.dumps({"model": [1], "__author__": "x"}), "are of type list"),
}


@pytest.mark.parametrize("case", CONTENT)
@pytest.mark.parametrize("suffix", ["pkl", "pth"])
def test_what_holds_no_weights_is_refused_in_a_sentence(case, suffix, tmp_path):
    content, words = CONTENT[case]
    file = tmp_path / f"weights.{suffix}"
    if suffix == "pth" and words.startswith(("holds", "'", "are")):
        torch.save(pickle.loads(content), file)
    else:
        file.write_bytes(content)
    with pytest.raises(ValueError) as error:
        read_weights(str(file))
    text = one_line(error)
    if case != "objects" or suffix == "pkl":  # torch refuses such an array by itself
        assert words in text
    assert text.startswith(f"MODEL.WEIGHTS {file}")


ODD = {
    "sparse": (torch.eye(2).to_sparse(), "'a' is a sparse, quantized or meta tensor"),
    "csr": (torch.eye(2).to_sparse_csr(), "'a' is a sparse, quantized or meta tensor"),
    "quantized": (torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8), "quantized"),
    "meta": (torch.ones(2, device="meta"), "meta tensor"),
    "complex": (torch.ones(2, dtype=torch.complex64), "'a' is of complex numbers"),
}


@pytest.mark.parametrize(("tensor", "words"), ODD.values(), ids=ODD)
def test_tensors_that_are_no_weights_are_refused_by_name(tensor, words, tmp_path):
    torch.save({"model": {"a": tensor}}, tmp_path / "model.pth")
    with pytest.raises(ValueError, match=rf"model\.pth: .*{words}"):
        read_weights(str(tmp_path / "model.pth"))


@pytest.mark.parametrize("value", ["x", [1], None, 3])
def test_a_record_of_another_project_says_nothing_of_the_network(value, tmp_path):
    torch.save({"model": {"a": torch.ones(2)}, "network": value}, tmp_path / "model.pth")
    assert read_weights(str(tmp_path / "model.pth")).convention == {}


@pytest.mark.parametrize("state", ["x", [1], None, {}, {"iteration": 1}])
def test_a_state_that_cannot_be_continued_is_named(state, tmp_path):
    model = torch.nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), 1.0)
    content = {"model": model.state_dict(), "part": state}
    torch.save(content, tmp_path / "model_final.pth")
    checkpointer = TrainingCheckpointer(model, str(tmp_path), part=optimizer)
    with pytest.raises(ValueError, match=r"state 'part' is damaged, .*another OUTPUT_DIR"):
        checkpointer.resume_or_load("", resume=True)


def test_an_error_that_is_a_key_has_its_type(tmp_path):
    (tmp_path / "a.pth").write_bytes(b"\x80\x02h\x65.")
    with pytest.raises(ValueError, match=r"cannot be read as weights \([A-Z]\w+Error.*\)"):
        read_file(str(tmp_path / "a.pth"))


def test_paths_without_a_file_are_told_apart(tmp_path):
    for path, words in {
        str(tmp_path): "is a folder; name the file",
        str(tmp_path / "no.pth"): "which does not exist",
        "catalog://x": r"catalog://x cannot be fetched .*Check the address",  # in no catalog
    }.items():
        with pytest.raises(ValueError, match=words):
            read_weights(path)


@pytest.mark.parametrize("suffix", ["pkl", "pth"])
def test_damage_is_found_or_harmless(suffix, tmp_path):
    weights = {"weight": torch.rand(8, 8), "bias": torch.rand(8)}
    file = tmp_path / f"weights.{suffix}"
    if suffix == "pth":
        torch.save({"model": weights}, file)
    else:
        file.write_bytes(pickle.dumps({k: v.numpy() for k, v in weights.items()}))
    whole, random, refused = file.read_bytes(), Random(0), 0
    for _ in range(60):
        damaged = bytearray(whole)
        if random.random() < 0.3:
            del damaged[random.randrange(len(whole)) :]
        else:
            damaged[random.randrange(len(whole))] ^= 1 << random.randrange(8)
        file.write_bytes(damaged)
        try:
            found = read_file(str(file))
        except ValueError as error:
            assert "\n" not in str(error) and str(file) in str(error)
            refused += 1
            continue
        if suffix == "pth":  # which has checksums
            assert all(torch.equal(found["model"][name], value) for name, value in weights.items())
    assert refused > 10


def unreachable(*args, **kwargs):
    raise urllib.error.URLError("Name or service not known")


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("https://example.invalid/a/R-50.pth?matching_heuristics=True",) * 2,
        ("detectron2://a/R-50.pth", "https://dl.fbaipublicfiles.com/detectron2/a/R-50.pth"),
        (
            "catalog://ImageNetPretrained/MSRA/R-50",
            "https://dl.fbaipublicfiles.com/detectron/ImageNetPretrained/MSRA/R-50.pkl",
        ),
    ],
)
def test_a_failed_download_says_where_to_put_the_file(name, url, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("urllib.request.urlopen", unreachable)
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path))
    with pytest.raises(ValueError) as error:
        read_weights(name)
    text = one_line(error)
    start = f"MODEL.WEIGHTS {name} cannot be downloaded from {url.partition('?')[0]} "
    assert text.startswith(f"{start}(Name or service not known). ")
    assert "set MODEL.WEIGHTS to its path" in text and "Failed to download" not in caplog.text
    place = re.search(r"put it at (\S+),", text)[1]
    assert place.startswith(str(tmp_path))
    if place.endswith(".pth"):  # as the message says
        os.makedirs(os.path.dirname(place), exist_ok=True)
        write_weights({"model": {"weight": torch.ones(1)}}, place)
        read_weights(name)


def test_a_path_may_look_like_a_url(tmp_path):
    layer = torch.nn.Linear(2, 2)
    file = tmp_path / "a?b=1#c%20.pth"
    write_weights({"model": layer.state_dict()}, file)
    for checkpointer in (StrictCheckpointer, TrainingCheckpointer):
        loaded = torch.nn.Linear(2, 2)
        checkpointer(loaded).load(str(file))
        assert torch.equal(loaded.weight, layer.weight)


def test_after_an_error_another_file_can_be_loaded(tmp_path):
    layer = torch.nn.Linear(2, 2)
    (tmp_path / "text.pth").write_text("text")
    write_weights({"model": layer.state_dict()}, tmp_path / "whole.pth")
    checkpointer = StrictCheckpointer(torch.nn.Linear(2, 2))
    with pytest.raises(ValueError):
        checkpointer.load(str(tmp_path / "text.pth"))
    checkpointer.load(str(tmp_path / "whole.pth"))
    assert torch.equal(checkpointer.model.weight, layer.weight)
