"""MkDocs hooks that add the README, the executed notebook and the reference to the site, and check the built pages."""

from __future__ import annotations

import logging
import posixpath
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import nbformat
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from nbconvert import MarkdownExporter
from nbconvert.preprocessors import ExecutePreprocessor

ROOT = Path(__file__).resolve().parents[1]
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "REPRODUCTION.md": "reproduction.md",
    **{
        f"reproduction/{page.parent.name}/README.md": f"{page.parent.name.replace('_', '-')}.md"
        for page in sorted((ROOT / "reproduction").glob("*/README.md"))
    },
}
"""Documents outside of the folder docs, and their pages in the site."""
NOTEBOOK = "docs/first-steps.ipynb"
SECONDS = 120
"""The longest that a cell of the notebook may run."""

_log = logging.getLogger("mkdocs.website")
_FENCE = re.compile(r"(^```.*?^```$)", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"(?<!!)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
_IMAGE = re.compile(r'((?:!\[[^\]]*\]\(|<img\b[^>]*?\bsrc="))([^)\s"]+)')
_REMOTE = re.compile(r"(?:https?:)?//")


# Pages --------------------------------------------------------------------------------------------


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are no files of the folder docs."""
    for source, page in PAGES.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    images = [*(ROOT / "diagrams").glob("*.[ps][nv]g"), *(ROOT / "reproduction").glob("*/figures/*.png")]
    for image in sorted(images):
        files.append(File.generated(config, image.relative_to(ROOT).as_posix(), abs_src_path=str(image)))
    for page in reference_pages(config.nav or []):
        name = page.removeprefix("reference/").removesuffix(".md")
        files.append(File.generated(config, page, content=f"---\ntitle: {name}\n---\n\n::: {name}\n"))
    for name, content in executed(ROOT / NOTEBOOK).items():
        files.append(File.generated(config, name, content=content))
    return files


def reference_pages(nav: object) -> Iterator[str]:
    """Pages below ``reference/`` that the navigation lists."""
    if isinstance(nav, str):
        if nav.startswith("reference/"):
            yield nav
    elif isinstance(nav, dict):
        yield from reference_pages(list(nav.values()))
    elif isinstance(nav, list):
        for item in nav:
            yield from reference_pages(item)


def executed(path: Path) -> dict[str, str | bytes]:
    """Run a notebook and return its page and the images of this page, by name.

    Raises:
        PluginError: If a cell fails or runs too long.
    """
    notebook = nbformat.read(path, as_version=4)
    runner = ExecutePreprocessor(timeout=SECONDS, kernel_name="python3")
    try:
        runner.preprocess(notebook, {"metadata": {"path": str(ROOT)}})
    except Exception as error:
        raise PluginError(f"{path.name}: a cell failed, so the page cannot be made. {error}") from error
    folder = f"{path.stem}_files"
    text, resources = MarkdownExporter().from_notebook_node(notebook, {"output_files_dir": folder})
    return {f"{path.stem}.md": text, **resources["outputs"]}


# Links --------------------------------------------------------------------------------------------


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn the links of the repository into links of the site."""
    page_uri = page.file.src_uri
    if page_uri.startswith("reference/"):
        return markdown
    source = {page: name for name, page in PAGES.items()}.get(page_uri, f"docs/{page_uri}")
    if page_uri == f"{Path(NOTEBOOK).stem}.md":
        source = NOTEBOOK
    return site_links(markdown, source, set(files.src_uris))


def site_links(markdown: str, source: str, pages: set[str]) -> str:
    """A document whose links lead to pages of the site.

    Args:
        markdown: Text of the document.
        source: Place of the document in the repository.
        pages: Places of all files of the site.

    Returns:
        The text. A link to a file that the site does not have becomes plain text.
    """

    def link(match: re.Match[str]) -> str:
        text, target = match.groups()
        if _REMOTE.match(target) or target.startswith(("#", "mailto:")):
            return match[0]
        place, hash_, anchor = target.partition("#")
        uri = site_uri(place, source, pages)
        return text if uri is None else f"[{text}]({uri}{hash_}{anchor})"

    def image(match: re.Match[str]) -> str:
        before, target = match.groups()
        if _REMOTE.match(target) or target in pages:
            return match[0]
        return f"{before}{site_uri(target, source, pages) or target}"

    parts = _FENCE.split(markdown)
    parts[::2] = [_IMAGE.sub(image, _LINK.sub(link, part)) for part in parts[::2]]
    return "".join(parts)


def site_uri(target: str, source: str, pages: set[str]) -> str | None:
    """The place in the site of a file of the repository, or None if the site does not have the file."""
    path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
    if not (ROOT / path).exists():
        _log.warning("%s links to %s, which does not exist.", source, target)
        return None
    if path == NOTEBOOK:
        return f"{Path(NOTEBOOK).stem}.md"
    place = PAGES.get(path, path.removeprefix("docs/"))
    if place in pages:
        return place
    module = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    while module:
        if f"reference/{module}.md" in pages:
            return f"reference/{module}.md"
        module = module.rpartition(".")[0]
    return None


# Checks -------------------------------------------------------------------------------------------


_LOADED = {
    "audio": "src", "embed": "src", "iframe": "src", "img": "src", "link": "href", "script": "src", "source": "src",
    "video": "src",
}  # fmt: skip
_MARKUP = re.compile(r":(?:attr|class|data|exc|func|math|meth|mod|obj):|\.\. \w+::")
_VERBATIM = ("code", "script", "style")


class _Faults(HTMLParser):
    """Collects what a page loads from other machines, and markup that stayed text.

    Attributes:
        faults: One line for each fault.
    """

    def __init__(self) -> None:
        super().__init__()
        self.faults: list[str] = []
        self._verbatim = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._verbatim += tag in _VERBATIM
        place = dict(attrs).get(_LOADED.get(tag, ""))
        if place and _REMOTE.match(place):
            self.faults.append(f"loads {place}")

    def handle_endtag(self, tag: str) -> None:
        self._verbatim -= tag in _VERBATIM

    def handle_data(self, data: str) -> None:
        if not self._verbatim:
            self.faults.extend(f"shows the markup {match[0]}" for match in _MARKUP.finditer(data))


def faults_of(html: str) -> list[str]:
    """What a page loads from other machines, and markup of docstrings that the page shows as text."""
    parser = _Faults()
    parser.feed(html)
    return parser.faults


def on_post_build(config: MkDocsConfig) -> None:
    """Check every page of the built site.

    Raises:
        PluginError: If a page needs another machine, or shows markup.
    """
    site = Path(config.site_dir)
    faults = [
        f"{path.relative_to(site)} {fault}"
        for path in sorted(site.rglob("*.html"))
        for fault in faults_of(path.read_text(encoding="utf-8"))
    ]
    if faults:
        raise PluginError("The site has faults:\n" + "\n".join(faults))
