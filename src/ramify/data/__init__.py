"""Images, or rows of a table, for a search: sources, fixed splits, and batched augmentation on tensors.

    data = load("digits")
    for x, y in data.split("search_train").batches(64, seed=0, shuffle=True, augmentation=data.augmentation):
        ...

Images are kept as bytes (uint8) until a batch is asked for, rows as float32; test images are handed out by
`data.split("test")` only, and every batch follows from `(seed, split, epoch, number)` alone.
"""

from ramify.data.augmentation import Augmentation
from ramify.data.boxes import Boxes
from ramify.data.dataset import Data, Split, arranged, colored, numbered, scale_of, targeted
from ramify.data.depth import Scale
from ramify.data.distortion import Distortion
from ramify.data.loading import load
from ramify.data.masks import IGNORED, Masks
from ramify.data.parts import Part, Parts
from ramify.data.rows import Rows
from ramify.data.source import SOURCES, Source, data_set_names, in_words, source
from ramify.data.spec import DataSpec, spec_of
from ramify.data.unlabeled import as_it_was, unlabeled

__all__ = [
    "IGNORED",
    "SOURCES",
    "Augmentation",
    "Boxes",
    "Data",
    "DataSpec",
    "Distortion",
    "Masks",
    "Part",
    "Parts",
    "Rows",
    "Scale",
    "Source",
    "Split",
    "arranged",
    "as_it_was",
    "colored",
    "data_set_names",
    "in_words",
    "load",
    "numbered",
    "scale_of",
    "source",
    "spec_of",
    "targeted",
    "unlabeled",
]
