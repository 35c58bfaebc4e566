"""Plackett-Luce distributions over the orders of a list: a student's scores against a teacher's.

The distribution draws the first of a list by the softmax of the scores, the next by the softmax
over what remains, and so on, so every loss here is a sum over the choices made along an order.
Choices are computed within the set they are made from, which keeps them exact however far scores
are apart.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from darkrank_jax.losses.internals.checks import (
    check_arrays,
    check_choice,
    check_flags,
    check_given,
    check_whole,
)
from darkrank_jax.losses.internals.devices import on_any_mesh
from darkrank_jax.losses.internals.sorting import argsort
from darkrank_jax.losses.pairwise import nan_if, upcast
from darkrank_jax.losses.reductions import ReduceFn, apply_reduction, mean

MAX_EXACT = 16
# Score of an item that is not there: never chosen before the others, and finite, since the
# difference of two infinities is NaN.
_ABSENT = -1e30


@on_any_mesh
def listmle_loss(
    student_scores: jax.Array,
    teacher_scores: jax.Array,
    *,
    top_k: int | None = None,
    position_weights: jax.Array | None = None,
    where: jax.Array | None = None,
    weights: jax.Array | None = None,
    reduce_fn: ReduceFn = mean,
) -> jax.Array:
    """Hard transfer: how unlikely the student finds the teacher's order.

    -log P_student(order) = sum_k w_k [logsumexp_{j >= k} s_j - s_k], order by falling teacher score

    Args:
      student_scores: [..., list], floating, above -1e30: -inf gives NaN, so leave items out by
        `where`.
      teacher_scores: [..., list], integer or floating, above -1e30: relevance grades serve as
        well. Equal scores keep the order of the list.
      top_k: how many first positions count; None: all.
      position_weights: [list], w_k of each position, such as discounts; None: 1.
      where: bool [..., list], items that count, for lists of unequal length; None: all.
      weights: floating [...], not negative, one for each list; None: 1.
      reduce_fn: reduces one value for each list, see `reductions`.

    Returns:
      Scalar, not negative.

    Raises:
      TypeError: scores or `where` of another kind.
      ValueError: shapes that disagree, `top_k` below 1.

    Example:
      >>> scores = jnp.array([[3.0, 1.0, 2.0]])
      >>> round(float(listmle_loss(scores, jnp.array([[9.0, 0.0, 5.0]]))), 4)
      0.7209

    Source: Xia et al., Listwise approach to learning to rank, ICML 2008; DarkRank (Chen et al.,
    AAAI 2018).
    """
    student, teacher, valid = _lists(student_scores, teacher_scores, where, weights)
    discounts = weights_of_positions(student, top_k, position_weights)
    order = argsort(-teacher)
    student, valid = (jnp.take_along_axis(array, order, axis=-1) for array in (student, valid))
    return nan_if(jnp.isnan(teacher), order_nll(student, valid, discounts, weights, reduce_fn))


@on_any_mesh
def permutation_kl_loss(
    student_scores: jax.Array,
    teacher_scores: jax.Array,
    *,
    method: str = "exact",
    num_samples: int = 8,
    key: jax.Array | None = None,
    top_k: int | None = None,
    position_weights: jax.Array | None = None,
    cross_entropy: bool = False,
    where: jax.Array | None = None,
    weights: jax.Array | None = None,
    reduce_fn: ReduceFn = mean,
) -> jax.Array:
    """Soft transfer: divergence of the student's distribution over permutations from the teacher's.

    KL(P_teacher || P_student) = sum_R q(R) KL(teacher's choice in R || student's choice in R)

    where q(R) is the teacher's probability that the set R ever remains. Every term is at least
    0, so nothing cancels. No permutation is enumerated: "exact" finds q by dynamic programming
    over subsets, list * 2^list instead of list! * list steps; "sampled" draws orders from the
    teacher and takes the sets along them, list * log(list) steps, unbiased in value and gradient;
    "top_one" keeps the first choice alone, a lower bound.

    Args:
      student_scores: [..., list], floating, above -1e30: -inf gives NaN, so leave items out by
        `where`.
      teacher_scores: [..., list], floating, above -1e30.
      method: "exact" (lists of up to 16), "sampled" or "top_one".
      num_samples: orders drawn for each list by "sampled".
      key: random key, needed by "sampled" alone.
      top_k: how many first choices count; None: all.
      position_weights: [list], weight of the choice at each position; None: 1.
      cross_entropy: leaves out the teacher's entropy, which has no gradient in the student.
      where: bool [..., list], items that count, for lists of unequal length; None: all.
      weights: floating [...], not negative, one for each list; None: 1.
      reduce_fn: reduces one value for each list, see `reductions`.

    Returns:
      Scalar, not negative; 0 when both distributions are the same.

    Raises:
      TypeError: scores or `where` of another kind.
      ValueError: shapes that disagree, an unknown method, no key, a list too long for "exact".

    Example:
      >>> teacher = jnp.array([[3.0, 1.0, 2.0]])
      >>> print(permutation_kl_loss(teacher, teacher))
      0.0
      >>> round(float(permutation_kl_loss(-teacher, teacher)), 4)
      1.8722

    Source: DarkRank (Chen et al., AAAI 2018); the sum over sets is the chain rule of KL.
    """
    check_choice("method", method, _DIVERGENCES)
    check_whole("num_samples", num_samples, 1)
    check_flags(cross_entropy=cross_entropy)
    student, teacher, valid = _lists(student_scores, teacher_scores, where, weights)
    discounts = weights_of_positions(student, top_k, position_weights)
    values = _DIVERGENCES[method](
        student, teacher, valid, discounts, cross_entropy=cross_entropy, num_samples=num_samples,
        key=key, depth=top_k,
    )  # fmt: skip
    return apply_reduction(reduce_fn, values, valid.any(-1), weights)


def order_nll(
    scores: jax.Array,
    valid: jax.Array,
    discounts: jax.Array,
    weights: jax.Array | None,
    reduce_fn: ReduceFn,
) -> jax.Array:
    """ListMLE of scores [..., list] that are in the wanted order, absent items last."""
    scores = jnp.where(valid, scores, _ABSENT)
    top, log_sum, _ = _suffixes(scores, None)
    terms = (top - scores) + log_sum
    values = (jnp.where(valid, terms, 0) * discounts).sum(-1)
    return apply_reduction(reduce_fn, values, valid.any(-1), weights)


def _lists(
    student: jax.Array, teacher: jax.Array, where: jax.Array | None, weights: jax.Array | None
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Checked scores, absent items at the bottom, and the mask of the items that are there."""
    check_arrays(
        student_scores=(student, "float", "... list"),
        teacher_scores=(teacher, "real", "... list"),
        where=(where, "bool", "... list"),
        weights=(weights, "float", "..."),
    )
    valid = jnp.ones(student.shape, bool) if where is None else where
    teacher = jax.lax.stop_gradient(upcast(teacher))
    student = upcast(student)
    return jnp.where(valid, student, _ABSENT), jnp.where(valid, teacher, _ABSENT), valid


def weights_of_positions(
    scores: jax.Array, top_k: int | None, position_weights: jax.Array | None
) -> jax.Array:
    """The weight of every position, with the axes of `scores`."""
    check_whole("top_k", 1 if top_k is None else top_k, 1)
    check_arrays(
        scores=(scores[(0,) * (scores.ndim - 1)], "float", "list"),
        position_weights=(position_weights, "real", "list"),
    )
    size = scores.shape[-1]
    counted = np.arange(size) < (size if top_k is None else top_k)
    weights = jnp.asarray(counted, scores.dtype)
    if position_weights is not None:
        weights = weights * jax.lax.stop_gradient(upcast(position_weights)).astype(scores.dtype)
    return weights.reshape([1] * (scores.ndim - 1) + [size])


def _exact(student, teacher, valid, discounts, *, cross_entropy, depth, **_) -> jax.Array:
    """Expected divergence of the choices, over all sets that can remain."""
    *leading, size = student.shape
    _check_exact(size, student.size // max(size, 1))
    # Lists go last: the gathers below then move whole rows.
    student, teacher = (scores.reshape(-1, size).T[None] for scores in (student, teacher))
    reach = jnp.ones([1, student.shape[-1]], student.dtype)
    values = jnp.zeros(student.shape[-1:], student.dtype)
    for position, (members, parents) in enumerate(_levels(size)[:depth]):
        choice, divergence = _choice(student, teacher, members, cross_entropy, axis=1)
        values += discounts.reshape(-1)[position] * (reach * divergence).sum(0)
        flow = (reach[:, None] * choice).reshape(-1, student.shape[-1])
        reach = flow[parents].sum(1)
    return values.reshape(leading)


def _sampled(
    student, teacher, valid, discounts, *, cross_entropy, num_samples, key, **_
) -> jax.Array:
    """Mean divergence of the choices, over the sets that remain along orders of the teacher."""
    check_given("key", key, 'method is "sampled"')
    noise = jax.random.gumbel(key, (num_samples, *teacher.shape), teacher.dtype)
    order = argsort(-(teacher[None] + noise))
    student, teacher, valid = (
        jnp.take_along_axis(jnp.broadcast_to(array, order.shape), order, axis=-1)
        for array in (student[None], teacher[None], valid[None])
    )
    student_top, student_log_sum, _ = _suffixes(student, None)
    gap = -student if cross_entropy else teacher - student
    teacher_top, teacher_log_sum, mean_gap = _suffixes(teacher, gap)
    assert mean_gap is not None
    terms = mean_gap + student_top + student_log_sum
    if not cross_entropy:
        terms = mean_gap + (student_top - teacher_top) + (student_log_sum - teacher_log_sum)
    return (jnp.where(valid, terms, 0) * discounts[None]).sum(-1).mean(0)


def _top_one(student, teacher, valid, discounts, *, cross_entropy, **_) -> jax.Array:
    """Divergence of the first choice."""
    return discounts[..., 0] * _choice(student, teacher, valid, cross_entropy, axis=-1)[1]


_DIVERGENCES = {"exact": _exact, "sampled": _sampled, "top_one": _top_one}


def _choice(student, teacher, members, cross_entropy, axis) -> tuple[jax.Array, jax.Array]:
    """The teacher's choice among the members of a set, and the student's divergence from it."""
    log_teacher, log_student = (
        jax.nn.log_softmax(jnp.where(members, scores, _ABSENT), axis=axis)
        for scores in (teacher, student)
    )
    choice = jnp.exp(log_teacher)
    gap = -log_student if cross_entropy else log_teacher - log_student
    return choice, jnp.where(members, choice * gap, 0).sum(axis)


def _suffixes(
    scores: jax.Array, values: jax.Array | None
) -> tuple[jax.Array, jax.Array, jax.Array | None]:
    """Of the items from each position on: largest score, log-sum over it, softmax mean of values.

    The largest score carries no gradient: what it would pass is in the sum already.
    """
    # The list goes first: its positions then are whole rows.
    scores = jnp.moveaxis(scores, -1, 0)
    top = jax.lax.stop_gradient(scores)
    share = jnp.exp(scores - top)
    leaves = (top, share) if values is None else (top, share, share * jnp.moveaxis(values, -1, 0))
    # In turn is the least work; an accelerator would wait for each step.
    sums = jax.lax.platform_dependent(leaves, cpu=_suffixes_in_turn, default=_suffixes_in_parallel)
    top, share, *weighted = (jnp.moveaxis(array, 0, -1) for array in sums)
    return top, jnp.log(share), weighted[0] / share if weighted else None


def _suffixes_in_turn(leaves: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
    """Joins every position with all that follow, the last first."""

    def step(later, own):
        joined = _join(later, own)
        return joined, joined

    nothing = (jnp.full_like(leaves[0][0], _ABSENT), *(jnp.zeros_like(x[0]) for x in leaves[1:]))
    return jax.lax.scan(step, nothing, leaves, reverse=True)[1]


def _suffixes_in_parallel(leaves: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
    """The same in log(list) steps."""
    return tuple(jax.lax.associative_scan(_join, leaves, reverse=True))


def _join(later: tuple[jax.Array, ...], own: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
    """The largest score of two sets of items, and their sums over it."""
    largest = jnp.maximum(later[0], own[0])
    shrink_later, shrink_own = jnp.exp(later[0] - largest), jnp.exp(own[0] - largest)
    sums = zip(later[1:], own[1:], strict=True)
    return (largest, *(a * shrink_later + b * shrink_own for a, b in sums))


@functools.cache
def _levels(size: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Subsets of a list, by falling size down to 2, as two tables of constants.

    Members: bool [sets, size, 1]. Parents: integer [sets of the next level, ways], the indices
    into (set, item) of this level: the set that remains, and the item chosen from it.
    """
    subsets = np.arange(2**size)
    member = (subsets[:, None] >> np.arange(size)) & 1 == 1
    count = member.sum(1)
    place = np.empty(2**size, int)  # of a subset within its level
    for k in range(size + 1):
        place[count == k] = np.arange((count == k).sum())
    levels = []
    for k in range(size, 1, -1):
        below = subsets[count == k - 1]
        item = np.nonzero(~member[below])[1].reshape(len(below), -1)
        parents = place[below[:, None] | (1 << item)] * size + item
        levels.append((member[count == k][:, :, None], parents.astype(np.int32)))
    return levels


def _check_exact(size: int, lists: int) -> None:
    """Refuses lists whose subsets would not fit into memory."""
    gib = lists * size * 2**size * 4 / 2**30
    if size > MAX_EXACT:
        raise ValueError(
            f'student_scores: got lists of {size}, expected at most {MAX_EXACT} for method "exact"'
            f' (these would need {gib:,.0f} GiB); take a shorter list or method "sampled"'
        )
