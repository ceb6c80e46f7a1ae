"""Damaged and hostile input for everything that reads: one line or a result, in time, in memory, and no traceback."""

import contextlib
import gzip
import io
import json
import os
import random
import resource
import shutil
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest
import small_folders
import torch
from mutations import (
    ODD_VALUES,
    Damage,
    damaged_bytes,
    damaged_cells,
    damaged_json,
    damaged_text,
    damaged_value,
    damaged_values,
    damaged_words,
)
from test_file_faults import without_drawing

import ramify
from ramify import files, spaces
from ramify.benchmarks import open_table
from ramify.building import _members
from ramify.costs import Costs, Limits, Networks
from ramify.data import Data, DataSpec, load
from ramify.data.splits import read_split_file
from ramify.errors import RamifyError
from ramify.evaluators import TrainFromScratch
from ramify.report.folder import read_folder
from ramify.run import RunFolder
from ramify.run.origin import data_of, network_of
from ramify.run.sources import architecture_of
from ramify.shrinking.convert import convert
from ramify.shrinking.lists import read_lists
from ramify.strategies import GDAS, RandomSearch
from ramify.tasks import Regression
from ramify.training import Recipe
from small_runs import images as sized

SECONDS = 2.0  # of the processor, for one input
BYTES = 2**30  # of memory, for all inputs of a kind
SHARE = float(os.environ.get("RAMIFY_FUZZ", "1"))  # of the inputs; a longer campaign sets more


@dataclass(frozen=True)
class Kind:
    """What is damaged, and what reads it.

    Args:
        seeds: Whole inputs.
        read: Takes the path of a damaged one.
        damage: How it is damaged.
        count: Inputs of the long campaign.
        name: Of the file.
        few: Inputs of the quick test.
    """

    seeds: list[bytes]
    read: Callable[[Path], object]
    damage: Damage = damaged_words
    count: int = 10_000
    name: str = "input.txt"
    few: int = 15


DATA = Path(__file__).parents[1] / "data"

NOTATIONS = [
    "|nor_conv_3x3~0|+|nor_conv_3x3~0|skip_connect~1|+|skip_connect~0|none~1|nor_conv_3x3~2|",
    "8:16:24:32:40",
    "Genotype(normal=[('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('skip_connect', 0), ('sep_conv_3x3', 1)], "
    "normal_concat=range(2, 4), reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), "
    "('max_pool_3x3', 0)], reduce_concat=range(2, 4))",
    "DARTS = genotypes.Genotype(normal=[('sep_conv_3x3', np.int64(1)), ('sep_conv_3x3', 0)], normal_concat=[2], "
    "reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1)], reduce_concat=[2])",
    "{'normal': [(('sep_conv_3x3', 1, 0.148), ('sep_conv_3x3', 0, 0.15))], 'normal_concat': [2], "
    "'reduce': [(('skip_connect', 0, 0.2), ('sep_conv_3x3', 1, 0.1))], 'reduce_concat': [2], 'connectN': None}",
    "OrderedDict([('normal', [('sep_conv_3x3', 1), ('sep_conv_3x3', 0)]), ('reduce', [('skip_connect', 0), "
    "('skip_connect', 1)])])",
    "[0, 1, 2, 3, 3, 2, 0, 1, 2, 3, 0, 1, 0, 1, 2, 3, 0, 1, 0, 1]",
    "[[0], [3, -1, 3, 0], [2, 4, 3, 3], [2, 3, 2, 4, 1], [4, 1, 2, 1], [0, 4, -1, 2], [0]]",
    "01/02 03:04:05 AM genotype = Genotype(normal=[('sep_conv_3x3', 1), ('sep_conv_3x3', 0)], normal_concat=[2], "
    "reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1)], reduce_concat=[2])\n02/02 valid_acc 97.1\n",
]


def plain(value) -> bytes:
    return json.dumps(value).encode()


def members() -> list[bytes]:
    rng = random.Random(0)
    kinds = (spaces.example(kind) for kind in spaces.SPACES.values())
    return [space.sample(rng).to_json().encode() for space in kinds]


CELL = {
    "normal": [["sep_conv_3x3", 0], ["sep_conv_3x3", 1]],
    "reduce": [["skip_connect", 0], ["max_pool_3x3", 1]],
}
ARGUMENTS = [
    ("NASBench201", {"nodes": 3, "operations": ["none", "skip_connect"]}),
    ("DARTSCells", {"nodes": {"normal": 2, "reduce": 1}, "operations": ["none", "skip_connect"], "concat": [2]}),
    ("StageCells", {"nodes": 2, "reduction": "searched", "repeat": True}),
    ("StageGraph", {"cell": CELL, "cells": [2, 3, 2], "window": 2}),
    ("CellDistribution", {"cell": CELL, "cells": 4, "lengths": [2, 4]}),
    ("CDARTSChain", {"blocks": [1, 2, 1, 1, 1], "absent": False}),
    ("MobileChain", {"blocks": [1, 2, 1, 1, 1, 1]}),
    ("ShuffleChain", {"blocks": [1, 2, 1, 1], "scales": [1.0, 0.5, 0.5, 2.0, 1.5]}),
    ("NATSBenchSize", {"widths": [8, 16]}),
]


def descriptions() -> list[bytes]:
    found = [plain({"space": name, "arguments": arguments}) for name, arguments in ARGUMENTS]
    for kind in spaces.SPACES.values():
        space = spaces.example(kind)
        name, choice = next(iter(space.choices.items()))
        restricted = space.restrict({name: choice.mask.tolist()})
        found += [plain(space.to_dict()), plain({**restricted.to_dict(), "restriction": {name: choice.mask.tolist()}})]
    return found


def architecture(path: Path) -> object:
    with path.open(encoding="utf-8", errors="surrogateescape") as file:
        return architecture_of(file.read())


def architecture_file(path: Path) -> object:
    return architecture_of(path)


def described(path: Path) -> object:
    space = spaces.create(path)
    arch = space.sample(random.Random(0))
    space.format(arch)
    return space.size, spaces.space_of(arch)


def image_folder(path: Path) -> object:
    folder = path.parent / "images"
    for label in ("a", "b"):
        (folder / label).mkdir(parents=True, exist_ok=True)
        (folder / label / f"whole{path.suffix}").write_bytes(WHOLE[path.suffix])
    (folder / "a" / path.name).write_bytes(path.read_bytes())
    return load(DataSpec(source=str(folder), test_fraction=0.0))


def loaded(**options: object) -> Callable[[Path], object]:
    """Return what loads a data set that is one file, or lies beside it, and takes a batch."""

    def read(path: Path) -> Data:
        data = load(DataSpec(source=str(path), **options), quiet=True)
        inputs, _ = next(data.split("train").batches(64, seed=0))
        assert inputs.isfinite().all()
        return data

    return read


def learned(path: Path) -> object:
    """Load rows whose values are learned, and prepare the task."""
    task = Regression().on(loaded(targets="values", label_column="price,area")(path))
    return task.network(torch.nn.Linear(*task.input_size, 2)), task.shape


ROWS = b"a,b,label\n" + b"".join(b"%d,%d.5,%s\n" % (n, 10 - n, (b"cat", b"dog")[n % 2]) for n in range(10))
NUMBERED = b'sep=;\nlabel;"w, kg";;on\n' + b"".join(b"%d;%de-1;row %d;true\n" % (n % 3, n, n) for n in range(12))
VALUES = b"price,area,a,b\n" + b"".join(b"%d.25,-%de2,%d,%d\n" % (n, n, n * n, n % 3) for n in range(10))
QUOTED = b"".join(b'"%s"\n' % line.replace(b",", b'";"') for line in VALUES.splitlines())


def paths() -> bytes:
    return b"file,label\n" + b"".join(b"%d.png,%d\n" % (n, n % 2) for n in range(6))


def pictured(path: Path) -> object:
    """Load a table of paths of images, which lie beside it."""
    for number in range(6):
        (path.parent / f"{number}.png").write_bytes(WHOLE[".png"])
    return loaded(image_column="file")(path)


def array_files() -> list[bytes]:
    """Return images as files of one array, of several types, orders and versions."""
    import numpy as np

    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)
    floats = rng.random((3, 8, 8), dtype=np.float32)
    found = [(pixels, (1, 0)), (np.asfortranarray(pixels), (2, 0)), (floats, (1, 0)), (floats.astype(">f8"), (3, 0))]
    found += [(pixels.astype(np.uint16) * 257, (1, 0)), (pixels[..., 0] > 99, (1, 0)), (floats.astype("f2"), (1, 0))]
    buffers = []
    for array, version in found:
        buffer = io.BytesIO()
        np.lib.format.write_array(buffer, array, version)
        buffers.append(buffer.getvalue())
    return buffers


def header_of_array(rng: random.Random, content: bytes) -> bytes:
    """Damage a file of an array, half of the time its header, whose length stays right."""
    if rng.random() < 0.5:
        return damaged_bytes(rng, content)
    start = 10 if content[6] == 1 else 12
    length = int.from_bytes(content[8:start], "little")
    header = damaged_text(rng, content[start : start + length].decode()).encode("utf-8", "surrogatepass")
    said = min(len(header), 2 ** (8 * (start - 8)) - 1).to_bytes(start - 8, "little")
    return content[:8] + said + header + content[start + length :]


def saved_folder(runs: dict[str, Path]) -> Path:
    """Return a folder of `save_to_disk`, of rows."""
    import datasets

    folder = next(iter(runs.values())).parent / "saved"
    if not folder.exists():
        datasets.disable_progress_bars()
        rows = {"a": [*range(10)], "b": [n / 2 for n in range(10)], "label": [n % 2 for n in range(10)]}
        datasets.Dataset.from_dict(rows).save_to_disk(folder)
    return folder


WHOLE: dict[str, bytes] = {}


def images() -> dict[str, bytes]:
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    for suffix, kind in ((".png", "PNG"), (".jpg", "JPEG"), (".tif", "TIFF"), (".webp", "WEBP"), (".bmp", "BMP")):
        buffer = io.BytesIO()
        Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(buffer, kind)
        WHOLE[suffix] = buffer.getvalue()
    WHOLE[".npy"] = array_files()[0]
    return WHOLE


def parquet() -> bytes:
    import pyarrow
    import pyarrow.parquet

    images()
    cells = [{"bytes": WHOLE[".png"], "path": None}] * 8
    table = pyarrow.table({"image": cells, "label": [0, 1] * 4})
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(table, buffer)
    return buffer.getvalue()


CSV = (
    b"arch,acc,seconds\n"
    + b"\n".join(
        f"|{op}~0|+|{op}~0|none~1|+|skip_connect~0|{op}~1|none~2|,{70 + n}.5,{n}".encode()
        for n, op in enumerate(("nor_conv_3x3", "nor_conv_1x1", "avg_pool_3x3"))
    )
    + b"\n"
)
COLUMNS = [
    {"name": "acc", "metric": "accuracy", "data": "mine", "split": "valid", "schedule": 12, "seeds": [0]},
]


def imported(path: Path) -> object:
    from ramify.benchmarks.columns import Column
    from ramify.benchmarks.csv_import import import_csv

    return import_csv(path, columns=[Column.from_dict(column) for column in COLUMNS])


def table(path: Path) -> object:
    found = open_table(path)
    return [found.architecture(index) for index in range(min(3, len(found)))]


ARCHITECTURE = spaces.NASBench201(nodes=3).sample(random.Random(0))

COSTS = {"skip_connect": 0, "nor_conv_1x1": 1.5, "nor_conv_3x3": 4, "avg_pool_3x3": 0.25}
COST_TABLES = [
    {"name": "energy", "unit": "mJ", "fixed": 2, "operations": COSTS},
    {"name": "energy", "operations": COSTS, "choices": {"cell": {"nor_conv_3x3": 7}}},
    {"name": "energy", "choices": {"cell": [COSTS, COSTS, {**COSTS, "none": 1}]}},
]
COST_CSV = b"choice,edge,operation,energy (mJ)\n,,,2\n" + b"".join(f",,{op},{COSTS[op]}\n".encode() for op in COSTS)
COST_CSV_EDGES = COST_CSV + b"cell,0,nor_conv_3x3,100\ncell,,nor_conv_1x1,3\n"


def priced(path: Path) -> object:
    """Cost members by a table of operators, and find the best one within a limit."""
    space, name = spaces.NASBench201(nodes=3), f"file:{path}"
    networks = Networks(space, sized(10, 3, 8, 8))
    limits = Limits(networks, {name: 9})
    scores = {"cell": torch.arange(15.0).reshape(3, 5)}
    found = limits.derive(scores)
    costs = Costs(networks, [name])
    assert costs(found)[name] <= 9
    return costs(ARCHITECTURE)


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, Path]:
    """A finished search, one of trials, and a finished retraining whose network is measured."""
    folder = tmp_path_factory.mktemp("runs")
    space, network = spaces.NASBench201(nodes=3), {"channels": 4, "cells": 1}
    common = {"network": network, "progress": False, "threads": 1}
    data = DataSpec(subset=64)
    trial = TrainFromScratch(epochs=1, batch_size=32)
    recipe = Recipe(epochs=1, batch_size=32)
    gdas, drawn = GDAS(epochs=1, batch_size=16), RandomSearch(evaluations=2, evaluator=trial)
    RUNS.update(
        search=lambda out: ramify.search(space, gdas, data, out=out, **common),
        trials=lambda out: ramify.search(space, drawn, data, out=out, **common),
        retrain=lambda out: ramify.retrain(folder / "search", recipe=recipe, out=out, **common),
    )
    for name in ("search", "trials"):
        RUNS[name](folder / name)
    RUNS["retrain"](folder / "search" / "retrain")
    measured(folder / "search" / "retrain")
    return {name: folder / name for name in ("search", "trials")} | {"retrain": folder / "search" / "retrain"}


def sealed(content: bytes) -> bytes:
    """Return damaged content whose checksum is right."""
    return files.sealed(content)


def in_run(folder: Path, name: str, use: Callable[[Path], object]) -> Callable[[Path], object]:
    """Return what puts a damaged file into a run folder, uses that, and puts the whole file back."""
    whole = (folder / name).read_bytes()

    def read(path: Path) -> object:
        (folder / name).write_bytes(path.read_bytes())
        try:
            return use(folder)
        finally:
            (folder / name).write_bytes(whole)

    return read


def looked_at(folder: Path) -> object:
    """Use a run folder as the verbs do, without training or drawing."""
    errors = []
    arch = ARCHITECTURE
    for look in (
        lambda: read_folder(folder),
        lambda: RunFolder(folder).history(),
        lambda: RunFolder(folder).config(),
        lambda: RunFolder(folder).provenance(),
        lambda: RunFolder(folder).load(torch.device("cpu")),
        lambda: architecture_of(folder),
        lambda: data_of(folder),
        lambda: network_of(folder, arch),
        lambda: ramify.load_network(folder) if (folder / "network.json").exists() else None,
    ):
        try:
            look()
        except RamifyError as error:
            errors.append(error)
    if errors:
        raise max(errors, key=lambda error: len(str(error)))
    return None


RUNS: dict[str, Callable[[Path], object]] = {}
"""By the name of a run folder, what continues a copy of it."""


def continued(folder: Path) -> object:
    """Open a finished run again, as the command that made it."""
    config = RunFolder(folder).config()
    with RunFolder(folder) as opened:
        opened.open(config, 0)
        opened.history()
    return None


def command_line(*before: str, option: str = "--config") -> Callable[[Path], object]:
    """Return what gives a file to the command line, whose options are read and checked while nothing runs."""

    def read(path: Path) -> object:
        with parsing_alone():
            code, _, err = small_folders.said([*before, option, str(path), "--out", str(path.parent / "out")])
        if code:
            raise RamifyError(err.removeprefix("ramify: ").rstrip("\n") if err.count("\n") == 1 else f"{err!r}" * 300)
        return None

    return read


@contextlib.contextmanager
def parsing_alone():
    """Let every verb end where its options are understood."""
    from ramify import cli

    class Understood(Exception):
        pass

    def stop(*_, **__):
        raise Understood

    with pytest.MonkeyPatch.context() as patch:
        for verb in ("search.search", "search.levels.search_levels", "shrink.shrink", "retrain.retrain"):
            patch.setattr(f"ramify.verbs.{verb}", stop)
        for verb in ("build.build_table", "compare.compare", "import_.import_csv"):
            patch.setattr(f"ramify.verbs.bench.{verb}", stop)
        real = cli.main

        def main(words):
            try:
                return real(words)
            except Understood:
                return 0

        patch.setattr(small_folders, "main", main)
        yield


CONFIG = b"""space: {class_path: NASBench201, init_args: {nodes: 3, operations: [none, skip_connect]}}
restriction: {cell: [[true, true], [true, false], [true, true]]}
strategy:
  class_path: ramify.strategies.Evolution
  init_args: {evaluations: 12, population: 4, parents: 2, crossovers: 2,
    evaluator: {class_path: TrainFromScratch, init_args: {epochs: 1}}}
data: {source: digits, subset: 64}
network: {channels: 4, cells: 1}
seed: 0
device: cpu
threads: 1
executor: {class_path: LocalProcesses, init_args: {processes: 2}}
"""
RETRAIN = b"""architecture: "|skip_connect~0|+|nor_conv_1x1~0|none~1|"
recipe: {epochs: 1, batch_size: 32, optimizer: sgd, lr: 0.1, drop_path: 0.1}
data: {source: digits}
network: {channels: 4}
precision: 32-true
"""
COMPARE = b"""table: small.table
columns: [valid]
strategies:
  - {class_path: RandomSearch}
  - {class_path: RegularizedEvolution, init_args: {population: 10}}
  - {class_path: BOHB, init_args: {startup: 4}}
seeds: 2
evaluations: 10
objectives: [error]
"""
BUILD = b"""space: {class_path: NASBench201, init_args: {nodes: 3}}
architectures: 2
seeds: [0, 1]
recipe: {epochs: 1}
data: digits
processes: 0
"""


SHRINK = b"""space: {class_path: NASBench201, init_args: {nodes: 3}}
shrinking: {first_epochs: 1, next_epochs: 1, epochs: 1, batch_size: 16, threshold: 8, samples: 8, min_samples: 2}
data: {source: digits, subset: 64}
network: {channels: 4, cells: 1}
"""
LIMITS = [
    b"""space: NASBench201
strategy: {class_path: GDAS, init_args: {limits: {macs: 3.0e+8, "file:t.json": 2.5}, limits_network: {channels: 16}}}
""",
    b"""space: NASBench201
strategy:
  class_path: RandomSearch
  init_args: {limits: {params: 1000000, latency_ms: 2}, objectives: [error, "file:t.csv"], reference: [1, 10.0]}
""",
    b"""space: NASBench201
strategy: {class_path: RandomSearch, init_args: {evaluations: 4, targets: {macs: 3.0e+8}, limits: {"file:a b": 1}}}
""",
]


def bombs() -> list[bytes]:
    """Return YAML that would be as large as no memory is, or as deep."""
    letters = "abcdefghij"
    doubling = [f"{letters[0]}: &{letters[0]} [x, x, x, x, x, x, x, x, x]"]
    for one, other in pairwise(letters):
        doubling.append(f"{other}: &{other} [{', '.join([f'*{one}'] * 9)}]")
    deep = "a: " + "[" * 5000 + "]" * 5000
    return ["\n".join(doubling).encode(), deep.encode(), b"a: &a [*a]", b"a: " + b"9" * 100_000, b"? " * 10_000]


def header_of_table(rng: random.Random, content: bytes) -> bytes:
    """Damage the header of a table, or write shapes and places that are giant or negative."""
    start, seal = content.index(b"\n") + 1, 32
    length = int.from_bytes(content[start : start + 8], "little")
    header = json.loads(content[start + 8 : start + 8 + length])
    if rng.random() < 0.5:
        place = rng.choice(list(header["arrays"].values()))
        giant = rng.choice((-1, -64, 2**31, 2**62, 2**63, 10**30, 0, None, 1.5, "1", True))
        if rng.random() < 0.5:
            place["offset"] = giant
        else:
            place["shape"] = rng.choice(([giant], [giant, 1], [2**32, 2**32], [-1, -27], [[27]], giant))
    else:
        header = damaged_value(rng, header)
    text = json.dumps(header).encode("utf-8", "surrogatepass")
    body = content[start + 8 + length : -seal]
    return files.sealed(content[:start] + len(text).to_bytes(8, "little") + text + body)


def header_of_weights(rng: random.Random, content: bytes) -> bytes:
    """Damage the header of a file of safetensors."""
    length = int.from_bytes(content[:8], "little")
    header = damaged_value(rng, json.loads(content[8 : 8 + length]))
    text = json.dumps(header).encode("utf-8", "surrogatepass")
    said = rng.choice((len(text),) * 6 + (2**63, 0))
    return said.to_bytes(8, "little") + text + content[8 + length :]


def state_of_checkpoint(rng: random.Random, content: bytes) -> bytes:
    """Damage the structure of a checkpoint: its seal is right, and its state is not."""
    state = torch.load(io.BytesIO(files.unsealed(content)), weights_only=True)
    for _ in range(rng.choice((1, 1, 2))):
        place = state
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            key = rng.choice(keys)
            inner = place[key]
            if not (isinstance(inner, dict | list) and inner and rng.random() < 0.8):
                break
            place = inner
        match rng.randrange(4):
            case 0:
                del place[key]
            case 1 if isinstance(inner, torch.Tensor):
                place[key] = rng.choice((inner.reshape(-1)[:1], inner.double(), inner[None], torch.zeros(0)))
            case _:
                odd = rng.choice(ODD_VALUES)
                place[key] = torch.full((3,), float("nan")) if isinstance(odd, list) else odd
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return files.sealed(buffer.getvalue())


def driven(folder: Path) -> object:
    """Continue a run whose result is gone, on the way from its checkpoint to the end."""
    with tempfile.TemporaryDirectory() as place:
        copied = Path(shutil.copytree(folder, Path(place) / "run"))
        (copied / "result.json").unlink()
        (copied / "checkpoint.before.pt").unlink(missing_ok=True)
        with contextlib.redirect_stderr(io.StringIO()):
            return RUNS[folder.name](copied)


def gzip_bomb(rng: random.Random, content: bytes) -> bytes:
    """Return a compressed CSV file, damaged, or with more in it than it says."""
    match rng.randrange(4):
        case 0:
            return gzip.compress(content + b"x" * rng.choice((10**6, 10**7)))
        case 1:
            return gzip.compress(content + b"|none~0|,1,1\n" * rng.choice((10, 10**5)))
        case _:
            return damaged_bytes(rng, gzip.compress(content))


def drawn(folder: Path) -> object:
    """Write the report of a folder; pictures are laid out, but not rendered."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("matplotlib.figure.Figure.savefig", without_drawing)
        return ramify.write_report(folder)


def measured(folder: Path) -> object:
    return ramify.evaluate(folder, threads=1, device="cpu")


def said_of(folder: Path) -> object:
    return ramify.describe(folder)


def archive() -> bytes:
    import numpy as np

    rng = np.random.default_rng(0)
    buffer = io.BytesIO()
    pixels = rng.integers(0, 255, (8, 6, 6), dtype=np.uint8)
    np.savez_compressed(
        buffer, x_train=pixels, y_train=np.arange(8) % 2, x_test=pixels[::-1] / 255, y_test=[[0], [1]] * 4
    )
    return buffer.getvalue()


def arrays() -> bytes:
    import numpy as np

    buffer = io.BytesIO()
    images = np.zeros((8, 3, 8, 8), np.uint8)
    images[:, 0, 0, 0] = range(8)
    np.savez(buffer, images=images, labels=np.array([0, 1] * 4))
    return buffer.getvalue()


DETAILS_OF_VALUES = plain({"values": {"price": {"r2": 0.5, "rmse": 1e3, "mae": 2}, "area": {"r2": None, "mae": 1}}})


def kinds(runs: dict[str, Path]) -> dict[str, Kind]:
    """Return everything that reads files or texts, by name."""
    saved = saved_folder(runs)
    found = {
        "notation": Kind([text.encode() for text in NOTATIONS], architecture, count=40_000),
        "notation file": Kind([text.encode() for text in NOTATIONS], architecture_file, count=10_000, name="a.py"),
        "architecture": Kind(members(), architecture, damaged_json, 20_000),
        "architecture file": Kind(members(), architecture_file, damaged_json, 5_000, "a.json"),
        "space": Kind(descriptions(), described, damaged_json, 20_000, "space.json"),
        "split file": Kind(
            [plain({"train": ["int", ["0", "5"]], "valid": ["int", ["1", "2"]]})],
            lambda path: read_split_file(str(path)),
            damaged_json,
            10_000,
        ),
        "candidate lists": Kind([plain([[0, 2], [2, -1], [5]])], read_lists, damaged_json, 10_000),
        "pickled lists": Kind([PICKLED], converted, damaged_bytes, 10_000, "lists.pkl"),
        "CSV": Kind([CSV, CSV.replace(b",", b";"), b"\xef\xbb\xbf" + CSV], imported, damaged_cells, 10_000, "t.csv"),
        "table": Kind([table_file(runs)], table, damaged_bytes, 5_000, "t.table"),
        "sealed table": Kind([table_file(runs)], resealed(table), damaged_bytes, 10_000, "t.table"),
        "configuration of a search": Kind([CONFIG], command_line("search"), count=3_500, name="c.yaml", few=2),
        "bombs": Kind(bombs(), command_line("search"), count=500, name="c.yaml", few=2),
        "configuration of levels": Kind(
            [small_folders.LEVELS.encode()], command_line("search"), count=4_000, name="c.yaml", few=2
        ),
        "configuration of a training": Kind([RETRAIN], command_line("retrain"), count=4_000, name="c.yaml", few=2),
        "recipe as a file": Kind(
            [b"{epochs: 1, batch_size: 32, lr: 0.1}"],
            command_line("retrain", "|skip_connect~0|+|nor_conv_1x1~0|none~1|", option="--recipe"),
            count=3_000,
            name="r.yaml",
            few=2,
        ),
        "configuration of a comparison": Kind(
            [COMPARE], command_line("bench", "compare"), count=4_000, name="c.yaml", few=2
        ),
        "configuration of a build": Kind([BUILD], command_line("bench", "build"), count=3_000, name="c.yaml", few=2),
        "header of a table": Kind([table_file(runs)], table, header_of_table, 10_000, "t.table"),
        "compressed CSV": Kind([CSV], imported, gzip_bomb, 1_000, "t.csv.gz", 2),
        "images as arrays": Kind(
            [archive(), arrays()], lambda path: load(DataSpec(source=str(path))), damaged_bytes, 6_000, "a.npz"
        ),
        "weights": Kind(
            [(runs["retrain"] / "model.safetensors").read_bytes()],
            in_run(runs["retrain"], "model.safetensors", ramify.load_network),
            header_of_weights,
            3_000,
            few=3,
        ),
        **{
            f"state of {run}": Kind(
                [(folder / "checkpoint.pt").read_bytes()],
                in_run(folder, "checkpoint.pt", driven),
                state_of_checkpoint,
                1_000,
                few=1,
            )
            for run, folder in runs.items()
        },
        "rows": Kind([ROWS, NUMBERED, b"\xef\xbb\xbf" + ROWS], loaded(), damaged_cells, 10_000, "rows.csv"),
        "rows between tabs": Kind([ROWS.replace(b",", b"\t")], loaded(), damaged_cells, 3_000, "rows.tsv"),
        "rows of UTF-16": Kind([ROWS.decode().encode("utf-16")], loaded(), damaged_bytes, 3_000, "rows.csv"),
        "compressed rows": Kind([ROWS], loaded(), gzip_bomb, 500, "rows.csv", 2),
        "rows with values": Kind([VALUES, QUOTED], learned, damaged_cells, 10_000, "rows.csv"),
        "paths of images": Kind([paths()], pictured, damaged_cells, 3_000, "images.csv"),
        "arrays as images": Kind(array_files(), image_folder, header_of_array, 6_000, "damaged.npy"),
        "costs of operators": Kind([plain(table) for table in COST_TABLES], priced, damaged_json, 10_000, "t.json"),
        "costs of operators, CSV": Kind([COST_CSV, COST_CSV_EDGES], priced, damaged_cells, 10_000, "t.csv"),
        "configuration of limits": Kind(LIMITS, command_line("search"), count=4_000, name="c.yaml", few=2),
        "configuration of a shrinking": Kind([SHRINK], command_line("shrink"), count=3_000, name="c.yaml", few=2),
        "configuration of an import": Kind(
            [plain({"columns": COLUMNS, "space": "NASBench201"})],
            command_line("bench", "import", "t.csv"),
            count=3_000,
            name="c.yaml",
            few=2,
        ),
        "architectures of a build": Kind(
            [b"|none~0|+|skip_connect~0|none~1|\n\n|nor_conv_1x1~0|+|none~0|none~1|\n"],
            lambda path: _members(spaces.NASBench201(nodes=3), path, 0),
            count=10_000,
        ),
        "details of values": Kind(
            [DETAILS_OF_VALUES], in_run(runs["retrain"], "evaluation-details.json", drawn), damaged_json, 500, few=2
        ),
        **{
            f"saved: {path.name}": Kind(
                [path.read_bytes()],
                in_run(saved, path.name, loaded()),
                damaged_json if path.suffix == ".json" else damaged_bytes,
                1_000,
                path.name,
            )
            for path in sorted(saved.iterdir())
        },
        "Parquet": Kind([parquet()], lambda path: load(DataSpec(source=str(path))), damaged_bytes, 3_000, "p.parquet"),
    }
    for suffix, content in images().items():
        found[f"image {suffix}"] = Kind([content], image_folder, damaged_bytes, 1_500, f"damaged{suffix}")
    for run, folder in runs.items():
        for path in sorted(folder.iterdir()):
            if path.is_dir() or path.name.startswith(".") or path.suffix in (".svg", ".html"):
                continue
            damage = damaged_json if path.suffix == ".json" else damaged_words
            damage = damaged_bytes if path.suffix in (".pt", ".safetensors") else damage
            seeds = [path.read_bytes()]
            name = f"{run}: {path.name}"
            found[name] = Kind(seeds, in_run(folder, path.name, looked_at), damage, 2_500, path.name)
            if path.suffix in (".json", ".jsonl", ".yaml"):
                uses = {"drawn": drawn, "said": said_of} | ({"measured": measured} if run == "retrain" else {})
                for use, do in uses.items():
                    found[f"{name}, {use}"] = Kind(
                        seeds, in_run(folder, path.name, do), damaged_values, 500, path.name, 0
                    )
            if path.suffix != ".pt":
                found[f"{name}, continued"] = Kind(
                    seeds, in_run(folder, path.name, continued), damage, 1_000, path.name
                )
    return found


def converted(path: Path) -> object:
    out = path.with_suffix(".json")
    try:
        return convert(path, out)
    finally:
        out.unlink(missing_ok=True)


PICKLED = bytes.fromhex("80049513000000000000005d94285d94284b004b02655d94284b024affffffff655d94284b0565652e")


def table_file(runs: dict[str, Path]) -> bytes:
    path = next(iter(runs.values())).parent / "whole.csv"
    path.write_bytes(CSV)
    imported(path).save(path.with_suffix(".table"))
    return path.with_suffix(".table").read_bytes()


def resealed(read: Callable[[Path], object]) -> Callable[[Path], object]:
    """Return the same for a file whose checksum, its last 32 bytes, is that of what is before it."""

    def read_sealed(path: Path) -> object:
        path.write_bytes(files.sealed(path.read_bytes()[:-32]))
        return read(path)

    return read_sealed


def failures_of(kind: Kind, folder: Path, count: int, seed: int = 0) -> list[str]:
    """Return what went wrong with that many damaged inputs: anything but a result or one short line, in time."""
    path = folder / kind.name
    failures: dict[str, str] = {}
    for number in range(count):
        rng = random.Random(f"{seed} {number}")
        content = kind.damage(rng, rng.choice(kind.seeds))
        path.write_bytes(content)
        began = time.process_time()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                kind.read(path)
            problem = ""
        except RamifyError as error:
            said = str(error).replace(str(folder), "FOLDER")
            problem = "" if len(said) < 300 and "\n" not in said else f"said {said!r:.400}"
        except Exception as error:
            places = traceback.extract_tb(error.__traceback__)
            place = next((at for at in reversed(places) if "/ramify/" in at.filename), places[-1])
            where = f"{Path(place.filename).name}:{place.lineno}"
            problem = f"{type(error).__name__} at {where}: {error!s:.150}"
        took = time.process_time() - began
        if took > SECONDS:
            problem = f"took {took:.1f} s"
        if problem:
            failures.setdefault(problem.partition(":")[0], f"{problem} (input {number}: {content[:200]!r})")
    return list(failures.values())


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def test_whole_inputs_are_read(runs, tmp_path):
    """What is damaged is what would be read."""
    for name, kind in kinds(runs).items():
        for seed in kind.seeds if name != "bombs" else ():
            (tmp_path / kind.name).write_bytes(seed)
            kind.read(tmp_path / kind.name)


def test_everything_that_reads(runs, tmp_path):
    """A few inputs of every kind."""
    failures = {name: failures_of(kind, tmp_path, kind.few, seed=1) for name, kind in kinds(runs).items()}
    assert not {name: found for name, found in failures.items() if found}


SHARES = 8  # of the kinds, for several processes


@pytest.mark.slow
@pytest.mark.parametrize("share", range(SHARES))
def test_everything_that_reads_at_length(share, runs, tmp_path):
    """Over 200,000 inputs in all."""
    failures, every = {}, kinds(runs)
    for name, kind in list(every.items())[share::SHARES]:
        before = peak()
        failures[name] = failures_of(kind, tmp_path, round(SHARE * kind.count))
        if peak() - before > BYTES:
            failures[name].append(f"took {(peak() - before) / 2**20:.0f} MiB more")
    assert not {name: found for name, found in failures.items() if found}
    assert sum(kind.count for kind in every.values()) >= 200_000
