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
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest
import small_folders
import torch
from mutations import ODD_VALUES, Damage, damaged_bytes, damaged_json, damaged_value, damaged_values, damaged_words
from test_file_faults import without_drawing

import ramify
from ramify import files, spaces
from ramify.benchmarks import open_table
from ramify.data import DataSpec, load
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
from ramify.training import Recipe

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
    "[0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5, 0, 1]",
    "[[0, 1], [2, 3, 4], [5, 0]]",
    "01/02 03:04:05 AM genotype = Genotype(normal=[('sep_conv_3x3', 1), ('sep_conv_3x3', 0)], normal_concat=[2], "
    "reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1)], reduce_concat=[2])\n02/02 valid_acc 97.1\n",
]


def plain(value) -> bytes:
    return json.dumps(value).encode()


def members() -> list[bytes]:
    rng = random.Random(0)
    kinds = (kind() for kind in spaces.SPACES.values())
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
        space = kind()
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


WHOLE: dict[str, bytes] = {}


def images() -> dict[str, bytes]:
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    for suffix, kind in ((".png", "PNG"), (".jpg", "JPEG"), (".tif", "TIFF"), (".webp", "WEBP"), (".bmp", "BMP")):
        buffer = io.BytesIO()
        Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(buffer, kind)
        WHOLE[suffix] = buffer.getvalue()
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


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, Path]:
    """A finished search, an unfinished one, a finished retraining."""
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


ARCHITECTURE = spaces.NASBench201(nodes=3).sample(random.Random(0))


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
        for verb in ("build.build_table", "compare.compare"):
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


def kinds(runs: dict[str, Path]) -> dict[str, Kind]:
    """Return everything that reads files or texts, by name."""
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
        "CSV": Kind([CSV, CSV.replace(b",", b";"), b"\xef\xbb\xbf" + CSV], imported, count=10_000, name="t.csv"),
        "table": Kind([table_file(runs)], table, damaged_bytes, 5_000, "t.table"),
        "sealed table": Kind([table_file(runs)], resealed(table), damaged_bytes, 10_000, "t.table"),
        "configuration of a search": Kind(
            [CONFIG, *bombs()], command_line("search"), count=4_000, name="c.yaml", few=2
        ),
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
            place = error.__traceback__
            while place.tb_next is not None and "ramify" in place.tb_next.tb_frame.f_code.co_filename:
                place = place.tb_next
            where = f"{Path(place.tb_frame.f_code.co_filename).name}:{place.tb_lineno}"
            problem = f"{type(error).__name__} at {where}: {error!s:.150}"
        took = time.process_time() - began
        if took > SECONDS:
            problem = f"took {took:.1f} s"
        if problem:
            failures.setdefault(problem.partition(":")[0], f"{problem} (input {number}: {content[:200]!r})")
    return list(failures.values())


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


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
