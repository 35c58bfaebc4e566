"""Losses are tried on the shapes of a run before it starts."""

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from darkrank_jax.config.reader import read_run
from darkrank_jax.errors import UserError
from darkrank_jax.losses import LOSSES
from darkrank_jax.runs.loss_checks import check_learns_alone
from darkrank_jax.runs.preflight import check_sizes
from darkrank_jax.runs.splits import Splits
from tests import tiny_config
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


def test_a_side_of_a_norm_that_is_not_there_or_is_unknown_is_refused():
    def triplets(side, *, norm, field="losses", **more):
        entry = {"triplet": {"weight": 1.0, "embeddings": side}, **more}
        found = config({"supcon": {"weight": 1.0}})
        found[field].update(entry)
        found.model.head_batch_norm = norm
        return found

    for field in ("losses", "baseline"):
        assert refusal(triplets("before_norm", norm=False, field=field)) == (
            f"{field}.triplet.embeddings: must be left out without a batch norm in the head (got "
            "'before_norm'); set model.head_batch_norm to True"
        )
    assert refusal(triplets("befor_norm", norm=True)).startswith(
        "losses.triplet.embeddings: must be before_norm or after_norm (got 'befor_norm'); leave it"
    )
    kd = {"fitnet": {"weight": 1.0, "embeddings": "after_norm"}}
    taught = triplets("after_norm", norm=True, **kd)
    taught.teacher = tiny_config.small()
    taught.teacher.losses = ConfigDict({"triplet": {"weight": 1.0}})
    assert "fitnet takes no embeddings of a student's" in refusal(taught)
    check_sizes(read_run(triplets("after_norm", norm=True).to_dict()), Splits())


def test_a_loss_before_the_norm_is_tried_on_one_image_of_a_class_too():
    with pytest.raises(UserError, match=r"^losses\.triplet: learns from images of the same class"):
        learns_alone("triplet", embeddings="before_norm")
