"""Protocols of a run's evaluation, beside the functions that they call and slow loops."""

import itertools

import numpy as np
import pytest

from darkrank_jax.errors import UserError
from darkrank_jax.evaluation import (
    expand_queries,
    reid_metrics,
    rerank,
    retrieval_metrics,
    single_shot_cmc,
    verification_metrics,
)
from darkrank_jax.evaluation.distances import distance_matrix
from darkrank_jax.evaluation.protocols import (
    OF_GALLERIES,
    PROTOCOLS,
    Embedded,
    across_cameras,
    prefixes,
    query_expansion,
    reranking,
    single_shot,
    verification,
)
from darkrank_jax.evaluation.reid import reid_means, reid_values_of_distances


@pytest.fixture
def images():
    """Seven people by three cameras, one camera unknown here and there; a third are queries."""
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 7, 60)
    embeddings = rng.normal(size=(7, 9))[labels] + 0.8 * rng.normal(size=(60, 9))
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    cameras = rng.integers(-1, 3, 60)
    return Embedded(embeddings.astype(np.float32), labels, cameras, np.arange(60) % 3 == 1)


def parts(images):
    own = images.queries
    cameras = np.full(60, -1) if images.cameras is None else images.cameras
    people = {
        "query_ids": images.labels[own],
        "gallery_ids": images.labels[~own],
        "query_cameras": cameras[own],
        "gallery_cameras": cameras[~own],
    }
    return images.embeddings[own], images.embeddings[~own], people


@pytest.mark.parametrize("known", [True, False])
def test_reranking_and_single_shot_search_the_gallery_alone(images, known):
    images = images if known else images._replace(cameras=None)
    queries, gallery, people = parts(images)
    distances = rerank(queries, gallery, k1=7, k2=3, weight=0.4)
    expected = reid_means(reid_values_of_distances(distances, **people))
    assert reranking(images, k1=7, k2=3, weight=0.4) == expected
    expected = single_shot_cmc(distance_matrix(queries, gallery), **people)
    assert single_shot(images) == expected


def test_query_expansion_searches_with_moved_queries(images):
    queries, gallery, people = parts(images)
    moved = expand_queries(queries, gallery, k=4, alpha=2.0)
    assert query_expansion(images, k=4, alpha=2.0) == pytest.approx(
        reid_metrics(moved, gallery, **people), abs=1e-6
    )


@pytest.mark.parametrize("name", [*OF_GALLERIES, "across_cameras"])
def test_distractors_are_gallery_images_of_people_whom_no_query_shows(images, name):
    protocol = PROTOCOLS.get(name, across_cameras)
    further = np.random.default_rng(8).normal(size=(5, 9)).astype(np.float32)
    further /= np.linalg.norm(further, axis=1, keepdims=True)
    # The same set, written out: five more images, each of a person and a camera of its own.
    written_out = Embedded(
        np.concatenate([images.embeddings, further]),
        np.append(images.labels, 100 + np.arange(5)),
        np.append(images.cameras, 100 + np.arange(5)),
        np.append(images.queries, np.zeros(5, bool)),
    )
    found = protocol(images._replace(distractors=further))
    assert found.pop("distractors") == 5
    assert found == pytest.approx(protocol(written_out), abs=1e-6)
    assert "distractors" not in protocol(images)


def test_a_distractor_on_each_query_leaves_no_first_match(images):
    copies = images.embeddings[images.queries]
    assert across_cameras(images)["cmc_at_1"] > 0
    assert across_cameras(images._replace(distractors=copies))["cmc_at_1"] == 0


def test_distractors_need_a_gallery(images):
    some = images._replace(queries=None, distractors=images.embeddings[:3])
    with pytest.raises(UserError, match="across_cameras: needs images that are marked"):
        across_cameras(some)


def test_verification_of_many_pairs_is_near_that_of_all(images):
    found = verification(images, num_pairs=200_000, false_accept_rates=(0.05,))
    rows = np.array(list(itertools.combinations(range(60), 2)))
    cosines = np.sum(images.embeddings[rows[:, 0]] * images.embeddings[rows[:, 1]], axis=1)
    same = images.labels[rows[:, 0]] == images.labels[rows[:, 1]]
    # Anchors are drawn alike, so that a pair of one class counts by 1 / (size - 1).
    sizes = np.bincount(images.labels)[images.labels[rows[:, 0]]]
    negative = cosines[~same]
    chance = [np.mean(cosine > negative) for cosine in cosines[same]]
    auc = np.average(chance, weights=1 / (sizes[same] - 1))
    assert found["roc_auc"] == pytest.approx(auc, abs=0.01)
    assert set(found) == {"roc_auc", "equal_error_rate", "tar_at_far_0.05"}
    assert verification(images, num_pairs=200_000, false_accept_rates=(0.05,)) == found


def test_verification_pairs_are_of_one_class_and_of_two(images, monkeypatch):
    seen = []

    def record(cosines, same, **options):
        seen.append(same)
        return verification_metrics(cosines, same, **options)

    monkeypatch.setattr("darkrank_jax.evaluation.protocols.verification_metrics", record)
    verification(images, num_pairs=700)
    assert seen[0].tolist() == [True] * 700 + [False] * 700


@pytest.mark.parametrize("name", OF_GALLERIES)
def test_a_set_without_queries_is_refused(images, name):
    with pytest.raises(UserError, match=f"^{name}: needs images that are marked as queries"):
        PROTOCOLS[name](images._replace(queries=None))


@pytest.mark.parametrize("with_queries", [True, False])
def test_prefixes_are_measured_as_embeddings_of_their_own(images, with_queries):
    images = images if with_queries else images._replace(queries=None)
    found = prefixes(images, sizes=(9, 4))
    assert set(found) == {f"{m}_of_{s}" for m in ("recall_at_1", "map_at_r") for s in (9, 4)}
    short = images.embeddings[:, :4] / np.linalg.norm(images.embeddings[:, :4], axis=1)[:, None]
    own = images.queries
    if with_queries:
        gallery = {"gallery": short[~own], "gallery_labels": images.labels[~own]}
        expected = retrieval_metrics(short[own], images.labels[own], **gallery)
    else:
        expected = retrieval_metrics(short, images.labels)
    assert found["map_at_r_of_4"] == pytest.approx(expected["map_at_r"], abs=1e-6)
    assert found["map_at_r_of_4"] != found["map_at_r_of_9"]


@pytest.mark.parametrize("size", [0, 10, 2.0])
def test_a_prefix_that_no_embedding_has_is_refused(images, size):
    with pytest.raises(UserError, match=r"^prefixes.sizes: must be from 1 to 9 \(got"):
        prefixes(images, sizes=(3, size))


@pytest.mark.parametrize("labels", [np.arange(60), np.zeros(60, int)])
def test_labels_without_both_kinds_of_pairs_are_refused(images, labels):
    with pytest.raises(UserError, match=r"^labels: must be of at least two classes"):
        verification(images._replace(labels=labels))
