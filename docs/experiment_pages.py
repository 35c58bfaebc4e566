"""Each README.md of `experiments` as a page of the site: a hook of mkdocs."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

EXPERIMENTS = Path(__file__).parent.parent / "experiments"
PICTURE = re.compile(
    r'<picture>.*?<img alt="(?P<alt>[^"]*)" src="(?P<path>[^"]*)_light\.svg">\s*</picture>', re.S
)
IMAGES = "../../docs/images/"


def on_files(files: "Files", config: "MkDocsConfig") -> "Files":
    """Adds the pages; mkdocs calls it before it reads any."""
    # The tests have no mkdocs.
    from mkdocs.structure.files import File

    for name, path in pages().items():
        text = site_page(path.read_text(encoding="utf-8"), path.parent.name)
        files.append(File.generated(config, f"experiments/{name}", content=text))
    return files


def pages() -> dict[str, Path]:
    """Name of each page on the site -> its file."""
    paths = sorted(EXPERIMENTS.glob("*/*.md"))
    parts = [path.parent.name + f"_{path.stem}".removesuffix("_README") for path in paths]
    return {f"{part}.md": path for part, path in zip(parts, paths, strict=True)}


def site_page(text: str, folder: str) -> str:
    r"""The text of a page of the site from that of a README.

    Args:
      text: Markdown, whose links and pictures are relative to its folder.
      folder: of `experiments`, that holds it.

    Returns:
      Markdown, whose links and pictures are those of the site.

    Example:
      >>> site_page("[Omniglot](../omniglot/README.md), [report](report.md)", "soak")
      '[Omniglot](omniglot.md), [report](soak_report.md)'
    """

    def both(found: re.Match[str]) -> str:
        place = found["path"].replace(IMAGES, "../images/")
        themes = ("light", "dark")
        return "\n".join(f"![{found['alt']}]({place}_{each}.svg#only-{each})" for each in themes)

    text = PICTURE.sub(both, text)
    text = re.sub(r"\]\((\w+)\.md\)", rf"]({folder}_\1.md)", text)
    return re.sub(r"\]\(\.\./(\w+)/README\.md\)", r"](\1.md)", text)
