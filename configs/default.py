"""Every field of a run, with unit and meaning: a run's own file changes what differs."""

from typing import Any

from ml_collections import ConfigDict, FieldReference, config_dict


def whole_lists() -> dict[str, Any]:
    """Soft transfer over whole lists: experiments/omniglot compares it with the paper's of 4."""
    return {
        "weight": 0.04,
        "alpha": 6.0,
        "beta": 1.0,
        # None, which a flag can make a number of; a new one each time, since it holds its value.
        "list_size": config_dict.placeholder(int),
        "method": "sampled",
        "num_samples": 2,
    }


def get_config() -> ConfigDict:
    config = ConfigDict()

    # Random numbers: parameters, batches, augmentation and sampled losses all follow from it.
    config.seed = 0

    # The network: a name of darkrank_jax.models.MODELS and its options. Beside these, each has
    # options of its own, such as "width" and, for a ResNet, "stem": see its file.
    config.model = ConfigDict(
        {
            "name": "resnet18",
            "pooling": "average",  # "average", "max" or "gem"
            "embedding_dim": 128,  # embedding size; 0: the pooled features themselves
            "normalize": True,  # embeddings of length 1
            # Of the computation: "float32", "bfloat16", or "auto", bfloat16 on GPU and TPU and
            # float32 on CPU. Parameters, embeddings and losses are float32.
            "dtype": "auto",
        }
    )

    # Weights to start from, trained elsewhere: see docs/pretrained.md.
    config.weights = ConfigDict(
        {
            "path": "",  # a .safetensors file; empty: parameters are drawn
            "prefix": "",  # of the network's names, where the file holds several; empty: found
            # What the names of other tensors begin with, of a neck, a projector or another copy of
            # the network: ("bottleneck.", "ema.").
            "ignore": (),
            # The file's linear layer that makes the embedding, such as "fc"; empty: one is drawn.
            "head": "",
            # The file's batch norm of the embedding, such as "heads.bottleneck.0", for
            # head_batch_norm; empty: one is drawn.
            "neck": "",
        }
    )

    # Images, and how a batch is made of them.
    config.data = ConfigDict(
        {
            "source": "glyphs",  # a name of darkrank_jax.data.SOURCES
            "path": "",  # where the source's files lie; empty: environment's DARKRANK_DATA
            "options": ConfigDict(),  # keyword arguments of the source
            # Pixels of a square, or a tuple of height and width.
            "image_size": FieldReference(32, field_type=object),
            # Brightness (0 to 1) that becomes 0, and what above it becomes 1: a number, or a tuple
            # with one for each channel.
            "mean": FieldReference(0.5, field_type=object),
            "std": FieldReference(0.5, field_type=object),
            "batch_size": 128,  # images of a batch, over all devices
            "images_per_class": 4,  # of a batch; batch_size / images_per_class classes
            # Which images make a batch: a name of darkrank_jax.data.SAMPLERS and its options.
            "sampler": ConfigDict({"name": "p_x_k"}),
            # Name in darkrank_jax.data.CROPS (one at most, it comes first) or AUGMENTATIONS (in the
            # order of that table) -> its arguments.
            "augmentation": ConfigDict(),
            # Augmented views of an image, in rotation over epochs, the same for every seed; 0: a
            # new one each time.
            "views": 0,
            # Images without labels beside those of the source: {"path": DIR, "share": 0.5} draws
            # this share of each batch from them; "options" are those of the source "unlabelled".
            # Losses against the teacher see the whole batch, the others its labelled part.
            "unlabelled": ConfigDict(),
            "num_threads": 2,  # that prepare batches
            # Processes that prepare them instead, for many cores and a fast accelerator; 0: none.
            "num_workers": 0,
        }
    )

    # Name in darkrank_jax.losses.LOSSES -> its arguments, and its weight in the sum: a number, or
    # a schedule {"name": "cosine", "value": 1.0, ...} with a name of SCHEDULES. "embeddings":
    # "before_norm" or "after_norm" among them is the side of head_batch_norm that the loss sees.
    config.losses = ConfigDict()

    # Empty, or a whole config like this one: the network that this one learns from.
    config.teacher = ConfigDict()
    # Compute what the teacher says of all batches once, keep it beside the teacher, and read it in
    # each step. Worth it where several students share teacher, data and seed. With data.views, what
    # it says of these, once for runs of any length: worth it from K epochs on, for one student too.
    config.store_teacher = False
    # What that is kept in: "float32", or "float16" in half the room, with a relative error of at
    # most 0.05% (2^-11; of numbers under 6e-5 at most 3e-8), refused above 65504.
    config.store_dtype = "float32"
    # For a teacher: workdir of its finished run. Empty: train it first, under WORKDIR/teacher.
    config.checkpoint = ""
    # For a teacher: several that teach as one, name -> a whole config like this one.
    config.ensemble = ConfigDict()
    # What becomes of their embeddings, each of length 1: "concatenation" or "mean".
    config.combine = "concatenation"
    # For a teacher: a file of embeddings computed elsewhere, of the images trained on. An .npz with
    # "ids" (the images' names, or row numbers of the training split) and "vectors" [n, dim], or an
    # .npy with vectors in the order of the training split.
    config.embeddings = ""
    # Losses of the same network trained alone, under WORKDIR/baseline, to compare with.
    config.baseline = ConfigDict()

    config.steps = 1000  # batches to train on; 0, for a teacher with weights: none
    # Instead of steps, which are then 0: an epoch is as many batches as hold the number of images
    # trained on, rounded up at the end, whichever of them the sampler draws.
    config.epochs = 0.0
    # A name of darkrank_jax.optimizers.OPTIMIZERS and its options.
    config.optimizer = ConfigDict({"name": "adamw", "weight_decay": 1e-4})
    config.learning_rate = 1e-3  # the schedule's peak
    # Factors of it for "backbone", "head" (what makes the embedding) and "class_weights". For a
    # backbone of pretrained weights often 0.1; with 0 it stays as it is, its norms' statistics too.
    config.learning_rates = ConfigDict()
    # Factor of it for each block of the backbone from the embedding down, often 0.65 to 0.9; 1: the
    # same for all (darkrank_jax/models/depths.py).
    config.layer_decay = 1.0
    config.freeze_steps = 0  # first steps in which the backbone stays as it is, as with factor 0
    # A name of darkrank_jax.optimizers.SCHEDULES and its options.
    config.schedule = ConfigDict({"name": "cosine", "warmup_steps": 50})
    config.warmup_epochs = 0.0  # instead of the schedule's warmup_steps, which are then 0
    config.clip_norm = 0.0  # largest norm of the whole gradient; 0: no clipping
    config.ema_decay = 0.0  # of averaged parameters, which are then evaluated; 0: none are kept

    # Each image is mixed with another of the batch by a share of the distribution Beta(m, m), and
    # teacher and student see the same mixture; 0: none is. Only where no loss learns from labels.
    config.mixup = 0.0

    # Parts that a batch goes through the networks in, one after the other, so that memory holds the
    # activations of one. Losses and relations are of the whole batch all the same, and the
    # gradient is exact; only batch norm has the statistics of a part. Costs a forward pass.
    config.chunks = 1
    # Keep what the blocks of a network give, and compute what lies within them again for the
    # gradient. Costs a forward pass.
    config.remat = False

    config.profile = 0  # steps to trace once compiled, for TensorBoard's profiler
    config.log_every = 20  # steps between rows of metrics.jsonl
    config.eval_every = 500  # steps between validations, each with a checkpoint
    # Validations in a row without a better one, after which training ends; 0: it never does early.
    config.patience = 0
    config.keep_checkpoints = 2  # latest ones, beside the best by validation
    # Who hears what is logged, validated and found: MODULE.NAME of a function of workdir and config
    # that returns an object with on_log, on_validation and on_end (docs/guides/track.md).
    config.hook = ""

    # What `--mode eval` measures: by default the networks of this run on its test split, again.
    # Anything else is written to WORKDIR/evaluation.
    config.evaluation = ConfigDict(
        {
            # Instead of this run's: name -> workdir of a finished run, or a file of embeddings
            # (darkrank_jax/evaluation/stored.py), or {dataset: file}. "teacher" and "baseline" are
            # what their names say, all others are students.
            "networks": ConfigDict(),
            # Instead of this run's: name -> {"source", "path", "options", "split"}; all but the
            # source may be left out.
            "datasets": ConfigDict(),
            "split": "test",  # of this run's data: "train", "validation" or "test"
            # Further protocols (darkrank_jax/evaluation/protocols.py), name -> its options:
            # "reranking", "query_expansion", "single_shot", "verification", "prefixes".
            "protocols": ConfigDict(),
            # Images that join the gallery and are never right, for sets with queries and cameras
            # or with a protocol that searches: {"source", "path", "options", "split"}; all but the
            # source may be left out, and without a split all images are taken.
            "distractors": ConfigDict(),
            "save_embeddings": False,  # as embeddings/DATASET/NETWORK.npz, also after training
        }
    )

    return config.lock()


def share_images(student: ConfigDict) -> None:
    """Lets a flag of the student's data change the teacher's too, in fields that are the same.

    A flag of the teacher's changes the teacher's alone.
    """
    fields = ("source", "path", "options", "image_size", "mean", "std")
    for field in (*fields, "batch_size", "images_per_class", "num_threads", "num_workers"):
        if student.teacher.data[field] == student.data[field]:
            student.teacher.data[field] = student.data.get_oneway_ref(field)
