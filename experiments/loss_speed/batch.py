"""The batch that every row of the table is measured on."""

import numpy as np

DIM, TEACHER_DIM, CLASSES, IMAGES_PER_CLASS = 128, 256, 64, 4


def arrays(batch: int) -> dict[str, np.ndarray]:
    """Random unit embeddings, four images a class."""
    rng = np.random.default_rng(batch)
    embeddings, teacher = (
        rows / np.linalg.norm(rows, axis=1, keepdims=True)
        for rows in (rng.normal(size=(batch, dim)) for dim in (DIM, TEACHER_DIM))
    )
    return {
        "embeddings": embeddings.astype(np.float32),
        "teacher_embeddings": teacher.astype(np.float32),
        "labels": np.arange(batch, dtype=np.int32) // IMAGES_PER_CLASS % CLASSES,
        "class_weights": rng.normal(size=(DIM, CLASSES)).astype(np.float32),
    }
