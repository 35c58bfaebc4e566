"""Which of a file's tensors are those of a backbone, and whose names they have."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from flax import linen as nn

from darkrank_jax.errors import UserError
from darkrank_jax.models.weights.files import Entry, first_of
from darkrank_jax.models.weights.names import namings_of
from darkrank_jax.models.weights.naming import Naming, Shape, TensorSource, Variable

Header = Mapping[str, Entry]

# First names of what turns pooled features into classes, and is left out.
_CLASSIFIERS = ("fc.", "classifier.", "head.", "last_linear.")


class Match(NamedTuple):
    """One network of a file.

    Attributes:
      naming: whose names it has.
      prefix: what its names begin with.
      header: the file's tensors to account for.
    """

    naming: Naming
    prefix: str
    header: Header

    def source(self, variable: Variable) -> TensorSource:
        """Where the file has a variable."""
        source = self.naming.source(variable)
        return source._replace(names=tuple(self.prefix + name for name in source.names))


def find_network(
    path: str | Path,
    header: Header,
    backbone: nn.Module,
    shapes: Mapping[Variable, Shape],
    prefix: str | None,
) -> Match:
    """The network of a file that is a backbone's.

    Args:
      path: of the file.
      header: its tensors.
      backbone: the module.
      shapes: of its variables, kernels with PyTorch's axes.
      prefix: what the network's names begin with; None: found.

    Raises:
      UserError: there is none, or there are several.
    """
    namings = namings_of(backbone)
    expected = [_ranks(naming, shapes) for naming in namings]
    found = _found_names(header, expected)
    asked = {key: names for key, names in found.items() if prefix in (None, key[1])}
    chosen = _fullest(asked, expected)
    if not chosen:
        where = f" that begins with {prefix!r}" if prefix else ""
        owners = dict.fromkeys(naming.owner for naming in namings)
        raise UserError(
            f"{path}: holds no {type(backbone).__name__}: no tensor{where} has "
            f"{' or '.join(owners)} names; it has {first_of(header) or 'none'}"
        )
    if len(chosen) > 1:
        owned = sorted((namings[index].owner, place) for index, place in chosen)
        networks = " and ".join(f"{place!r} with {owner} names" for owner, place in owned)
        raise UserError(
            f"{path}: is ambiguous, since it holds several networks: {networks}; give the prefix "
            "of one, leave the others out by weights.ignore, or give a file with one"
        )
    ((index, place),) = chosen
    # A copy that lies within the named network's place: "ema.", where the prefix is "".
    most = len(asked[index, place])
    copies = [
        other
        for (naming, other), names in found.items()
        if naming == index and len(names) > most / 2 and other != place and other.startswith(place)
    ]
    left_out = (*_CLASSIFIERS, *namings[index].beside, *(copies if prefix is not None else ()))
    kept = without(header, left_out, place)
    among = {
        name: entry
        for name, entry in header.items()
        if name in asked[index, place]
        or (
            name in kept
            and name.startswith(prefix or "")
            and not name.endswith("num_batches_tracked")
        )
    }
    return Match(namings[index], place, among)


def without(header: Header, beginnings: Sequence[str], prefix: str = "") -> Header:
    """A header without tensors whose names begin with one of these, also after a prefix."""
    first = tuple(f"{place}{each}" for place in {"", prefix} for each in beginnings)
    return {name: entry for name, entry in header.items() if not name.startswith(first)}


def _ranks(naming: Naming, shapes: Mapping[Variable, Shape]) -> dict[str, int]:
    """The number of axes of each tensor that a naming expects, by name."""
    ranks = {}
    for variable, shape in shapes.items():
        source = naming.source(variable)
        ranks |= {
            name: len(each)
            for name, each in zip(source.names, source.layout.shapes(shape), strict=True)
        }
    return ranks


def _found_names(
    header: Header, expected: Sequence[Mapping[str, int]]
) -> dict[tuple[int, str], dict[str, bool]]:
    """The names of a network that a file has, by number of the naming and by prefix.

    Each with whether it has the number of axes that the naming expects.
    """
    found: dict[tuple[int, str], dict[str, bool]] = defaultdict(dict)
    for index, ranks in enumerate(expected):
        depths = {name.count(".") + 1 for name in ranks}
        for name, entry in header.items():
            parts = name.split(".")
            for end in {".".join(parts[-depth:]) for depth in depths if depth <= len(parts)}:
                if end in ranks:
                    same = ranks[end] == len(entry.shape)
                    found[index, name.removesuffix(end)][name] = same
    return found


def _fullest(
    found: Mapping[tuple[int, str], Mapping[str, bool]], expected: Sequence[Mapping[str, int]]
) -> list[tuple[int, str]]:
    """The networks that a file has whole or, if it has none, the one of which it has most.

    Of several readings of the same tensors the one that fits their axes best counts, or the first.
    """
    whole = [key for key, names in found.items() if len(names) == len(expected[key[0]])]
    most = max(map(len, found.values()), default=0)
    fullest = whole or [key for key, names in found.items() if len(names) == most]
    kept: list[tuple[int, str]] = []
    for key in sorted(fullest, key=lambda key: (-sum(found[key].values()), key)):
        if all(found[key].keys().isdisjoint(found[other]) for other in kept):
            kept.append(key)
    return kept
