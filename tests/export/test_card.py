"""The card of exported files."""

import pytest

from darkrank_jax.export import card, formats
from darkrank_jax.export.source import load_source


def test_the_card_says_what_was_measured(exported, workdir):
    text = (exported / "model_card.md").read_text()
    for kind in formats.FORMATS.values():
        assert f"| {kind.file} |" in text
    assert "resnet10" in text
    assert load_source(workdir).facts["fingerprint"] in text
    assert "license: # of this model: fill in" in text
    assert "an image of 16 x 16 pixels and\n1 channel into 8 numbers" in text
    assert "an image is cut to the largest middle part of that shape, and resized" in text


@pytest.mark.parametrize(
    ("share", "said"),
    [
        (0.0, "an image is taken whole, whatever its shape"),
        (0.875, "an image is cut to 0.875 of the largest middle part of that shape"),
        (1.0, "an image is cut to the largest middle part of that shape"),
    ],
)
def test_the_card_says_how_images_are_cut(share, said):
    assert card.cut_in_words(share) == said
