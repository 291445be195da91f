"""search_net.py with two workers and a password, on a real PostgreSQL server."""

import os
from urllib.parse import quote

import pytest
import torch
import toy
from postgres import PASSWORD, Server, find_binaries
from scripts import start

from crnas_d2.engine import Trainer


@pytest.mark.slow
def test_the_password_is_in_no_file_and_not_on_the_terminal(toy_datasets, tmp_path, monkeypatch):
    if find_binaries() is None:
        pytest.skip("PostgreSQL (initdb, pg_ctl) is not installed")
    pytest.importorskip("psycopg", reason="the driver is the extra crnas-d2[postgres]")
    settings = {
        "MODEL.WEIGHTS": str(tmp_path / "model.pth"),
        "MODEL.ROI_HEADS.SCORE_THRESH_TEST": 0.0,
        "OUTPUT_DIR": str(tmp_path / "search"),
    }
    model = Trainer.build_model(toy.supernet_config(toy_datasets, settings))
    torch.save({"model": model.state_dict()}, tmp_path / "model.pth")
    # In a config file, because a command line is no secret anyway.
    config = tmp_path / "search.yaml"
    server = Server()

    def search(storage, *flags):
        config.write_text(f"_BASE_: {toy.SUPERNET}\nSEARCH:\n  STORAGE: '{storage}'\n")
        opts = toy.as_arguments(toy.TINY, toy.STAGE_SPACE, toy_datasets, settings)
        process = start("search_net.py", config, *flags, opts=opts)
        output = "".join(process.communicate(timeout=600))
        for secret in (PASSWORD, quote(PASSWORD, safe="")):
            assert secret not in output
            for file in (tmp_path / "search").rglob("*"):
                assert not file.is_file() or secret.encode() not in file.read_bytes(), file
        return process.returncode, output

    try:
        status, output = search(server.url())
        assert status == 1 and "could not be reached: " in output and "Traceback" not in output
        server.start()
        status, output = search(server.url(), "--num-workers", "2")
        assert status == 0, output
        assert (tmp_path / "search" / "genotype.yaml").exists()
        monkeypatch.setitem(os.environ, "STUDY_URL", server.url())
        status, output = search("$STUDY_URL", "--resume")
        assert status == 0, output
    finally:
        server.remove()
