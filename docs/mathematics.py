"""Formulas of the pages as SVG, drawn when the site is built: a hook of mkdocs.

The pages need no script, no font and no network to show them.
"""

import html
import re

import ziamath

# What pymdownx.arithmatex makes of $$...$$ and of $...$.
FORMULA = re.compile(
    r'<div class="arithmatex">\\\[(?P<block>.*?)\\\]</div>'
    r'|<span class="arithmatex">\\\((?P<inline>.*?)\\\)</span>',
    re.DOTALL,
)
# Pixels: of the text around a formula, and of the highest formula that is no mistake.
SIZE, HIGHEST = 16, 120
# Browsers other than the newest need the first version of SVG.
ziamath.config.svg2 = False
ziamath.config.math.color = "currentColor"


def on_page_content(content: str, **_: object) -> str:
    """The HTML of a page with SVG in place of LaTeX; mkdocs calls it for each page."""
    return FORMULA.sub(lambda match: draw(match["block"], match["inline"]), content)


def draw(block: str | None, inline: str | None) -> str:
    """HTML of one formula, given in one of two ways.

    Args:
      block: LaTeX, escaped for HTML, of a formula on lines of its own.
      inline: LaTeX, escaped for HTML, of one within a sentence.

    Returns:
      An element with the SVG, which has the colour of the text and the LaTeX as its label.

    Raises:
      ValueError: it is too high, as when \\left( stretches around a sum.
    """
    latex = html.unescape(block or inline or "").strip()
    formula = ziamath.Latex(latex, size=SIZE, inline=block is None)
    if formula.getsize()[1] > HIGHEST:
        raise ValueError(
            f"{latex}: must be at most {HIGHEST} pixels high; write \\bigg( for \\left( around "
            "a sum, and \\lvert x \\rvert for |x|"
        )
    label = html.escape(" ".join(latex.split()), quote=True)
    # The theme would shrink one that is wider than its cell; glyphs may reach over the edge.
    given = f'role="img" aria-label="{label}" style="max-width: none; overflow: visible"'
    svg = formula.svg().replace("<svg ", f"<svg {given} ", 1)
    if block is not None:
        return f'<div style="overflow-x: auto; margin: 1em 0">{svg}</div>'
    depth = f"{formula.getyofst():.2f}px"
    return f'<span style="display: inline-block; vertical-align: {depth}">{svg}</span>'
