"""What images are for: train, validation, test, query or gallery, and the words for each."""

import re
from collections.abc import Iterable

PARTS = ("train", "validation", "test", "query", "gallery")
# Images without a part are split by class.
UNGIVEN = -1

# Word -> the part that it means.
_WORDS = {
    "train": "train",
    "training": "train",
    "trn": "train",
    "validation": "validation",
    "validating": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "development": "validation",
    "test": "test",
    "testing": "test",
    "tst": "test",
    "query": "query",
    "queries": "query",
    "probe": "query",
    "probes": "query",
    "gallery": "gallery",
}
# Words beside these that add nothing, as in "train_images".
_FILLERS = {"set", "data", "dataset", "split", "image", "images", "img", "imgs", "pictures"}
_SEPARATORS = re.compile(r"[\s_.\-]+")
_COMPOUND = re.compile(r"(\w+?)(?:set|data|images)")
_CASE = re.compile(r"(?<=[a-z])(?=[A-Z])")
_INSIDE = re.compile(rf"(?<![a-z])({'|'.join(sorted(_WORDS, key=len, reverse=True))})(?![a-z])")


def part_of(name: str) -> str | None:
    """The part that a folder or a cell of a table names, in any case; None for another word.

    Example:
      >>> part_of("Val"), part_of("Training Set"), part_of("testset"), part_of("test tube")
      ('validation', 'train', 'test', None)
    """
    words = _SEPARATORS.split(name.strip().lower())
    words = [word for word in words if word and word not in _FILLERS]
    if len(words) != 1:
        return None
    compound = _COMPOUND.fullmatch(words[0])
    return _WORDS.get(words[0]) or (_WORDS.get(compound[1]) if compound else None)


def part_pair(names: Iterable[str]) -> tuple[str, str] | None:
    """Two names that differ only in the word for a part, as of splits that are spelled otherwise.

    Example:
      >>> part_pair(["birds", "birds_train", "birds_test"])
      ('birds_train', 'birds_test')
      >>> part_pair(["train station", "test tube"])
    """
    found: dict[str, tuple[str, str]] = {}
    for name in names:
        spaced = _CASE.sub(" ", name).lower()
        for match in _INSIDE.finditer(spaced):
            frame = f"{spaced[: match.start()]}*{spaced[match.end() :]}"
            part = _WORDS[match[1]]
            first = found.setdefault(frame, (name, part))
            if first[1] != part:
                return first[0], name
    return None
