"""Data sets that go by a name."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from ramify.data.encoded import Arrays
from ramify.data.labels import read_target
from ramify.data.parts import Part, Parts
from ramify.data.rows import rows_of_array
from ramify.data.source import source
from ramify.data.spec import DataSpec
from ramify.errors import DataError
from ramify.files import CACHE, expanded


def downloads(root: str | None = None) -> Path:
    """Return the folder of downloads: `root`, else RAMIFY_DATA, else the default one."""
    return expanded(root or os.environ.get("RAMIFY_DATA") or CACHE)


def not_there(name: str, root: Path, spec: DataSpec, error: Exception) -> DataError:
    """Return what to raise where files of torchvision are missing or damaged, and could not or may not be downloaded.

    Args:
        name: Of the data set.
        root: The folder of downloads.
        spec: Says whether anything may be downloaded.
        error: No network is an OSError, a RuntimeError, or an error of http or tarfile.
    """
    if not spec.download:
        return DataError(f"{name}: not found in {root}; allow `download`, or copy torchvision's files there")
    reason = " ".join(str(error).split())
    return DataError(f"{name}: the download to {root} failed ({reason}); connect, or copy torchvision's files there")


@source("digits", paper="Alpaydin & Kaynak, Optical Recognition of Handwritten Digits, UCI 1998")
def _digits(given: str, spec: DataSpec) -> Parts:
    """Handwritten digits of 8×8 pixels, part of scikit-learn, whose import would take longer than a small search."""
    rows = np.loadtxt(_part_of_scikit_learn("datasets/data/digits.csv.gz"), np.uint8, delimiter=",")
    images, labels = rows[:, :-1].reshape(-1, 8, 8), rows[:, -1]
    pixels = np.rint(images * (255 / 16)).astype(np.uint8)  # from 0..16
    return Parts("digits", Part(Arrays(pixels, "digits"), labels.tolist()), class_names=tuple("0123456789"))


def _part_of_scikit_learn(name: str) -> Path:
    """Return the path of a file of scikit-learn, without importing it."""
    found = find_spec("sklearn")
    assert found is not None and found.origin is not None
    return Path(found.origin).parent / name


def _scikit_learn(loader: str, targets: str, **options: Any) -> Callable[[str, DataSpec], Parts]:
    def read(given: str, spec: DataSpec) -> Parts:
        """Rows of a table, part of scikit-learn."""
        from sklearn import datasets

        if spec.targets != targets:
            raise DataError(f"{given}: its targets are {targets}; give targets={targets!r} (--data.targets {targets})")
        bunch = getattr(datasets, loader)(**options)
        rows = rows_of_array(bunch.data, spec, lambda row: f"{given}, row {row}", bunch.feature_names)
        labels = [read_target(label, rows.where(row), targets) for row, label in enumerate(bunch.target.tolist())]
        names = tuple(map(str, bunch.target_names)) if targets == "classes" else None
        return Parts(given, Part(rows, labels), class_names=names)

    return read


source(
    "breast-cancer",
    paper="Street, Wolberg & Mangasarian, Nuclear Feature Extraction for Breast Tumor Diagnosis, SPIE 1993",
)(_scikit_learn("load_breast_cancer", "classes"))
source("diabetes", paper="Efron et al., Least Angle Regression, Annals of Statistics 2004")(
    _scikit_learn("load_diabetes", "values", scaled=False)
)
source("iris", paper="Fisher, The Use of Multiple Measurements in Taxonomic Problems, Annals of Eugenics 1936")(
    _scikit_learn("load_iris", "classes")
)
source("wine", paper="Aeberhard & Forina, Wine, UCI 1992")(_scikit_learn("load_wine", "classes"))


def _torchvision(name: str, class_name: str) -> Callable[[str, DataSpec], Parts]:
    def read(given: str, spec: DataSpec) -> Parts:
        """Images of torchvision, downloaded where they are missing."""
        from torchvision import datasets

        root = downloads(spec.root)
        parts, names = [], None
        for train in (True, False):
            which: dict[str, Any] = {"split": "train" if train else "test"} if name == "svhn" else {"train": train}
            try:
                if spec.download:
                    root.mkdir(parents=True, exist_ok=True)
                data = getattr(datasets, class_name)(str(root), download=spec.download, **which)
            except Exception as error:
                raise not_there(name, root, spec, error) from error
            pixels = np.asarray(data.data)
            if name == "svhn":
                pixels = pixels.transpose(0, 2, 3, 1)
            labels = data.labels if name == "svhn" else data.targets
            parts.append(Part(Arrays(pixels, name), [int(label) for label in labels]))
            names = None if name == "mnist" else getattr(data, "classes", None)  # MNIST's are like "7 - seven"
            names = tuple(names or map(str, range(10)))
        return Parts(name, parts[0], test=parts[1], class_names=names)

    return read


for _name, _class, _paper in (
    ("mnist", "MNIST", "LeCun et al., Gradient-Based Learning Applied to Document Recognition, 1998"),
    ("fashion-mnist", "FashionMNIST", "Xiao, Rasul & Vollgraf, Fashion-MNIST, 2017, arXiv:1708.07747"),
    ("svhn", "SVHN", "Netzer et al., Reading Digits in Natural Images, NIPS workshop 2011"),
):
    source(_name, paper=_paper)(_torchvision(_name, _class))


@dataclass(frozen=True)
class ByFolder:
    """A data set that everybody has to fetch on their own.

    Args:
        title: What it is called.
        folders: What its folder holds.
        image_size: What its images are usually brought to; empty where they have one size.
    """

    title: str
    folders: str
    image_size: str = ""

    def wanted(self, name: str) -> str:
        """Return the end of a message that asks for the folder."""
        size = self.image_size and f" --data.image_size {self.image_size}"
        return f"give its folder ({self.folders}) with --data, e.g. --data /data/{name}{size}"


BY_FOLDER = {
    "imagenet": ByFolder("ImageNet", "train/ and val/", "224"),
    "coco": ByFolder("COCO", "train2017/, val2017/ and annotations/", "800,1344"),
    "cityscapes": ByFolder("Cityscapes", "leftImg8bit/ and gtFine/"),
    "ade20k": ByFolder("ADE20K", "images/ and annotations/", "640"),
}
"""Such data sets, by the name that stands for them."""
