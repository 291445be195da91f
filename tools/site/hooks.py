"""What MkDocs calls while it builds the site: pages from outside docs/, and generated ones."""

import json
from pathlib import Path

import api_reference
import config_reference
from links import rewritten, targets
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]

# Files of the repository that are pages of the site, where they lie and what they are called there.
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "CHANGELOG.md",
    "CONTRIBUTING.md": "CONTRIBUTING.md",
    "projects/CR-NAS/README.md": "papers/CR-NAS.md",
    "projects/DetNAS/README.md": "papers/DetNAS.md",
    "projects/NATS/README.md": "papers/NATS.md",
}
# Generated pages, by the file that a link on GitHub names instead.
GENERATED = {
    "crnas_d2/config/defaults.py": config_reference.PAGE,
    "crnas_d2/__init__.py": api_reference.INDEX,
}
LANGUAGES = {".py": "python", ".yaml": "yaml", ".json": "json", ".md": "markdown", ".yml": "yaml"}


def page_of(path: str) -> str | None:
    """Return where the site has a file of the repository; ``None`` if it has no page yet."""
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    return {**PAGES, **GENERATED}.get(path)


def source_page(path: str) -> str:
    """Return the page that shows a file, or lists a folder, that is no page of its own."""
    return f"source/{path}.md"


def file_of(uri: str) -> str | None:
    """Return the path, from the root of the repository, of the file that a page was written in."""
    for path, page in PAGES.items():
        if page == uri:
            return path
    return f"docs/{uri}" if (ROOT / "docs" / uri).exists() else None


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for path, uri in PAGES.items():
        files.append(File.generated(config, uri, abs_src_path=str(ROOT / path)))
    pages = {
        config_reference.PAGE: config_reference.write(),
        **api_reference.write(api_reference.load(ROOT)),
    }
    for uri, content in pages.items():
        files.append(File.generated(config, uri, content=content))
    wanted = set()
    for file in files.documentation_pages():
        path = file_of(file.src_uri)
        if path is not None:
            wanted.update(targets((ROOT / path).read_text(), path))
    for path in sorted(wanted):
        if page_of(path) is None and (ROOT / path).exists():
            content = show(path)
            files.append(File.generated(config, source_page(path), content=content))
    return files


def show(path: str) -> str:
    """Return a page with the text of a file, or the files of a folder."""
    place = ROOT / path
    head = f"---\nsearch:\n  exclude: true\n---\n# {path}\n\n"
    if place.suffix == ".ipynb":
        return head + notebook(place)
    if place.is_dir():
        found = sorted(file.relative_to(place).as_posix() for file in place.rglob("*.*"))
        text = "\n".join(name for name in found if "__pycache__" not in name)
        language = "text"
    else:
        text, language = place.read_text(), LANGUAGES.get(place.suffix, "text")
    return f"{head}````{language}\n{text}\n````\n"


def notebook(file: Path) -> str:
    """Return the texts and the code of a notebook."""
    cells = [
        ("".join(cell["source"]), cell["cell_type"])
        for cell in json.loads(file.read_text())["cells"]
    ]
    return "\n\n".join(
        text.removeprefix("# ") if kind == "markdown" else f"````text\n{text}\n````"
        for text, kind in cells
    )


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    path = file_of(page.file.src_uri)
    if path is None:  # generated
        return markdown

    def uri_of(target: str) -> str | None:
        for uri in (page_of(target), source_page(target)):
            if uri and files.get_file_from_path(uri) is not None:
                return uri
        return None

    return rewritten(markdown, path, page.file.src_uri, uri_of)
