"""What mkdocstrings must be told of this package's docstrings."""

import re
from pathlib import Path
from typing import Any

import griffe

PAGES = Path(__file__).parent / "losses"
# On a page of docs/losses: the name of a loss, its formula, and what the formula is averaged over.
SECTION = re.compile(
    r"^## `(?P<name>\w+)`\n\n(?P<formula>\$\$\n.*?\n\$\$)\n\n"
    r"(?P<text>.*?)(?:\*\*Use it\*\*|\n\n|\Z)",
    re.MULTILINE | re.DOTALL,
)


def read_formulas() -> dict[str, str]:
    """Name of a loss -> its formula on its page, with a link to the page."""
    return {
        section["name"]: f"{section['formula']}\n\n{section['text']}"
        f"[When to use it](../losses/{page.stem}.md#{section['name']})."
        for page in PAGES.glob("*.md")
        for section in SECTION.finditer(page.read_text(encoding="utf-8"))
    }


class Examples(griffe.Extension):
    """Shows `Example:`, which it takes for a note, as the code that it is."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called for each object with a docstring."""
        if obj.docstring:
            obj.docstring.value = obj.docstring.value.replace("\nExample:\n", "\nExamples:\n")


class Formulas(griffe.Extension):
    """Shows the formula of a loss, its docstring's second paragraph, as mathematics."""

    formulas = read_formulas()

    def on_function(self, *, func: griffe.Function, **_: Any) -> None:
        """Called for each function."""
        if func.docstring and func.name in self.formulas:
            paragraphs = func.docstring.value.split("\n\n")
            paragraphs[1] = self.formulas[func.name]
            func.docstring.value = "\n\n".join(paragraphs)
