"""DarkRank: every image of a batch ranks the others, and the student copies the teacher's ranks."""

import jax
import jax.numpy as jnp
from jax.core import Tracer

from darkrank_jax.losses.internals.checks import (
    check_arrays,
    check_choice,
    check_positive,
    check_whole,
)
from darkrank_jax.losses.internals.devices import on_any_mesh
from darkrank_jax.losses.internals.sorting import argsort
from darkrank_jax.losses.masks import anchor_weights, other_mask, valid_rows
from darkrank_jax.losses.pairwise import (
    distances,
    nan_if,
    safe_divide,
    safe_sqrt,
    zero_rows,
)
from darkrank_jax.losses.ranking import order_nll, permutation_kl_loss, weights_of_positions
from darkrank_jax.losses.reductions import ReduceFn, mean

# Lists of up to this length are found without a sort.
_ROUNDS = 8


@on_any_mesh
def darkrank_hard_loss(
    student_embeddings: jax.Array,
    teacher_embeddings: jax.Array,
    *,
    alpha: float = 3.0,
    beta: float = 3.0,
    list_size: int | None = 4,
    list_selection: str = "nearest",
    calibration: str = "none",
    num_anchors: int | None = None,
    top_k: int | None = None,
    position_weights: jax.Array | None = None,
    key: jax.Array | None = None,
    where: jax.Array | None = None,
    weights: jax.Array | None = None,
    reduce_fn: ReduceFn = mean,
) -> jax.Array:
    """Hard transfer: the student makes the teacher's ranking of the batch likely.

    -log P_student(teacher's order of the list), Plackett-Luce with scores
    S(query, x) = -alpha ||query - x||^beta, mean over queries

    Every image is a query; its list is drawn from the other images of the batch, itself never in
    it. The gradient reaches query and list. Cost: batch^2 distances, list * log(list) for each
    query. The defaults are the paper's; docs/losses.md says what to start with.

    Args:
      student_embeddings: [batch, dim], floating, used as given.
      teacher_embeddings: [batch, teacher_dim], floating; no gradient.
      alpha: sharpness of the distribution, positive.
      beta: power of the distance, positive.
      list_size: images in each list, the paper's 4 by default; None, or more than there are: all
        others.
      list_selection: "nearest" by the teacher, as in the paper, or "stratified": at even ranks of
        the teacher's whole order, at random within each stratum when there is a key.
      calibration: "none": distances as they are, as in the paper; "mean": over their mean in the
        batch, student and teacher apart, so that one alpha suits every network.
      num_anchors: how many first rows are queries, lists still come from the whole batch;
        None: all.
      top_k: how many first positions of a list count; None: all.
      position_weights: [list], weight of each position, such as discounts; None: 1.
      key: random key for "stratified".
      where: bool [batch], rows that count; None: all.
      weights: floating [batch], not negative, one for each row as a query; None: 1.
      reduce_fn: reduces one value for each query, see `reductions`.

    Returns:
      Scalar, not negative.

    Raises:
      TypeError: an array of another kind.
      ValueError: shapes that disagree, a number out of range, an unknown selection or calibration.

    Example:
      >>> from darkrank_jax.losses import normalize
      >>> student = normalize(jnp.array([[1.0, 0.0], [1.0, 0.4], [0.1, 1.0], [-1.0, 0.2]]))
      >>> teacher = normalize(jnp.array([[1.0, 0.1], [0.9, 0.9], [0.0, 1.0], [-1.0, 0.7]]))
      >>> loss = darkrank_hard_loss(student, teacher, alpha=3.0, beta=2.0, list_size=None)
      >>> round(float(loss), 4)
      0.3323

    Source: DarkRank (Chen et al., AAAI 2018). In the official code only half of the batch are
    queries, and no gradient reaches them.
    """
    student, teacher, valid = _ranked_lists(
        student_embeddings, teacher_embeddings, alpha=alpha, beta=beta, list_size=list_size,
        list_selection=list_selection, calibration=calibration, num_anchors=num_anchors,
        key=key, where=where, weights=weights,
    )  # fmt: skip
    # The lists are in the teacher's order already.
    discounts = weights_of_positions(student, top_k, position_weights)
    weights = anchor_weights(weights, num_anchors)
    return nan_if(jnp.isnan(teacher), order_nll(student, valid, discounts, weights, reduce_fn))


@on_any_mesh
def darkrank_soft_loss(
    student_embeddings: jax.Array,
    teacher_embeddings: jax.Array,
    *,
    alpha: float = 3.0,
    beta: float = 3.0,
    list_size: int | None = 4,
    method: str = "exact",
    num_samples: int = 8,
    list_selection: str = "nearest",
    calibration: str = "none",
    num_anchors: int | None = None,
    top_k: int | None = None,
    position_weights: jax.Array | None = None,
    cross_entropy: bool = False,
    key: jax.Array | None = None,
    where: jax.Array | None = None,
    weights: jax.Array | None = None,
    reduce_fn: ReduceFn = mean,
) -> jax.Array:
    """Soft transfer: the student copies the teacher's probability of every ranking of the list.

    KL(P_teacher || P_student) over the permutations of the list, Plackett-Luce with scores
    S(query, x) = -alpha ||query - x||^beta, mean over queries

    Lists and scores are those of `darkrank_hard_loss`, methods those of `permutation_kl_loss`.
    Cost: batch^2 distances, then for each query list * 2^list ("exact") or num_samples * list *
    log(list) ("sampled"). The defaults are the paper's; docs/losses.md says what to start with.

    Args:
      student_embeddings: [batch, dim], floating, used as given.
      teacher_embeddings: [batch, teacher_dim], floating; no gradient.
      alpha: sharpness of the distribution, positive.
      beta: power of the distance, positive.
      list_size: images in each list, the paper's 4 by default; None, or more than there are: all
        others.
      method: "exact" (lists of up to 16), "sampled" (any length) or "top_one" (a lower bound).
      num_samples: orders drawn for each list by "sampled".
      list_selection: "nearest" by the teacher, as in the paper, or "stratified": at even ranks of
        the teacher's whole order, at random within each stratum when there is a key.
      calibration: "none": distances as they are, as in the paper; "mean": over their mean in the
        batch, student and teacher apart, so that one alpha suits every network.
      num_anchors: how many first rows are queries, lists still come from the whole batch;
        None: all.
      top_k: how many first positions of a list count; None: all.
      position_weights: [list], weight of each position, such as discounts; None: 1.
      cross_entropy: leaves out the teacher's entropy, which has no gradient in the student.
      key: random key for "sampled" and "stratified".
      where: bool [batch], rows that count; None: all.
      weights: floating [batch], not negative, one for each row as a query; None: 1.
      reduce_fn: reduces one value for each query, see `reductions`.

    Returns:
      Scalar, not negative; 0 when both networks rank alike.

    Raises:
      TypeError: an array of another kind.
      ValueError: shapes that disagree, a number out of range, an unknown method, selection or
        calibration, no key for "sampled", a list too long for "exact".

    Example:
      >>> from darkrank_jax.losses import normalize
      >>> student = normalize(jnp.array([[1.0, 0.0], [1.0, 0.4], [0.1, 1.0], [-1.0, 0.2]]))
      >>> teacher = normalize(jnp.array([[1.0, 0.1], [0.9, 0.9], [0.0, 1.0], [-1.0, 0.7]]))
      >>> start = {"alpha": 6.0, "beta": 1.0, "list_size": None}
      >>> round(float(darkrank_soft_loss(student, teacher, **start)), 4)
      0.3756
      >>> key = jax.random.key(0)
      >>> start |= {"method": "sampled", "num_samples": 2}
      >>> round(float(darkrank_soft_loss(student, teacher, **start, key=key)), 4)
      0.4014

    Source: DarkRank (Chen et al., AAAI 2018). `num_anchors=batch // 2, cross_entropy=True`
    gives the value of the official code, where no gradient reaches the query.
    """
    sample_key, list_key = (None, None) if key is None else jax.random.split(key)
    student, teacher, valid = _ranked_lists(
        student_embeddings, teacher_embeddings, alpha=alpha, beta=beta, list_size=list_size,
        list_selection=list_selection, calibration=calibration, num_anchors=num_anchors,
        key=list_key, where=where, weights=weights,
    )  # fmt: skip
    return permutation_kl_loss(
        student, teacher, method=method, num_samples=num_samples, key=sample_key,
        cross_entropy=cross_entropy, top_k=top_k, position_weights=position_weights, where=valid,
        weights=anchor_weights(weights, num_anchors), reduce_fn=reduce_fn,
    )  # fmt: skip


@on_any_mesh
def compatible_ranking_loss(
    student_embeddings: jax.Array,
    teacher_embeddings: jax.Array,
    *,
    alpha: float = 3.0,
    beta: float = 3.0,
    list_size: int | None = 4,
    method: str = "exact",
    num_samples: int = 8,
    key: jax.Array | None = None,
    where: jax.Array | None = None,
    weights: jax.Array | None = None,
    reduce_fn: ReduceFn = mean,
) -> jax.Array:
    """The student's queries rank the teacher's gallery as the teacher's own do.

    KL(P_teacher || P_student) over the permutations of the list, Plackett-Luce with scores
    S(query, x) = -alpha ||query - x||^beta, where x is the teacher's embedding for both, and the
    query is the student's own for the student; mean over queries

    For a student whose queries go on searching an index that the teacher filled, beside
    `embedding_match`. Lists are those of `darkrank_soft_loss`, nearest by the teacher.

    Args:
      student_embeddings: [batch, dim], floating, used as given.
      teacher_embeddings: [batch, dim], floating; no gradient.
      alpha: sharpness of the distribution, positive.
      beta: power of the distance, positive.
      list_size: images in each list, the paper's 4 by default; None, or more than there are: all
        others.
      method: as `permutation_kl_loss`.
      num_samples: orders drawn for each list by "sampled".
      key: random key for "sampled".
      where: bool [batch], rows that count; None: all.
      weights: floating [batch], not negative, one for each row as a query; None: 1.
      reduce_fn: reduces one value for each query, see `reductions`.

    Returns:
      Scalar, not negative; 0 when the embeddings are the same.

    Raises:
      TypeError: an array of another kind.
      ValueError: shapes that disagree (embeddings of unlike dim share no index), a number out of
        range, an unknown method, no key for "sampled", a list too long for "exact".

    Example:
      >>> teacher = jnp.array([[0.0], [0.4], [1.0], [1.3]])
      >>> start = {"alpha": 6.0, "beta": 1.0, "list_size": None}
      >>> round(float(compatible_ranking_loss(teacher, teacher, **start)), 4)
      0.0
      >>> round(float(compatible_ranking_loss(teacher + 0.2, teacher, **start)), 4)
      0.2416
    """
    student, teacher, valid = _ranked_lists(
        student_embeddings, teacher_embeddings, alpha=alpha, beta=beta, list_size=list_size,
        where=where, weights=weights, in_teachers_gallery=True,
    )  # fmt: skip
    return permutation_kl_loss(
        student, teacher, method=method, num_samples=num_samples, key=key, where=valid,
        weights=weights, reduce_fn=reduce_fn,
    )  # fmt: skip


def _ranked_lists(
    student, teacher, *, alpha, beta, list_size, list_selection="nearest", calibration="none",
    num_anchors=None, key=None, where=None, weights=None, in_teachers_gallery=False,
):  # fmt: skip
    """Student's and teacher's scores of the lists [queries, list], and which items are there."""
    check_arrays(
        student_embeddings=(student, "float", "batch dim"),
        teacher_embeddings=(
            teacher,
            "float",
            "batch dim" if in_teachers_gallery else "batch teacher_dim",
        ),
        where=(where, "bool", "batch"),
        weights=(weights, "float", "batch"),
    )
    check_positive(alpha=alpha, beta=beta)
    check_choice("list_selection", list_selection, _SELECTIONS)
    check_choice("calibration", calibration, _SCALES)
    check_whole("list_size", 1 if list_size is None else list_size, 1)
    batch = student.shape[0]
    check_whole("num_anchors", batch if num_anchors is None else num_anchors, 1, batch)
    rows = valid_rows(batch, where)
    others = other_mask(rows, num_anchors)
    student = zero_rows(student, rows)
    teacher = jax.lax.stop_gradient(zero_rows(teacher, rows))
    lengths = distances(teacher, num_anchors=num_anchors)
    most = max(batch - 1, 1)
    size = most if list_size is None else min(list_size, most)
    chosen = _SELECTIONS[list_selection](jnp.where(others, lengths, jnp.inf), size, key)

    def scores(lengths: jax.Array) -> jax.Array:
        scale = _SCALES[calibration](lengths, others)
        return _scores(jnp.take_along_axis(lengths, chosen, axis=-1), scale, alpha, beta)

    if calibration == "none" and size * student.shape[1] <= 4 * batch:
        # So few pairs of the student's are measured faster one by one than all of them together.
        gallery = teacher if in_teachers_gallery else student
        gaps = student[:num_anchors, None] - gallery[chosen]
        student_scores = _scores(safe_sqrt(jnp.square(gaps).sum(-1)), 1.0, alpha, beta)
    else:
        between = teacher if in_teachers_gallery else None
        student_scores = scores(distances(student, between, num_anchors=num_anchors))
    return student_scores, scores(lengths), jnp.take_along_axis(others, chosen, axis=-1)


def _scores(lengths: jax.Array, scale: jax.Array | float, alpha: float, beta: float) -> jax.Array:
    """-alpha d^beta, for whole powers that are known without a logarithm."""
    traced = isinstance(beta, Tracer)
    power = int(beta) if not traced and float(beta).is_integer() else beta
    zero = lengths <= 0
    # The slope of d^beta at 0 is infinite for beta < 1.
    safe = safe_divide(jnp.where(zero, 1, lengths), jnp.asarray(scale, lengths.dtype))
    return jnp.where(zero, 0, -alpha * safe**power)


def _unit(lengths: jax.Array, others: jax.Array) -> float:
    """Distances as they are."""
    return 1.0


def _mean_distance(lengths: jax.Array, others: jax.Array) -> jax.Array:
    """Mean distance of the pairs that count."""
    return mean(lengths, where=others).reshape(1, 1)


def _nearest(lengths: jax.Array, size: int, key: jax.Array | None) -> jax.Array:
    """Indices [queries, size] of the nearest."""
    # The largest k by a heap is slower than a sort unless k is small.
    if size > lengths.shape[1] // 4:
        return argsort(lengths)[:, :size]
    if size > _ROUNDS:
        return jax.lax.top_k(-lengths, size)[1]
    return _smallest(lengths, size)


def _smallest(lengths: jax.Array, size: int) -> jax.Array:
    """Indices [queries, size] of the smallest, one round each.

    For `top_k`, as fast or faster on one device, XLA copies all rows to each of several.
    """
    absent = jnp.finfo(lengths.dtype).max
    lengths = jnp.where(jnp.isinf(lengths), absent, lengths)
    place = jax.lax.broadcasted_iota(jnp.int32, lengths.shape, 1)
    chosen = []
    for _ in range(size):
        smallest = lengths == lengths.min(1, keepdims=True)
        chosen.append(jnp.where(smallest, place, place.shape[1]).min(1, keepdims=True))
        lengths = jnp.where(place == chosen[-1], jnp.inf, lengths)
    return jnp.concatenate(chosen, axis=1)


def _stratified(lengths: jax.Array, size: int, key: jax.Array | None) -> jax.Array:
    """Indices [queries, size] of one in each of `size` equal parts of the order."""
    order = argsort(lengths)
    count = jnp.isfinite(lengths).sum(-1, keepdims=True)
    shape = (lengths.shape[0], size)
    within = jnp.full(shape, 0.5) if key is None else jax.random.uniform(key, shape)
    part = jnp.arange(size)[None, :]
    spread = ((part + within) * count / size).astype(int)
    # A list that is longer than the order takes all of it; absent items follow.
    return jnp.take_along_axis(order, jnp.where(count > size, spread, part), axis=-1)


_SELECTIONS = {"nearest": _nearest, "stratified": _stratified}
_SCALES = {"none": _unit, "mean": _mean_distance}
