"""Facts of exported networks: read back as written, and each wrong one is named."""

import json
from pathlib import Path

import pytest

from darkrank_jax.errors import UserError
from darkrank_jax.export.facts import KEY, checksum, parse_facts, write_facts

FACTS = {
    "schema": 1,
    "name": "run",
    "model": {"name": "resnet10"},
    "mean": [0.5, 0.25, 0.125],
    "std": 0.5,
    "image_shape": [16, 20, 3],
    "center_crop": 1.0,
    "embedding_dim": 8,
    "fingerprint": "ab",
    "compatible_with": [],
}
PATH = Path("a.onnx")


def test_facts_come_back_as_written():
    assert parse_facts(PATH, write_facts(FACTS)) == FACTS
    with_place = FACTS | {"place": "b"}
    assert parse_facts(PATH, write_facts(with_place), "place") == with_place


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"name": 3}, "facts.name must be a text (got 3); write it again"),
        ({"model": {}}, "facts.model must be an object with a name (got {}); "),
        ({"mean": [0.5, None, 1]}, "facts.mean must be a number or a list of numbers (got [0.5"),
        ({"mean": [0.5, 1.0]}, "facts.mean must be one number for each of 3 channels (got 2); "),
        ({"image_shape": [16, 2**15, 3]}, "facts.image_shape must be [height, width, 1 or 3] "),
        ({"image_shape": [16, 16, 2]}, "facts.image_shape must be [height, width, 1 or 3] "),
        ({"center_crop": 1.5}, "facts.center_crop must be a number from 0 to 1 (got 1.5); "),
        ({"embedding_dim": True}, "facts.embedding_dim must be a positive integer (got True); "),
        ({"compatible_with": [1]}, "facts.compatible_with must be texts (got [1]); "),
        ({"schema": 2}, "is of layout 2, and this version reads 1; update"),
    ],
)
def test_a_wrong_fact_is_named(changes, line):
    with pytest.raises(UserError) as error:
        parse_facts(PATH, write_facts(FACTS | changes))
    assert str(error.value).startswith(f"a.onnx: {line}")


@pytest.mark.parametrize("name", [name for name in FACTS if name != "schema"])
def test_a_missing_fact_is_named(name):
    facts = {key: value for key, value in FACTS.items() if key != name}
    with pytest.raises(UserError, match=rf"^a\.onnx: facts\.{name} must be .* \(got nothing\); "):
        parse_facts(PATH, write_facts(facts))


@pytest.mark.parametrize("texts", [None, {}, {KEY: "{"}, {KEY: "[]"}, {KEY: json.dumps({})}])
def test_texts_without_facts_are_of_a_stranger(texts):
    with pytest.raises(UserError, match="so --mode export or embed did not write it"):
        parse_facts(PATH, texts)


def test_the_checksum_follows_the_content_and_every_fact_but_not_their_order():
    own = checksum(b"content", FACTS)
    assert own == checksum(b"content", dict(reversed(FACTS.items())))
    others = [checksum(b"contenu", FACTS), checksum(b"content", FACTS | {"name": "runs"})]
    assert len({own, *others}) == 3
