"""HTML by construction: whatever is not markup already is escaped, so data cannot become markup."""

import base64
import hashlib
from html import escape

_VOID = {"img", "meta", "wbr"}


class Html(str):
    """Text that is markup already; `tag` escapes every other string."""


def join(parts) -> Html:
    """Concatenates markup and text, escaping the text.

    Example:
      >>> join([tag("b", "R&D"), " < 1"])
      '<b>R&amp;D</b> &lt; 1'
    """
    return Html("".join(p if isinstance(p, Html) else escape(str(p)) for p in parts))


def tag(name: str, *children: object, **attributes: object) -> Html:
    """Builds one element, of HTML or of inline SVG.

    Args:
      name: of the element.
      *children: markup as it is, anything else as escaped text.
      **attributes: `class_` gives `class` and `aria_label` gives `aria-label`; None leaves out.

    Returns:
      The markup.

    Example:
      >>> tag("p", "a < b", tag("img", alt='"'), class_="note")
      '<p class="note">a &lt; b<img alt="&quot;"></p>'
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    opening = f"<{name}{written}>"
    return Html(opening if name in _VOID else f"{opening}{join(children)}</{name}>")


def policy(script: str = "") -> Html:
    """The content security policy of a page: nothing is fetched, and no script but one runs.

    Args:
      script: the one script of the page; empty for none.

    Example:
      >>> policy()[:56]
      '<meta http-equiv="Content-Security-Policy" content="defa'
    """
    sources = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    if script:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
        sources += f"; script-src 'sha256-{digest}'"
    return tag("meta", http_equiv="Content-Security-Policy", content=sources)


def named(name: str) -> Html:
    """The name of a network, whatever its script, which may break behind a slash.

    Example:
      >>> named("run/student")
      '<bdi>run/<wbr>student</bdi>'
    """
    first, *others = name.split("/")
    return tag("bdi", first, *(part for other in others for part in ("/", tag("wbr"), other)))
