"""The checker of the style finds what it is for, and nothing in the repository."""

import pytest

from docs.style import findings, main


def test_the_repository_has_no_findings(capsys):
    with pytest.raises(SystemExit) as ended:
        main()
    assert capsys.readouterr().out.strip() == ""
    assert ended.value.code == 0


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("a.md", "x " * 51, ["1: has 102 characters"]),
        ("a.md", "| " + "x " * 51, []),
        ("a.md", "```\n" + "x " * 51 + "\n```", []),
        ("a.md", "    " + "x " * 51, []),
        ("a.md", "![" + "x " * 51 + "](a.svg)", []),
        ("a.py", "x\n# is computed anew", ["2: 'anew': write 'again; re-'"]),
        ("README.md", "a\n" * 121, ["121: README.md must have at most 120 lines"]),
        ("b.md", "a\n" * 121, []),
    ],
)
def test_a_finding_names_line_and_reason(name, text, found):
    assert list(findings(name, text)) == found
