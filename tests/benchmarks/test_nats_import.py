"""Official NATS-Bench files: none is at hand, so stand-ins are written with the classes of the official package."""

import subprocess

import pytest

from ramify.benchmarks import ORDERS, import_nats
from ramify.benchmarks.nats_import import checksum
from ramify.errors import MissingExtraError, TableError

nats_bench = pytest.importorskip("nats_bench")

TIMES = {0: (7.221093, 2.548979), 11: (12.462057, 4.151252), 284: (4.875794, 2.389493)}
MEASURED = {
    "cifar10-valid": ("x-valid", "ori-test"),
    "cifar10": ("ori-test",),
    "cifar100": ("x-valid", "x-test", "ori-test"),
    "ImageNet16-120": ("x-valid", "x-test", "ori-test"),
}
SEEDS = {"12": {"cifar10-valid": (111, 777)}, "200": dict.fromkeys(MEASURED, (777, 888, 999))}
IMAGES = {"cifar10-valid": 25_000, "cifar10": 50_000, "cifar100": 50_000, "ImageNet16-120": 151_700}
EVALUATED = {"x-valid": {"cifar10-valid": 25_000, "cifar100": 5_000, "ImageNet16-120": 3_000}}


def accuracy(index, schedule, training, measured, seed, epoch):
    """A number that tells where it comes from."""
    place = sum(len(name) for name in (training, measured))
    return round(index / 10 + int(schedule) / 7 + place + seed / 1000 + epoch / 100, 6)


def results(index, cell, schedule, measured_epochs):
    found = nats_bench.ArchResults(index, cell)
    for training, names in MEASURED.items():
        for seed in SEEDS[schedule].get(training, (111,)):
            epochs = int(schedule)
            ones = dict.fromkeys(range(epochs), 1.0)
            trial = nats_bench.ResultsCount(training, None, ones, ones, 0.1, 1.0, {}, seed, epochs, [0.01])
            for name in names:
                kept = range(epochs) if name != "x-test" or measured_epochs == "all" else [epochs - 1]
                accuracies = {e: accuracy(index, schedule, training, name, seed, e + 1) for e in kept}
                trial.update_OLD_eval(name, accuracies, {e: value / 100 for e, value in accuracies.items()})
            train, evaluation = TIMES[index]
            trial.reset_pseudo_train_times(train * IMAGES[training] / 25_000)
            for name in names:
                images = EVALUATED.get(name, {}).get(training, 1_000)
                trial.reset_pseudo_eval_times(name, evaluation * images / 25_000)
            found.update(training, seed, trial)
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder as the official archive unpacks to, with three architectures."""
    path = tmp_path_factory.mktemp("official") / "NATS-tss-v1_0-3ffb9-simple"
    path.mkdir()
    cells = ORDERS["nasbench201"].notations()
    nats_bench.pickle_save({"meta_archs": cells}, str(path / "meta.pickle"))
    for index in TIMES:
        content = {hp: results(index, cells[index], hp, "last").state_dict() for hp in ("12", "200")}
        nats_bench.pickle_save(content, str(path / f"{index:06d}.pickle"))
    return path


@pytest.fixture(scope="module")
def table(folder):
    return import_nats(folder, sha256=checksum(folder))


def test_every_seed_and_schedule_has_its_place(table):
    assert len(table) == 3
    assert table.notations == [ORDERS["nasbench201"].notations()[index] for index in TIMES]
    for name, training, measured in (
        ("cifar10_valid", "cifar10-valid", "x-valid"),
        ("cifar10_test", "cifar10", "ori-test"),
        ("cifar100_valid", "cifar100", "x-valid"),
        ("cifar100_test", "cifar100", "x-test"),
        ("imagenet16_valid", "ImageNet16-120", "x-valid"),
        ("imagenet16_test", "ImageNet16-120", "x-test"),
    ):
        for schedule in ("12", "200"):
            column = table.column(f"{name}@{schedule}")
            assert column.seeds == SEEDS[schedule].get(training, (111,))
            assert (column.schedule, column.epochs) == (int(schedule), (int(schedule),))
            for place, index in enumerate(TIMES):
                known = [accuracy(index, schedule, training, measured, s, int(schedule)) for s in column.seeds]
                assert [table.value(column.name, place, seed=seed) for seed in column.seeds] == known
                assert table.value(column.name, place) == pytest.approx(sum(known) / len(known))
                loss = table.value(f"{name}_loss@{schedule}", place, seed=column.seeds[0])
                assert loss == pytest.approx(known[0] / 100)


def test_the_values_are_those_that_the_official_package_gives(folder, table):
    api = nats_bench.create(str(folder), "tss", fast_mode=True, verbose=False)
    for place, index in enumerate(TIMES):
        for schedule in ("12", "200"):
            info = api.get_more_info(index, "cifar10-valid", hp=schedule, is_random=False)
            name = f"cifar10_valid@{schedule}"
            assert table.value(name, place) == pytest.approx(info["valid-accuracy"], rel=1e-12)
            assert table.value(f"cifar10_valid_loss@{schedule}", place) == pytest.approx(info["valid-loss"], rel=1e-12)
            seconds = info["train-all-time"] + info["valid-per-time"]
            assert table.seconds(name, place) == pytest.approx(seconds, rel=1e-12)


def test_queries_cost_what_was_published(table):
    assert table.seconds("cifar10_valid@12", 0) == pytest.approx(89.2021, abs=5e-5)
    assert table.seconds("cifar100_valid@12", 0) == pytest.approx(173.8160, abs=5e-5)
    assert table.seconds("imagenet16_valid@12", 0) == pytest.approx(526.1170, abs=5e-5)
    assert table.seconds("cifar10_valid@12", 1) == pytest.approx(153.6959, abs=5e-5)
    assert table.seconds("cifar10_valid@12", 2) == pytest.approx(60.8990, abs=5e-5)


def test_every_epoch_where_it_was_measured(folder):
    seen = []
    table = import_nats(folder, sha256=checksum(folder), every_epoch=True, report=lambda *done: seen.append(done))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert table.column("cifar10_valid@12").epochs == tuple(range(1, 13))
    assert table.column("cifar100_test@200").epochs == (200,)
    known = accuracy(11, "12", "cifar10-valid", "x-valid", 777, 4)
    assert table.value("cifar10_valid@12", 1, epochs=4, seed=777) == known
    assert table.seconds("cifar10_valid@12", 0, epochs=1) == pytest.approx(7.221093 + 2.548979)


def test_a_whole_file(folder, tmp_path):
    """The other form of the official benchmark: one archive of everything."""
    cells = ORDERS["nasbench201"].notations()
    infos = {index: {"12": results(index, cells[index], "12", "all").state_dict()} for index in (0, 284)}
    path = tmp_path / "NATS-tss-v1_0-3ffb9.pickle.pbz2"
    content = {"meta_archs": cells, "arch2infos": infos, "evaluated_indexes": [0, 284]}
    nats_bench.pickle_save(content, str(path).removesuffix(".pbz2"))
    table = import_nats(path, sha256=checksum(path).upper())
    assert [table.notations.index(cells[index]) for index in (0, 284)] == [0, 1]
    assert table.value("cifar10_valid@12", 1, seed=111) == accuracy(284, "12", "cifar10-valid", "x-valid", 111, 12)
    assert {column.schedule for column in table.columns.values()} == {12}


def test_an_architecture_with_fewer_seeds_is_never_averaged_silently(folder, tmp_path):
    cells = ORDERS["nasbench201"].notations()
    fewer = results(284, cells[284], "12", "all")
    fewer.all_results.pop(("cifar10-valid", 777))
    fewer.dataset_seed["cifar10-valid"].remove(777)
    path = tmp_path / "NATS-tss-v1_0-3ffb9.pickle.pbz2"
    infos = {0: {"12": results(0, cells[0], "12", "all").state_dict()}, 284: {"12": fewer.state_dict()}}
    content = {"meta_archs": cells, "arch2infos": infos, "evaluated_indexes": [0, 284]}
    nats_bench.pickle_save(content, str(path).removesuffix(".pbz2"))
    table = import_nats(path, sha256=checksum(path))
    assert table.column("cifar10_valid@12").seeds == (111, 777)
    assert table.value("cifar10_valid@12", 1, seed=111) > 0
    for ask in (lambda: table.value("cifar10_valid@12", 1), lambda: table.value("cifar10_valid@12", 1, seed=777)):
        with pytest.raises(TableError, match="has no value for"):
            ask()
    assert table.seconds("cifar10_valid@12", 1) == pytest.approx(60.8990, abs=5e-5)


def test_the_checksum_of_a_folder_is_that_of_sha256sum(folder):
    done = subprocess.run("sha256sum * | sha256sum", shell=True, cwd=folder, capture_output=True, text=True, check=True)
    assert checksum(folder) == done.stdout.split()[0]


def test_nothing_is_unpickled_without_its_checksum(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("nats_bench.create", lambda *_, **__: pytest.fail("a pickle was read"))
    for wrong in ("", "0" * 64):
        with pytest.raises(TableError, match=f"holds pickles, .*: --sha256 {checksum(folder)}$"):
            import_nats(folder, sha256=wrong)
    with pytest.raises(TableError, match="does not name its space; official names begin with NATS-tss- or NATS-sss-"):
        import_nats(tmp_path, sha256="")
    with pytest.raises(TableError, match="there is no file or folder"):
        import_nats(tmp_path / "NATS-tss-v1_0-3ffb9-simple", sha256="")


def test_other_contents_are_refused(tmp_path):
    path = tmp_path / "NATS-sss-v1_0-50262.pickle.pbz2"
    path.write_bytes(b"no archive")
    with pytest.raises(TableError, match="is no NATS-Bench file as `nats_bench` knows them"):
        import_nats(path, sha256=checksum(path))
    nats_bench.pickle_save({"meta_archs": []}, str(path).removesuffix(".pbz2"))
    with pytest.raises(TableError, match="is no NATS-Bench file"):
        import_nats(path, sha256=checksum(path))
    empty = {"meta_archs": [], "arch2infos": {}, "evaluated_indexes": []}
    nats_bench.pickle_save(empty, str(path).removesuffix(".pbz2"))
    with pytest.raises(TableError, match=r"^[^(]* holds no architecture"):
        import_nats(path, sha256=checksum(path))


def test_a_missing_package_is_named_with_its_extra(folder, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "nats_bench", None)
    with pytest.raises(MissingExtraError, match=r"needs the package `nats_bench`: pip install 'ramify\[nats\]'"):
        import_nats(folder, sha256=checksum(folder))
