"""Text and attributes of pages are escaped."""

from hypothesis import given, settings
from hypothesis import strategies as st

from darkrank_jax.evaluation.report.markup import tag
from tests.evaluation.report.made import (
    Page,
)


@settings(deadline=None, max_examples=50)
@given(text=st.text())
def test_text_and_attributes_survive_the_round_trip(text):
    text = text.replace("\r", "").replace("\0", "")
    page = Page(tag("p", text, title=text))
    assert page.text == text
    assert page.all("p") == [{"title": text}]
