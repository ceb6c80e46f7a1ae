"""What a name says about a part of a data set: `train`, `Testing`, `val2017`, `seg_train`, `cifar10-test`, and about
what is in it: images or labels.

A word alone proves little: a class may be called `train` too. Who reads folders looks at what they hold as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from ramify.errors import DataError

IMAGE_KEYS = ("image", "images", "img", "imgs", "pixel_values", "pixels", "picture", "photo", "input", "inputs", "x")
LABEL_KEYS = (
    *("label", "labels", "fine_label", "fine_labels", "coarse_label", "coarse_labels", "target", "targets"),
    *("class", "cls", "category", "label_id", "class_id", "class_label", "y"),
)

# The first words of each part are the usual ones; they come before the others where a data set has both.
USUAL = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val"),
    "test": ("test",),
}
OTHERS = {
    "train": ("trainval",),
    "validation": ("dev", "development", "validate", "validating"),
    "test": ("testing", "tests", "eval", "evaluation", "holdout", "heldout"),
}
UNCLEAR = frozenset({"dev", "development", "eval"})  # classes may well be called so
USUAL_PART = {word: part for part, words in USUAL.items() for word in words}
_PART = USUAL_PART | {word: part for part, words in OTHERS.items() for word in words}
_FILLER = "sets?|data|datasets?|images?|imgs?|pictures?|pics?|photos?|samples?|files?|splits?|folders?|dir|parts?"
_FILLERS = re.compile(rf"{_FILLER}|new|final|full|all|resized|cropped|labell?ed|the|of", re.I)
_COMPOUND = re.compile(rf"({'|'.join(_PART)})({_FILLER})?", re.I)
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^\W\d_a-zA-Z]+")  # words of snake_case, CamelCase and train2017


_UNLABELLED = frozenset({"unlabeled", "unlabelled", "unlab", "unannotated"})


@dataclass(frozen=True)
class Told:
    """The part of a data set and the contents that a name indicates.

    Args:
        part: train, validation or test.
        word: The word that tells it, in lower case.
        rest: What else the name says; names of parts of one data set have it in common.
        start: Where the word begins.
        end: Where it ends.
    """

    part: str
    word: str
    rest: tuple[str, ...]
    start: int
    end: int

    @property
    def rank(self) -> tuple[bool, int, str]:
        """Order of preference among names of one part: `test` before `eval`."""
        usual = USUAL[self.part]
        return self.word not in usual, usual.index(self.word) if self.word in usual else 0, self.word


def told_by(name: str) -> Told | None:
    """Return what a folder's or split's name indicates; None without a word for a part, or with words for several."""
    words_of_parts, rest = [], []
    for match in _WORD.finditer(name):
        compound = _COMPOUND.fullmatch(match[0])
        if compound:
            words_of_parts.append((compound[1].lower(), match.start(), match.start() + len(compound[1])))
        elif not _FILLERS.fullmatch(match[0]):
            rest.append(match[0].lower())
    if len({_PART[word] for word, _, _ in words_of_parts}) != 1:
        return None
    word, start, end = words_of_parts[-1]
    return Told(_PART[word], word, tuple(rest), start, end)


def says_nothing(name: str) -> bool:
    """Return whether a name consists of generic words such as images or data, which name no class."""
    words = _WORD.findall(name)
    return bool(words) and all(_FILLERS.fullmatch(word) for word in words)


def is_set_apart(name: str) -> bool:
    """Return whether a name clearly means validation or test images, or images without labels."""
    words = {word.lower() for word in _WORD.findall(name) if not _FILLERS.fullmatch(word)}
    told = told_by(name)
    clear = told is not None and told.part != "train" and not told.rest and told.word not in UNCLEAR
    return clear or (len(words) == 1 and words <= _UNLABELLED)


def told_by_stem(stem: str) -> Told | None:
    """Return what a file's name indicates; the last of several words counts: `test-of-train` is of train."""
    usual = [word for word in re.finditer(r"[^-_.]+", stem) if word[0].lower() in USUAL_PART]
    if not usual:
        return told_by(stem)
    word = usual[-1]
    return Told(USUAL_PART[word[0].lower()], word[0].lower(), (), word.start(), word.end())


def assign(names: Iterable[str], where: object) -> dict[str, str]:
    """Return part → name, chosen among the names of folders or splits that lie side by side.

    They have to agree in what else they say, as `seg_train` and `seg_test` do.

    Returns:
        Part → name; empty where no name tells a part.

    Raises:
        DataError: If several names tell the same part equally well.
    """
    groups: dict[tuple[str, ...], dict[str, list[str]]] = {}
    for name in names:
        if told := told_by(name):
            groups.setdefault(told.rest, {}).setdefault(told.part, []).append(name)
    if not groups:
        return {}
    best = max(groups, key=lambda rest: ("train" in groups[rest], len(groups[rest]), not rest))
    chosen = {}
    for part in [part for part in USUAL if part in groups[best]]:
        candidates = groups[best][part]
        # `test` alone is meant, where there is `test_images` as well
        candidates = [name for name in candidates if name.lower() in USUAL_PART] or candidates
        if len(candidates) > 1:
            listed = " and ".join(candidates[:3])
            raise DataError(f"{where}: {listed} could all be the {part} images; move the others out of it")
        chosen[part] = candidates[0]
    return chosen
