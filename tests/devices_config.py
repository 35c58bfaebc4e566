"""20 steps, each of them logged, that tell devices and processes apart if they differ at all."""

from ml_collections import ConfigDict

from tests import tiny_config


def get_config() -> ConfigDict:
    config = tiny_config.small()
    # Compiles fast, and has one batch norm, which must be that of the whole batch.
    config.model = ConfigDict(
        {
            "name": "vit_s16",
            "width": 64,
            "depth": 1,
            "patch": 8,
            "tokens": "patch",
            "embedding_dim": 8,
            "head_batch_norm": True,
            "dtype": "float32",
        }
    )
    config.losses = ConfigDict(
        {
            "normalized_softmax": {"weight": 1.0, "temperature": 0.1},
            "darkrank_soft": {"weight": 0.1, "list_size": 6, "method": "sampled", "num_samples": 2},
        }
    )
    config.data.batch_size = 16
    # The default divides by the size of the gradient, which makes much of its rounding.
    config.optimizer = ConfigDict({"name": "sgd"})
    config.learning_rate = 0.01
    config.steps, config.eval_every, config.log_every = 20, 20, 1
    config.teacher = tiny_config.small()
    config.teacher.embeddings = "given on the command line"
    return config.lock()
