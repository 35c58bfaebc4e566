"""Every field of a run, once, with its unit and meaning. A run's own file changes what differs."""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()

    # Random numbers: parameters, batches, augmentation and sampled losses all follow from it.
    config.seed = 0

    # The network: a name of darkrank_jax.models.MODELS and its options.
    config.model = ConfigDict(
        {
            "name": "resnet18",
            "width": 64,  # channels of the first stage
            "stem": "imagenet",  # how images enter; see darkrank_jax/models/resnet.py
            "pooling": "average",  # "average", "max" or "gem"
            "embedding_dim": 128,  # numbers an image becomes
            "normalize": True,  # embeddings of length 1
            "dtype": "float32",  # of the computation, or "bfloat16"; parameters are float32
        }
    )

    # Images, and how a batch is made of them.
    config.data = ConfigDict(
        {
            "source": "glyphs",  # a name of darkrank_jax.data.SOURCES
            "path": "",  # where the source's files lie; empty: environment's DARKRANK_DATA
            "options": ConfigDict(),  # keyword arguments of the source
            "image_size": 32,  # pixels of a square, or (height, width)
            "mean": 0.5,  # brightness (0 to 1) that becomes 0, or that of each channel
            "std": 0.5,  # brightness above the mean that becomes 1, or that of each channel
            "batch_size": 128,  # images of a batch, over all devices
            "images_per_class": 4,  # of a batch; batch_size / images_per_class classes
            # Which images make a batch: a name of darkrank_jax.data.SAMPLERS and its options.
            "sampler": ConfigDict({"name": "p_x_k"}),
            # Name in darkrank_jax.data.CROPS (one at most, it comes first) or AUGMENTATIONS (in the
            # order of that table) -> its arguments.
            "augmentation": ConfigDict(),
            "num_threads": 2,  # that prepare batches
        }
    )

    # Name in darkrank_jax.losses.LOSSES -> its arguments, and its weight in the sum: a number, or
    # a schedule {"name": "cosine", "value": 1.0, ...} with a name of SCHEDULES.
    config.losses = ConfigDict()

    # Empty, or a whole config like this one: the network that this one learns from.
    config.teacher = ConfigDict()
    # For a teacher: workdir of its finished run. Empty: train it first, under WORKDIR/teacher.
    config.checkpoint = ""
    # Losses of the same network trained alone, under WORKDIR/baseline, to compare with.
    config.baseline = ConfigDict()

    config.steps = 1000  # batches to train on
    # A name of darkrank_jax.training.optimizers.OPTIMIZERS and its options.
    config.optimizer = ConfigDict({"name": "adamw", "weight_decay": 1e-4})
    config.learning_rate = 1e-3  # the schedule's peak
    # A name of darkrank_jax.training.optimizers.SCHEDULES and its options.
    config.schedule = ConfigDict({"name": "cosine", "warmup_steps": 50})
    config.clip_norm = 0.0  # largest norm of the whole gradient; 0: no clipping
    config.ema_decay = 0.0  # of averaged parameters, which are then evaluated; 0: none are kept

    config.log_every = 20  # steps between rows of metrics.jsonl
    config.eval_every = 500  # steps between validations, each with a checkpoint
    config.keep_checkpoints = 2  # latest ones, beside the best by validation
    # What training takes on the machine its author timed it on; 0: unknown. A slower one says so.
    config.expected_minutes = 0.0

    return config.lock()
