"""Built-in characters, the teacher's gallery: does the demo's student find images in it?

`teacher_gallery` in results.json is the recall of the student's queries in the teacher's gallery.
No download.

Command:   python -m darkrank_jax.main --config configs/compatible.py
Hardware:  2 CPU cores
Time:      about the demo's
Result:    none recorded
"""

from ml_collections import ConfigDict

from configs import demo


def get_config() -> ConfigDict:
    config = demo.get_config().unlock()
    config.losses.embedding_match = {"weight": 10.0}
    config.losses.compatible_ranking = {"weight": 0.1, "alpha": 3.0, "beta": 2.0, "list_size": 8}
    return config.lock()
