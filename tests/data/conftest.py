"""Small data sets made on the spot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pictures import picture, png


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Path]:
    """Write an image folder: `folder("x/train", {"cat": 3, "dog": 5})`; the images differ."""

    def write(name: str, counts: dict[str, int], width: int = 8, height: int = 8, mode: str = "RGB") -> Path:
        seed = sum(name.encode()) * 1000
        for label, count in counts.items():
            (tmp_path / name / label).mkdir(parents=True)
            for number in range(count):
                seed += 1
                picture(seed, width, height, mode).save(tmp_path / name / label / f"{number:03}.png")
        return tmp_path / name

    return write


@pytest.fixture
def parquet(tmp_path: Path) -> Callable[..., Path]:
    """Write a Parquet file of images; the labels are given, further columns and metadata as keywords."""

    def write(
        name: str,
        labels: list,
        seed: int = 0,
        images: list | None = None,
        label_column: str = "label",
        metadata: dict[bytes, bytes] | None = None,
        **columns: list,
    ) -> Path:
        if images is None:
            images = [{"bytes": png(picture(seed * 1000 + row)), "path": None} for row in range(len(labels))]
        kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        table = pa.table({"image": pa.array(images, kind), label_column: labels, **columns})
        path = tmp_path / name
        pq.write_table(table.replace_schema_metadata(metadata), path)
        return path

    return write
