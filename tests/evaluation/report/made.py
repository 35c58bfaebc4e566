"""Made up for tests of the report: results, embeddings, curves, and a reader of pages."""

import re
from html.parser import HTMLParser

import numpy as np

from darkrank_jax.evaluation.report import Measured, write_report

ATTACK = "<script>alert(1)</script>"
IMAGES, CLASSES = 60, 12
# Headings of a run's page.
SECTIONS = [
    *["Results", "Speed against quality", "Recall by number of images", "Rank agreement"],
    *["Nearest images", "Map of embeddings", "Distances", "Worst classes", "Learning curves"],
    *["Settings", "What next"],
]


def network(recall, **changes):
    fields = {
        "model": {"name": "resnet10", "width": 8},
        "losses": {"triplet": {"weight": 1.0, "margin": 0.2}},
        "parameters": 1000,
        "images_per_second": 5200.0,
        "training_seconds": 123.4,
        "steps": 600,
        "metrics": {"recall_at_1": recall, "recall_at_2": 0.9, "map_at_r": 0.25, "nmi": 0.75}
        | {"mean_average_precision": 0.375},
        "intervals": {"recall_at_1": [recall - 0.06, recall + 0.05], "map_at_r": [0.2, 0.31]},
        "recall_curve": [[1, recall], [2, 0.9], [10, 0.95], [40, 1.0]],
    }
    return fields | changes


def run_results(teacher=0.8, baseline=0.5, student=0.629):
    """Results of a run with the networks whose Recall@1 is given."""
    networks = {}
    if teacher is not None:
        model = {"name": "resnet18", "width": 32}
        cost = {"model": model, "parameters": 8100, "images_per_second": 1000.0}
        networks["teacher"] = network(teacher, **cost)
    if baseline is not None:
        networks["baseline"] = network(baseline)
    if student is not None:
        networks["student"] = network(student)
        if baseline is not None:
            found = {"difference": student - baseline, "low": 0.025, "high": 0.2, "p_value": 0.034}
            networks["student"]["difference"] = {"recall_at_1": found}
        if teacher is not None:
            agreement = {"overlap_at_1": 0.25, "overlap_at_10": 0.5, "kendall_tau_at_10": -0.125}
            networks["student"]["agreement"] = agreement
            networks["student"]["teacher_gallery"] = {"recall_at_1": 0.375}
        if teacher is not None and baseline is not None:
            gap = (student - baseline) / (teacher - baseline) if teacher > baseline else None
            networks["student"]["gap_recovered"] = {"recall_at_1": gap, "map_at_r": -0.125}
    dataset = {
        "source": "glyphs",
        "split": "test",
        "images": IMAGES,
        "queries": IMAGES,
        "classes": CLASSES,
    }
    return {
        "schema": 2,
        "name": "demo",
        "seed": 3,
        "dataset": dataset,
        "devices": "4 x cpu",
        "networks": networks,
    }


def values_of(embeddings, labels):
    """Recall@1 and MAP@R of every query by a slow loop."""
    recall, map_at_r = [], []
    for query, found in enumerate(slow_neighbors(embeddings, range(len(labels)), len(labels) - 1)):
        hits = labels[found] == labels[query]
        count = hits.sum()
        places = np.arange(1, count + 1)
        precision = np.cumsum(hits[:count]) / places * hits[:count]
        recall.append(float(hits[0]))
        map_at_r.append(precision.sum() / count if count else np.nan)
    return {"recall_at_1": np.array(recall), "map_at_r": np.array(map_at_r)}


def slow_neighbors(embeddings, queries, k):
    """Sorts all others by distance in float64, one query after the other."""
    lists = []
    for query in queries:
        others = [i for i in range(len(embeddings)) if i != query]
        distances = ((embeddings.astype(np.float64) - embeddings[query]) ** 2).sum(axis=1)
        lists.append(sorted(others, key=distances.__getitem__)[:k])
    return np.array(lists)


def measured_set(names, channels=1, **changes):
    """Images with embeddings by the networks named, in clusters, each a little differently."""
    generator = np.random.default_rng(7)
    labels = np.arange(IMAGES, dtype=np.int32) % CLASSES
    centres = generator.normal(size=(CLASSES, 5))
    images = generator.integers(0, 256, (IMAGES, 9, 7, channels), dtype=np.uint8)
    embeddings = {
        name: (centres[labels] + generator.normal(size=(IMAGES, 5))).astype(np.float32)
        for name in names
    }
    values = {name: values_of(array, labels) for name, array in embeddings.items()}
    class_names = tuple(f"class {i}" for i in range(CLASSES))
    return Measured(labels, class_names, embeddings, values, images)._replace(**changes)


def curves_of(names):
    """Learning curves of the networks named."""
    rows = [{"step": 10, "loss": 3.0, "losses/triplet": 3.0}, {"step": 20, "loss": 1.5}]
    rows.append({"step": 20, "validation/recall_at_1": 0.125})
    return dict.fromkeys(names, rows)


class Page(HTMLParser):
    """Reads a page and asserts that every element is closed in order; keeps tags and text."""

    def __init__(self, text):
        super().__init__()
        self.open, self.names, self.text, self.attributes = [], [], "", []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.names.append(tag)
        self.attributes.append((tag, dict(attrs)))
        if tag not in {"img", "meta", "link", "wbr"}:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += data

    def all(self, name):
        return [attributes for tag, attributes in self.attributes if tag == name]


def written(folder, results, measured=None, curves=None):
    path = folder / "report.html"
    names = list(results["networks"])
    shown = {"test": measured_set(names)} if measured is None else measured
    write_report(
        path, results, measured=shown, curves=curves_of(names) if curves is None else curves
    )
    return path.read_text(encoding="utf-8")


def points_of(section):
    return [
        [tuple(map(float, point.split(","))) for point in line.split()]
        for line in re.findall(r'polyline points="([^"]*)"', section)
    ]
