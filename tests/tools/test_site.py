"""The documentation site: its generated pages, its links, and that it can be read offline."""

import importlib
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import toy
import yaml
from detectron2.config import CfgNode, get_cfg

from crnas_d2 import add_crnas_config

SITE = toy.ROOT / "tools" / "site"
DOCS = toy.ROOT / "docs"


@pytest.fixture(scope="module")
def tools():
    """The modules of tools/site, which MkDocs imports by their bare names."""
    sys.path.insert(0, str(SITE))
    import config_reference
    import figures
    import links

    yield {"config": config_reference, "figures": figures, "links": links}
    sys.path.remove(str(SITE))


def our_keys():
    """The keys that add_crnas_config adds, with their defaults."""

    def leaves(cfg, prefix=""):
        for name, value in cfg.items():
            if isinstance(value, CfgNode) and value:
                yield from leaves(value, f"{prefix}{name}.")
            else:
                yield prefix + name, value

    theirs, ours = get_cfg(), get_cfg()
    add_crnas_config(ours)
    known = dict(leaves(theirs))
    return {key: value for key, value in leaves(ours) if key not in known}


def test_every_config_key_is_described_with_type_default_and_comment(tools):
    page = tools["config"].write()
    sections = dict(re.findall(r"^## (\S+|At the top) .*\n+(?!#)(.*)", page, flags=re.MULTILINE))
    keys = our_keys()
    assert len(keys) > 60
    for key, default in keys.items():
        anchor, label = key.lower().replace(".", "-"), key.rpartition(".")[2]
        heading = f'### {key} {{#{anchor} data-toc-label="{label}"}}'
        assert page.count(f"{heading}\n") == 1, key
        described = page.partition(heading)[2].partition("\n#")[0].strip().split("\n\n")
        kind, _, shown = described[0].partition(", default ")
        assert kind in ("yes or no", "whole number", "number", "text", "list", "tuple"), key
        text = shown.removeprefix("<code>").removesuffix("</code>").replace("&#x27;", "'")
        assert text == repr(default), key
        # A key without a comment of its own is described with its section.
        assert len(described) == 2 or sections[key.rpartition(".")[0]], key


def test_a_comment_becomes_text_with_links_to_other_keys(tools):
    comment = "With MODEL.GENOTYPE.DEPTHS > 1, see SOLVER.MAX_ITER, or $SEARCH"
    assert tools["config"]._markdown(comment, tools["config"].keys()) == (
        "With [`MODEL.GENOTYPE.DEPTHS`](#model-genotype-depths) &gt; 1, see `SOLVER.MAX_ITER`, or "
        "$SEARCH"
    )


def test_links_of_the_repository_become_links_of_the_site(tools):
    text = (
        "[a](../projects/X/README.md#top) [b](OTHER.md) `[c](../no.md)` [d](https://x.org/y)\n"
        "```\n[e](../no.md)\n```\n[f](#here) [g](../gone.md)"
    )
    found = list(tools["links"].targets(text, "docs/PAGE.md"))
    assert found == ["projects/X/README.md", "docs/OTHER.md", "gone.md"]
    pages = {"projects/X/README.md": "papers/X.md", "docs/OTHER.md": "OTHER.md"}
    assert tools["links"].rewritten(text, "docs/PAGE.md", "deep/PAGE.md", pages.get) == (
        "[a](../papers/X.md#top) [b](../OTHER.md) `[c](../no.md)` [d](https://x.org/y)\n"
        "```\n[e](../no.md)\n```\n[f](#here) [g](../gone.md)"
    )


def navigation():
    """All pages of the navigation."""

    class Loader(yaml.SafeLoader):
        pass

    Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda *_: None)

    def pages(entry):
        for part in entry if isinstance(entry, list) else entry.values():
            yield from pages(part) if isinstance(part, list | dict) else [part]

    return list(pages(yaml.load((toy.ROOT / "mkdocs.yml").read_text(), Loader)["nav"]))


def test_every_page_is_in_the_navigation_once():
    found = navigation()
    assert len(found) == len(set(found))
    assert {file.name for file in DOCS.glob("*.md")} <= set(found)
    rooms = {f"api/{file.parent.name}.md" for file in toy.ROOT.glob("crnas_d2/*/__init__.py")}
    assert {page for page in found if page.startswith("api/")} == rooms | {
        "api/index.md",
        "api/testing.md",
    }


def test_the_figures_are_as_the_script_draws_them(tools, tmp_path):
    tools["figures"].draw_all(tmp_path)
    committed = sorted((DOCS / "figures").glob("*.svg"))
    assert [file.name for file in committed] == sorted(os.listdir(tmp_path))
    for file in committed:
        text = file.read_text()
        assert text == (tmp_path / file.name).read_text() and len(text) < 40_000
    pictures = dict(
        re.findall(r"!\[([^\]]+)\]\((figures/[^)]+)\)", (DOCS / "CONCEPTS.md").read_text())
    )
    assert set(pictures.values()) == {f"figures/{file.name}" for file in committed}
    assert all(len(alt) > 40 for alt in pictures)


class Links(HTMLParser):
    """Collects the anchors, links and assets of a page, and its pictures without a description."""

    def __init__(self, text):
        super().__init__()
        self.anchors, self.links, self.assets, self.without_text = set(), [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.anchors |= {values.get("id"), values.get("name") if tag == "a" else None}
        if tag == "a" and values.get("href"):
            self.links.append(values["href"])
        elif tag in ("script", "img", "link", "iframe", "source", "video"):
            self.assets += [values[key] for key in ("src", "href", "srcset") if values.get(key)]
            if tag == "img" and not values.get("alt"):
                self.without_text.append(values.get("src"))


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("mkdocs", reason="it is of the extra crnas-d2[docs]")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-W", "ignore", "-m", "mkdocs", "build", "--strict"]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(toy.ROOT)}
    built = subprocess.run(
        [*command, "--site-dir", str(folder)],
        cwd=toy.ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    assert "WARNING" not in built.stderr
    return {file: Links(file.read_text()) for file in sorted(folder.rglob("*.html"))}


@pytest.mark.slow
def test_the_site_has_all_pages_and_no_broken_link(site):
    [home] = [file for file in site if file.name == "index.html" and file.parent.name != "api"]
    names = {file.relative_to(home.parent).as_posix() for file in site}
    assert {page.replace(".md", ".html") for page in navigation()} <= names
    checked = 0
    for file, page in site.items():
        if file.name == "404.html":  # whose links are those of a server's root
            continue
        for link in [*page.links, *page.assets]:
            parts = urlsplit(link)
            if parts.scheme:
                continue
            target = (
                Path(os.path.normpath(file.parent / unquote(parts.path))) if parts.path else file
            )
            target = target / "index.html" if target.is_dir() else target
            assert target.is_file(), f"{file}: {link}"
            if parts.fragment and target in site:
                assert unquote(parts.fragment) in site[target].anchors, f"{file}: {link}"
            checked += 1
    assert checked > 1000


@pytest.mark.slow
def test_the_site_needs_no_network(site):
    folder = next(iter(site)).parent
    for file, page in site.items():
        assert not [asset for asset in page.assets if urlsplit(asset).scheme or "//" in asset[:2]]
        assert not page.without_text, file
    for style in folder.rglob("*.css"):
        found = re.findall(r"(?:url\(|@import )[\"']?((?:https?:)?//[^)\"']+)", style.read_text())
        assert not found, style


@pytest.mark.slow
def test_the_api_reference_describes_every_public_name(site):
    import crnas_d2

    anchors = {anchor for page in site.values() for anchor in page.anchors}
    for name in crnas_d2.__all__:
        assert any(anchor and anchor.endswith(f".{name}") for anchor in anchors), name
    for room in toy.ROOT.glob("crnas_d2/*/__init__.py"):
        module = importlib.import_module(f"crnas_d2.{room.parent.name}")
        for name in getattr(module, "__all__", ()):
            assert f"crnas_d2.{room.parent.name}.{name}" in anchors
