"""What a run found, in one sentence that also says so when it found nothing good."""

from typing import Any

from darkrank_jax.evaluation.report.compared_networks import compared_networks, students
from darkrank_jax.evaluation.report.formatting import percent

_CLASS_NOUNS = {"glyphs": "characters", "omniglot": "characters"}
# Of what is not a split of a source, nobody here knows what it was trained on.
_SEEN = {
    "train": " of the training set",
    "validation": " by which the checkpoints were chosen",
    "test": " that no network trained on",
}


def headline(results: dict[str, Any]) -> str:
    r"""Says what the best student costs and how good it is, against teacher and baseline.

    Args:
      results: what `results.json` holds. `networks` may lack "teacher" or "baseline"; of several
        students the one with the best Recall@1 is taken, and the sentence says that.

    Returns:
      One sentence. A student that is worse than the baseline is called worse.

    Example:
      >>> network = {"parameters": 8, "images_per_second": 1.0, "metrics": {"recall_at_1": 0.5}}
      >>> headline({"dataset": {"source": "glyphs", "split": "test", "classes": 9},
      ...           "networks": {"student": network}})
      'The student reaches a Recall@1 of 50.0\xa0% on 9 characters that no network trained on.'
    """
    networks = results["networks"]
    name = compared_networks(networks).subject
    clauses = []
    pair = [networks[each] for each in (name, "teacher") if each in networks]
    # Stored embeddings have no costs.
    if name != "teacher" and len(pair) == 2 and all("images_per_second" in x for x in pair):
        clauses = _costs(networks[name], networks["teacher"])
    conjunction, quality = _quality(networks, name)
    sentence = ", ".join([*clauses, f"{conjunction} {quality}" if clauses else quality])
    return f"{_introduction(networks, name)} {sentence} {where_measured(results['dataset'])}."


def _introduction(networks: dict[str, Any], name: str) -> str:
    """The subject of the sentence."""
    distilled = students(networks)
    if len(distilled) > 1:
        return f"The best of {len(distilled)} students, {name},"
    return f"The student {name}" if distilled and name != "student" else f"The {name}"


def _costs(student: dict[str, Any], teacher: dict[str, Any]) -> list[str]:
    """How large and how fast a network is, as multiples of the teacher."""
    smaller = teacher["parameters"] / student["parameters"]
    # A fraction 1/n only where it is true to 5 %, a percentage otherwise.
    exact = round(smaller) > 1 and abs(smaller / round(smaller) - 1) < 0.05
    size = f"1/{round(smaller)}" if exact else percent(1 / smaller, 0)
    faster = student["images_per_second"] / teacher["images_per_second"]
    speed = f"{faster:.1f} times as fast" if faster >= 1 else f"slower ({faster:.2f} times as fast)"
    return [f"has {size} of the teacher’s parameters", f"is {speed}"]


def _quality(networks: dict[str, Any], name: str) -> tuple[str, str]:
    """The conjunction and the clause on Recall@1, by what there is to compare with."""
    recall = {n: network["metrics"]["recall_at_1"] for n, network in networks.items()}
    reached = f"reaches a Recall@1 of {percent(recall[name])}"
    if "baseline" in networks and name != "baseline":
        return _against_baseline(networks, name, recall)
    if "teacher" in networks and name != "teacher":
        return "and", f"{reached} where the teacher reaches {percent(recall['teacher'])}"
    return "and", reached


def _against_baseline(
    networks: dict[str, Any], name: str, recall: dict[str, float]
) -> tuple[str, str]:
    """The clause on Recall@1 where a baseline was trained."""
    same = networks[name].get("model") == networks["baseline"].get("model") is not None
    alone = "the same network trained alone" if same else "the baseline"
    student, baseline, teacher = recall[name], recall["baseline"], recall.get("teacher")
    compared = f"Recall@1 of {percent(student)} against {percent(baseline)}"
    if student < baseline:
        return "but", f"is worse than {alone}: {compared}"
    if student == baseline:
        return "but", f"is no better than {alone}: both have a Recall@1 of {percent(student)}"
    better = f"is better than {alone}: {compared}"
    if teacher is None:
        return "and", better
    if teacher <= baseline:
        no_gap = f"the teacher, at {percent(teacher)}, left no gap to recover,"
        return "and", f"{better}; {no_gap}"
    if student > teacher:
        return "and", f"{better}, and better than the teacher, at {percent(teacher)},"
    recovered = percent(networks[name]["gap_recovered"]["recall_at_1"], 0)
    between = f"between {alone} ({percent(baseline)}) and the teacher ({percent(teacher)})"
    return "and", f"recovers {recovered} of the gap in Recall@1 {between}"


def where_measured(dataset: dict[str, Any]) -> str:
    """On what it was measured; classes are disjoint between splits."""
    classes = f"{dataset['classes']:,} {_CLASS_NOUNS.get(dataset['source'], 'classes')}"
    return f"on {classes}{_SEEN.get(dataset['split'], '')}"
