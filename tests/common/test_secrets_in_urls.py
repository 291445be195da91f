"""No password and no token of a URL is printed or written."""

import json
import logging

import pytest
import toy
import trained_toy
from hypothesis import given
from hypothesis import strategies as st

from crnas_d2.checkpoint.files import fetch_weights
from crnas_d2.common.secrets_in_urls import hide_secrets
from crnas_d2.engine.log import _hide_secrets
from crnas_d2.search import hide_password, public_arguments
from crnas_d2.verbs.main import main

SECRET = "Xq7zSecret"
URLS = [
    f"https://me:{SECRET}@127.0.0.1:1/weights.pth",
    f"https://{SECRET}@127.0.0.1:1/weights.pth",
    f"https://me:p@{SECRET}@127.0.0.1:1/weights.pth",
    f"https://127.0.0.1:1/weights.pth?token={SECRET}",
    f"https://127.0.0.1:1/weights.pth?v=2&X-Amz-Signature={SECRET}&x=1",
    f"s3://me:{SECRET}@bucket/weights.pth",
]


@given(st.text(st.characters(codec="ascii", exclude_characters="/ \t\n\r\x0b\x0c\x1c\x1d\x1e\x1f")))
def test_any_password_is_hidden_and_the_rest_stays(password):
    text = f"see https://me:{password}@host/a.pth and postgresql+psycopg://nas:{password}@db/s!"
    assert hide_secrets(text) == "see https://host/a.pth and postgresql+psycopg://nas@db/s!"


@pytest.mark.parametrize(
    "text",
    ["a:b@c", "detectron2://a/b.pkl", "https://host:80/a@b.pth?matching_heuristics=True", "C://x"],
)
def test_what_has_no_secret_stays(text):
    assert hide_secrets(text) == text


@pytest.mark.parametrize("url", URLS)
def test_weights_are_named_without_it(url, tmp_path, capsys):
    with pytest.raises(ValueError, match=r"MODEL\.WEIGHTS .*weights\.pth") as error:
        fetch_weights(url)
    assert SECRET not in str(error.value)
    words = ["--config-file", str(toy.SEARCHED), "MODEL.WEIGHTS", url, "OUTPUT_DIR", str(tmp_path)]
    with pytest.raises(SystemExit) as stopped:
        main(["train", *words])
    assert SECRET not in f"{stopped.value}{capsys.readouterr()}"
    assert SECRET not in hide_password(toy.network_config({"MODEL.WEIGHTS": url})).dump()
    assert SECRET not in " ".join(public_arguments(["MODEL.WEIGHTS", url]))
    record = logging.LogRecord("a", 1, "", 1, "from %s", (url,), None)
    assert _hide_secrets(record) and SECRET not in record.getMessage()


def test_the_record_of_an_export_has_none(toy_datasets, tmp_path):
    run = trained_toy.train(tmp_path / "run", toy_datasets)
    storage = f"postgresql+psycopg://nas:{SECRET}@127.0.0.1:1/studies?password={SECRET}"
    command = ["export", "--run", str(run), "--output", str(tmp_path / "exported")]
    main([*command, "--opts", "SEARCH.STORAGE", storage])
    record = json.loads((tmp_path / "exported" / "provenance.json").read_text())
    assert "postgresql+psycopg://nas@127.0.0.1:1/studies" in record["command"]
    for file in (tmp_path / "exported").iterdir():
        assert SECRET.encode() not in file.read_bytes(), file
