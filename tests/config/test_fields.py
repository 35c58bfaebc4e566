from typing import Literal

import pytest

from darkrank_jax.config.fields import check_arguments
from darkrank_jax.errors import UserError


def example(
    images,
    *,
    width: int,
    rate: float = 0.1,
    mode: Literal["hard", "soft"] = "hard",
    size: int | None = None,
    span: tuple[float, float] = (0.0, 1.0),
    flag: bool = False,
):
    """Every kind of annotation that a config can meet."""


GOOD = {"width": 3, "rate": 1, "mode": "soft", "size": None, "span": (0.5, 2.0), "flag": True}


def test_accepts_every_kind_of_value():
    check_arguments(example, GOOD, "model", given=["images"])


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"widht": 3}, "model.widht: unknown field; did you mean 'width'?"),
        ({"width": 3.5}, "model.width: must be int (got 3.5 (float))"),
        ({"width": True}, "model.width: must be int (got True (bool))"),
        ({"rate": "fast"}, "model.rate: must be float (got 'fast' (str))"),
        ({"mode": "sotf"}, "model.mode: must be 'hard' or 'soft' (got 'sotf' (str))"),
        ({"size": 1.5}, "model.size: must be int or None (got 1.5 (float))"),
        ({"span": 3}, "model.span: must be tuple (got 3 (int))"),
        ({"flag": 1}, "model.flag: must be bool (got 1 (int))"),
        ({"images": 1}, "model.images: unknown field; valid: flag, mode, rate, size, span, width"),
    ],
)
def test_refuses_in_one_line(change, line):
    with pytest.raises(UserError) as refusal:
        check_arguments(example, GOOD | change, "model", given=["images"])
    assert str(refusal.value) == line


def test_names_what_is_missing():
    with pytest.raises(UserError, match=r"^model\.width: must be int \(got nothing\)$"):
        check_arguments(example, {}, "model", given=["images"])
