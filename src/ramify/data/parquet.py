"""Parquet files of images or rows: a single file with its kin, the files of a pattern, or a folder of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ramify.data.arrow import columns_of, is_number, is_whole, labels_of, rows_of_table
from ramify.data.columns import check_for_images, column, label_columns, usual
from ramify.data.encoded import Encoded, Files, Table
from ramify.data.part_names import LABEL_KEYS
from ramify.data.parts import Part, Parts
from ramify.data.rows import Rows, check_size
from ramify.data.source import source
from ramify.data.spec import DataSpec
from ramify.data.table_files import TableFile, of_folder, of_pattern, with_kin
from ramify.errors import DataError

if TYPE_CHECKING:
    import pyarrow


@source("parquet", suffix=".parquet")
def parquet_file(given: str, spec: DataSpec) -> Parts:
    """Read a file, its other shards, and beside a file of training images those for validation and test."""
    return with_kin(Path(given), spec, _columns, folders=True)


def parquet_files(files: Sequence[Path], source: str, spec: DataSpec) -> Parts:
    """Read the files of a pattern, all of whose names tell their part, or none."""
    if not files:
        raise DataError(f"{source}: no file matches")
    if strange := next((file for file in files if file.suffix != ".parquet"), None):
        raise DataError(f"{source}: {strange.name} is not a .parquet file")
    return of_pattern(files, source, spec, _columns)


def parquet_folder(path: Path, spec: DataSpec) -> Parts | None:
    """Read the Parquet files in a folder and its subfolders, as in a clone from the Hub; None if it has none.

    Raises:
        DataError: If there are several data sets.
    """
    return of_folder(path, spec, _columns)


def _columns(path: Path, spec: DataSpec, known: tuple[str, ...] | None) -> TableFile:
    """Read the images, or rows, and labels of a file; see `Read`."""
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            schema = file.schema_arrow
            encoded = [field.name for field in schema if _holds_images(field.type)]
            if spec.image_column is None and not encoded:
                image = None
                features, labels = columns_of(schema, spec, path, known)
                check_size(file.metadata.num_rows, len(features), path)
            else:
                check_for_images(path, spec)
                image = column(path, schema.names, spec.image_column, "image_column", encoded)
                features, labels = (image,), known or _labels_beside(path, schema, image, spec)
                kind = schema.field(image).type
                if not _holds_images(kind) and not _holds_text(kind):
                    raise DataError(f"{path}: column {image!r} is {kind}, not encoded images (bytes) or their paths")
            table = file.read(columns=[*features, *(label for label in labels if label in schema.names)])
    except (pyarrow.ArrowException, OSError) as error:
        if _starts_with(path, b"version https://git-lfs"):
            raise DataError(f"{path}: holds only a pointer of Git LFS; run `git lfs pull` in its folder") from None
        reason = " ".join(str(error).split())
        raise DataError(f"{path}: damaged or not a complete Parquet file ({reason})") from error
    images: Encoded | Rows
    if image is None:
        images = rows_of_table(table, features, lambda row: f"{path}, row {row}")
    elif _holds_text(table.schema.field(image).type):
        images = Files([path.parent / (cell or "") for cell in table.column(image).to_pylist()], spec.channel_axis)
    else:
        images = Table(table.column(image), path)
    targets = labels_of(table, labels, spec.targets, images.where, may_hide=known is not None)
    return TableFile(Part(images, targets, labels), labels, recorded_names(schema.metadata, labels[0]))


def _holds_images(kind: pyarrow.DataType) -> bool:
    import pyarrow.types as types

    if types.is_struct(kind):
        return any(field.name == "bytes" for field in kind)
    return bool(types.is_binary(kind) or types.is_large_binary(kind))


def _holds_text(kind: pyarrow.DataType) -> bool:
    import pyarrow.types as types

    return bool(types.is_string(kind) or types.is_large_string(kind))


def _labels_beside(path: Path, schema: pyarrow.Schema, image: str, spec: DataSpec) -> tuple[str, ...]:
    """Return the columns of the labels of images: what is called `label`, else the only one that can be meant."""
    if spec.label_column is not None:
        return label_columns(path, schema.names, spec)
    kinds = {field.name: field.type for field in schema if field.name != image}
    if "label" in kinds:
        return ("label",)
    fits = is_number if spec.targets == "values" else is_whole
    called = usual(kinds, LABEL_KEYS) if spec.targets == "values" else []
    return label_columns(path, schema.names, spec, called or [name for name, kind in kinds.items() if fits(kind)])


def _starts_with(path: Path, text: bytes) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(text)) == text
    except OSError:
        return False


def recorded_names(metadata: dict[bytes, bytes] | None, label: str) -> tuple[str, ...] | None:
    """Return the class names that Hugging Face's writer stores in a Parquet file."""
    try:
        features = json.loads((metadata or {})[b"huggingface"])["info"]["features"]
        return tuple(map(str, features[label]["names"]))
    except (KeyError, TypeError, ValueError):
        return None
