"""Losses are tried on the shapes of a run before it starts."""

import jax
import numpy as np
import pytest

from darkrank_jax.config.reader import read_run
from darkrank_jax.errors import UserError
from darkrank_jax.losses import LOSSES
from darkrank_jax.runs.loss_checks import check_learns_alone
from darkrank_jax.runs.preflight import check_sizes
from darkrank_jax.runs.splits import Splits
from tests.runs.tried_configs import config, refusal

RANKS = {"weight": 1.0, "alpha": 3.0, "beta": 2.0}


def test_lists_longer_than_the_other_images_are_refused_whatever_the_chunks():
    lists = {"darkrank_soft": RANKS | {"list_size": 8}}
    for chunks in (1, 4):
        assert refusal(config(lists, teacher=True, chunks=chunks)) == (
            "losses.darkrank_soft.list_size: must be at most 7, the other images of a batch of 8 "
            "(got 8)"
        )
    lists["darkrank_soft"]["list_size"] = 7
    check_sizes(read_run(config(lists, teacher=True, chunks=4).to_dict()), Splits())


def learns_alone(name, **options):
    shapes = {"embeddings": jax.ShapeDtypeStruct((8, 5), np.float32)}
    check_learns_alone(name, options, shapes, f"losses.{name}", "data.images_per_class")


@pytest.mark.parametrize("name", ["triplet", "supcon", "lmnn", "n_pairs", "smooth_ap"])
def test_losses_of_positives_need_two_images_of_a_class(name):
    with pytest.raises(UserError, match=rf"^losses\.{name}: learns from images of the same class"):
        learns_alone(name)


def test_losses_that_push_or_hold_class_weights_learn_from_one_image_of_a_class():
    learns_alone("contrastive")
    assert "class_weights" in LOSSES["arcface"].inputs
    learns_alone("arcface")
