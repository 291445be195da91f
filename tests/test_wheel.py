"""The wheel and the sdist: what is in them."""

import tarfile
import zipfile

import packages
import pytest
import toy


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The wheel, and the wheel that is built from the sdist."""
    folder = tmp_path_factory.mktemp("sources")
    sources = packages.copy_sources(folder / "clone")
    sdist = packages.build("sdist", sources)
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    return (
        packages.build("wheel", sources),
        packages.build("wheel", folder / sdist.name.removesuffix(".tar.gz")),
    )


def test_the_wheel_has_what_the_clone_has(built):
    with zipfile.ZipFile(built[0]) as archive:
        names = set(archive.namelist())
    below = ("configs/**/*.yaml", "projects/*/configs/**/*.yaml", "crnas_d2/genotypes/**/*.yaml")
    shipped = [file for pattern in below for file in toy.ROOT.glob(pattern)]
    assert len(shipped) >= 200
    expected = {f"crnas_d2/shipped/{file.relative_to(toy.ROOT)}" for file in shipped}
    files = (toy.ROOT / "crnas_d2").rglob("*")
    kinds = (".py", ".yaml", ".npz")
    expected |= {str(f.relative_to(toy.ROOT)) for f in files if f.suffix in kinds}
    assert expected <= names
    assert {name for name in names if name.endswith((".py", ".yaml"))} <= expected
    assert "crnas_d2/verbs/LICENSE" in names
    assert {name.split("/")[0] for name in names} == {"crnas_d2", "crnas_d2-0.1.0.dist-info"}


def test_the_sdist_builds_the_same_wheel(built):
    contents = []
    for file in built:
        with zipfile.ZipFile(file) as archive:
            contents.append({entry.filename: entry.CRC for entry in archive.infolist()})
    assert contents[0] == contents[1]
