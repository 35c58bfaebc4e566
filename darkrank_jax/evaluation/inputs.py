"""What every metric does first with embeddings and labels: check them, and make them alike."""

import numpy as np
from jaxtyping import Array, Float, Int, Num, Shaped

from darkrank_jax.errors import UserError


def prepare(
    embeddings: Float[np.ndarray, "n dim"] | Float[Array, "n dim"], labels: Int[np.ndarray, " _"]
) -> tuple[Float[np.ndarray, "n dim"], Int[np.ndarray, " n"]]:
    """Moves and scales embeddings into the range where float32 tells distances apart.

    The mean becomes 0 and the largest number 1, which changes no order of distances and no
    clustering; without it, embeddings far from the origin would all seem at the same place.

    Args:
      embeddings: [n, dim], finite, of any precision.
      labels: int [n], any numbers.

    Returns:
      Float32 embeddings, and labels numbered from 0.

    Raises:
      UserError: there is no embedding, one is not finite, or labels are of another length.

    Example:
      >>> embeddings, labels = prepare(np.array([[1e9], [1e9 + 4]]), np.array([7, 3]))
      >>> embeddings.tolist(), labels.tolist()
      ([[-1.0], [1.0]], [1, 0])
    """
    check_lengths(len(embeddings), labels=labels)
    (points,) = alike(embeddings=embeddings)
    return points, np.unique(np.asarray(labels), return_inverse=True)[1]


def alike(
    **sets: Float[np.ndarray, "_ _"] | Float[Array, "_ _"],
) -> list[Float[np.ndarray, "_ _"]]:
    """Moves and scales several sets of embeddings as one, by the mean of the last.

    Args:
      **sets: name -> [any, dim], finite; the name is what an error calls it.

    Returns:
      The sets in float32, the last around 0, with 1 as the largest number of all.

    Raises:
      UserError: a set is empty or not finite, or the sets differ in dimension.

    Example:
      >>> queries, gallery = alike(queries=np.array([[4.0]]), gallery=np.array([[1.0], [3.0]]))
      >>> queries.tolist(), gallery.tolist()
      ([[1.0]], [[-0.5], [0.5]])
    """
    return scaled(**sets)[0]


def scaled(
    **sets: Float[np.ndarray, "_ _"] | Float[Array, "_ _"],
) -> tuple[list[Float[np.ndarray, "_ _"]], float]:
    """The sets as `alike` has them, and the number by which they were divided.

    Example:
      >>> scaled(queries=np.array([[4.0]]), gallery=np.array([[1.0], [3.0]]))[1]
      2.0
    """
    exact = [check_rows(np.asarray(rows, np.float64), name) for name, rows in sets.items()]
    check_dimensions(**{name: rows.shape for name, rows in zip(sets, exact, strict=True)})
    centred = [rows - exact[-1].mean(axis=0) for rows in exact]
    largest = float(max(np.abs(rows).max() for rows in centred)) or 1.0
    return [(rows / largest).astype(np.float32) for rows in centred], largest


def unit(rows: Float[np.ndarray, "n dim"]) -> Float[np.ndarray, "n dim"]:
    """Rows of length one.

    Args:
      rows: [n, dim], finite, not zero, of any size.

    Returns:
      [n, dim].

    Example:
      >>> unit(np.array([[3e-200, 4e-200]])).tolist()
      [[0.6, 0.8]]
    """
    # By a power of 2, which rounds nothing, so that no square vanishes.
    scaled = np.ldexp(rows, -np.frexp(np.abs(rows).max(axis=1, keepdims=True))[1])
    return scaled / np.linalg.norm(scaled, axis=1)[:, None]


def check_rows(rows: Num[np.ndarray, "n dim"], name: str) -> Num[np.ndarray, "n dim"]:
    """Refuses embeddings that cannot be measured.

    Args:
      rows: [n, dim].
      name: what the line calls them.

    Returns:
      The same rows.

    Raises:
      UserError: they are no matrix, there is none, or one holds NaN or infinity.
    """
    check_matrix(**{name: rows.shape})
    if not rows.size:
        raise UserError(f"{name}: must have at least one row (got none)")
    bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if bad.size:
        raise UserError(
            f"{name}: {len(bad)} of {len(rows)} rows hold NaN or infinity, first row "
            f"{bad[0]}; lower the learning rate, or see what makes the network diverge"
        )
    return rows


def check_directions(rows: Num[np.ndarray, "n dim"], name: str) -> None:
    """Refuses zero vectors, which have no direction.

    Args:
      rows: [n, dim].
      name: what the line calls them.

    Raises:
      UserError: a row is zero.
    """
    zero = np.flatnonzero(~rows.any(axis=1))
    if zero.size:
        raise UserError(
            f"{name}: {len(zero)} of {len(rows)} rows are zero and have no direction, first row "
            f"{zero[0]}; leave them out, or measure Euclidean distance"
        )


def check_lengths(count: int, of: str = "embeddings", **columns: Shaped[np.ndarray, " _"]) -> None:
    """Refuses labels, cameras and other arrays that are not one for each embedding.

    Args:
      count: number of embeddings.
      of: what the line calls them.
      **columns: name -> array, one entry for each embedding.

    Raises:
      UserError: a column is of another length, or has more than one axis.
    """
    for name, column in columns.items():
        if np.ndim(column) != 1:
            raise UserError(f"{name}: must have shape [{count}] (got {list(np.shape(column))})")
        if len(column) != count:
            raise UserError(
                f"{name}: must have a value for each of {count} {of} (got {len(column)})"
            )


def check_classes(labels: Int[np.ndarray, " _"]) -> None:
    """Refuses a single class, in which every answer is right.

    Args:
      labels: int [n].

    Raises:
      UserError: there are labels, and all are the same.
    """
    if len(labels) and np.all(np.asarray(labels) == labels[0]):
        raise UserError(
            f"labels: all {len(labels)} embeddings are of one class, so that every answer is "
            "right; give two classes or more"
        )


def check_matrix(**shapes: tuple[int, ...]) -> None:
    """Refuses what is not one row for each image.

    Args:
      **shapes: name -> shape of its array.

    Raises:
      UserError: one has not two axes.
    """
    for name, shape in shapes.items():
        if len(shape) != 2:
            raise UserError(f"{name}: must have a row for each image, [n, dim] (got {list(shape)})")


def check_dimensions(**shapes: tuple[int, ...]) -> None:
    """Refuses sets of embeddings that do not live in one space.

    Args:
      **shapes: name -> shape of its array.

    Raises:
      UserError: one is no matrix, or the last axes differ.
    """
    check_matrix(**shapes)
    if len({shape[-1] for shape in shapes.values()}) > 1:
        listed = ", ".join(f"{name} {shape[-1]}" for name, shape in shapes.items())
        raise UserError(f"dimensions differ ({listed}); give embeddings of one space")
