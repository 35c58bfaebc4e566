"""Style checks that a machine can do: `python -m docs.style`, part of `make lint`.

Lines of Markdown, README's length, and words that readers stumble over, with what to write instead.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
LONGEST_LINE, LONGEST_README = 100, 120
# Pattern -> what to write.
WORDS = {
    r"Plackett-Luce laws?|\bthe (student|teacher)'s law\b": "distribution",
    r"\bmend(s|ed)?\b": "fix",
    r"\bis told\b|\ba line says\b": "is reported; warns; logs",
    r"\brefused in a line\b": "raises UserError",
    r"\basks? the teacher\b": "runs the teacher",
    r"\bwhat (lies|stands) in\b": "contents of",
    r"\bthe same bits\b": "bitwise identical",
    r"\banew\b": "again; re-",
    r"\bso many\b(?! that)": "the number",
    r"\band the like\b|\bor the like\b": "name the things",
    r"\bof before\b": "earlier",
    r"\bdraws of augmentation\b": "augmented views",
    r"\bnumbers an image becomes\b": "embedding size",
    r"\bgoes to work\b": "export and search",
}


def main() -> None:
    """Prints a line for each finding, and exits with 1 if there is one."""
    listed = subprocess.run(
        ["git", "ls-files", "*.md", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    found = [
        f"{name}:{line}" for name in listed.stdout.split() for line in findings(name, read(name))
    ]
    print("\n".join(found))
    sys.exit(bool(found))


def read(name: str) -> str:
    """The text of a file of the repository; of one that was just deleted, none."""
    path = ROOT / name
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def findings(name: str, text: str) -> Iterator[str]:
    """What is wrong with a file.

    Args:
      name: of the file, from the root.
      text: of the file.

    Yields:
      "LINE: what is wrong".
    """
    # This file and its test name the words.
    if name in ("docs/style.py", "tests/test_style.py"):
        return
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        for pattern, better in WORDS.items():
            if found := re.search(pattern, line):
                yield f"{number}: {found[0]!r}: write {better!r}"
    if name.endswith(".md"):
        yield from (f"{n}: has {len(lines[n - 1])} characters" for n in long_lines(lines))
    if name == "README.md" and len(lines) > LONGEST_README:
        yield f"{len(lines)}: README.md must have at most {LONGEST_README} lines"


def long_lines(lines: list[str]) -> Iterator[int]:
    """Numbers of lines of Markdown that are too long, outside tables and code."""
    fenced = False
    for number, line in enumerate(lines, 1):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        code = fenced or line.startswith("    ")
        # A line without a space cannot be wrapped, and neither can a picture.
        wraps = " " in line.strip() and not line.lstrip().startswith(("|", "<", "!["))
        if len(line) > LONGEST_LINE and wraps and not code:
            yield number


if __name__ == "__main__":
    main()
