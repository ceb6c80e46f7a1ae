"""Several processes with a share of every batch do what one process does with the whole of it."""

import json
import os
import signal
import time

import pytest
import torch
from filelock import FileLock
from hypothesis import given, settings
from hypothesis import strategies as st

import ramify as library
from distributed_failures import fail_in_one
from distributed_work import CASES, SEARCH, everything
from ramify import parallel
from ramify.errors import ConfigurationError, RunError
from ramify.run import RunFolder
from ramify.run.processes import spread
from ramify.spaces import NASBench201
from ramify.strategies import GDAS
from ramify.testing.kills import KILL, Strike, started
from ramify.testing.runs import outcomes
from ramify.training import Recipe
from small_runs import DATA, SPACES, differences, loaded, outcome, process, ramify, restored, words_of

PROCESSES = 2
ARCH = "|nor_conv_3x3~0|+|nor_conv_3x3~0|skip_connect~1|+|skip_connect~0|none~1|nor_conv_3x3~2|"


@pytest.fixture(scope="module")
def folder(tmp_path_factory, worker_id):
    """One folder for all processes that share the tests."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "processes"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def found(folder):
    """What one process, and each of two, has come to."""
    with FileLock(folder / "lock"):
        if not (done := folder / "done").exists():
            everything(str(folder))
            spread(PROCESSES, everything, (str(folder),))
            done.touch()
    load = {path.stem: torch.load(path) for path in folder.glob("*.pt")}
    return load["0-of-1"], [load[f"{rank}-of-{PROCESSES}"] for rank in range(PROCESSES)]


@pytest.mark.parametrize("name", [*CASES, "retraining", "last-batch-retraining", "taught-retraining"])
def test_two_processes_with_half_the_batch_go_the_way_of_one(found, name):
    alone, several = found
    expected = alone["steps"][name]
    assert all(torch.equal(a, b) for a, b in zip(*(x["steps"][name].values() for x in several), strict=True))
    steps = several[0]["steps"][name]
    assert steps.keys() == expected.keys()
    for place, value in expected.items():
        # sums of losses are those of 32-bit logits, whatever the weights are; so is the gradient of CDARTS' α
        narrow = "averages" in place or ("CDARTS" in name and "alphas" in place) or name.endswith("float32")
        tolerance = 1e-5 if narrow else 1e-7
        torch.testing.assert_close(
            steps[place], value, rtol=tolerance, atol=tolerance, msg=lambda m, p=place: f"{p} {m}"
        )
    moved = [place for place in expected if "alphas" in place or "controller" in place or "network" in place]
    assert moved or name == "RSPS"


def test_processes_split_a_last_batch_into_as_many_parts(found):
    """Five images, three and two of them in each process, make two parts: of three and of two."""
    (first, of_first), (second, of_second) = (one["in parts"] for one in found[1])
    assert of_first == [(2, 4 / 5, [2, 1]), (1, 2 / 5, [1, 1])]
    assert of_second == [(1, 2 / 5, [2, 1]), (1, 2 / 5, [1, 1])]
    assert all(torch.equal(value, second[place]) and bool(value.isfinite().all()) for place, value in first.items())


@pytest.mark.parametrize("name", ["affine", "plain", "cumulative"])
def test_norms_have_the_statistics_of_all_images(found, name):
    alone, several = found
    for one in several:
        for kind, values in alone["normalized"][name].items():
            torch.testing.assert_close(one["normalized"][name][kind], values, rtol=1e-10, atol=1e-12)


def test_a_measurement_is_the_same_in_all_processes(found):
    alone, several = found
    assert several[0]["measured"] == several[1]["measured"]
    for one, expected in zip(several[0]["measured"], alone["measured"], strict=True):
        assert one == pytest.approx(expected, rel=1e-12)
        assert all(one[name] == expected[name] for name in ("items", "top1", "top5", "balanced_accuracy"))


@pytest.mark.parametrize("size", [5, 64])
def test_the_worst_images_of_all_processes_are_those_of_one(found, size):
    alone, (first, second) = found
    assert len(first["worst"][size]["images"]) == 24 and second["worst"][size] is None
    assert first["worst"][size] == alone["worst"][size]


def test_processes_drop_elements_of_their_own(found):
    _, several = found
    masks = several[0]["drawn"]
    assert torch.equal(masks, several[1]["drawn"])
    assert set(masks.unique().tolist()) == {0.0, 2.0}
    assert len({tuple(image.flatten().tolist()) for image in masks}) == len(masks)


def test_a_search_that_is_continued_ends_as_if_nothing_had_happened(found):
    for one in found[1]:
        whole, after = map(restored, one["continued"])
        assert differences(whole, after) == []


def test_disagreement_is_said_by_all_in_one_line(found):
    for one in found[1]:
        values, names, first, batch = one["refused"]
        assert values.startswith("the 2 processes of the run disagree at step 7, first in 'row.alpha': ")
        assert "at step 8, not even about what there is to compare" in names
        assert first == "only process 0 has tried"
        assert batch == "`batch_size` 15 cannot be divided among 2 devices; take 14 or 16"
        assert not any("\n" in said for said in one["refused"])
        assert one["apart"] == (1, 3.0)


@pytest.mark.parametrize(
    ("kind", "error", "message"),
    [
        ("wrong", ConfigurationError, "process 1 has found something wrong"),
        ("killed", RunError, "process 1 of 2 was ended by SIGKILL.*; the same command continues"),
        pytest.param("crashed", RuntimeError, "process 1: a mistake", marks=pytest.mark.slow),
    ],
)
def test_what_ends_one_process_ends_all_and_is_said(kind, error, message):
    begun = time.monotonic()
    with pytest.raises(error, match=message):
        spread(PROCESSES, fail_in_one, (kind,))
    assert time.monotonic() - begun < 120  # not as long as the others would wait


def test_a_command_that_is_stopped_goes_on_to_the_same_end(found, folder, tmp_path):
    words = [*words_of("nasbench201", SEARCH, tmp_path / "run"), "--devices", str(PROCESSES)]
    running = process("search", *words, RAMIFY_SAVE_EVERY_S="0")
    history = tmp_path / "run" / "history.jsonl"
    while running.poll() is None and not (history.exists() and history.read_text().count("\n") >= 1):
        time.sleep(0.02)
    running.send_signal(signal.SIGTERM)
    _, said = running.communicate(timeout=300)
    assert running.returncode == 130, said
    assert len(said.splitlines()) == 1 and "the same command continues" in said
    assert not (tmp_path / "run" / "result.json").exists()

    code, out, said = ramify("search", *words)
    assert (code, said) == (0, "")
    undisturbed = outcome(folder / "undisturbed")
    assert out.strip() == undisturbed["result"][0]["notation"]
    assert differences(undisturbed, outcome(tmp_path / "run")) == []
    provenance = json.loads((tmp_path / "run" / "provenance.json").read_text())
    assert provenance["command"][1:4] == ["-m", "ramify", "search"]
    assert len(provenance["sessions"]) == 2

    space, layout = SPACES["nasbench201"]
    with pytest.raises(RunError, match=f"devices is {PROCESSES} there and 1 now"):
        library.search(space, SEARCH, DATA, network=layout, threads=1, device="cpu", out=tmp_path / "run")


@pytest.mark.slow
def test_a_training_of_two_processes_killed_in_the_middle_of_an_epoch(tmp_path):
    def words(out):
        recipe = ["--recipe.epochs", "2", "--recipe.batch_size", "16", "--recipe.ema", "0.9"]
        recipe += ["--recipe.validation", "0.2", "--recipe.drop_path", "0.2", "--precision", "bf16-mixed"]
        network = ["--network.channels", "4", "--network.cells", "1", "--data", "digits", "--data.subset", "100"]
        machine = ["--devices", str(PROCESSES), "--device", "cpu", "--threads", "1", "--progress", "false"]
        return ["retrain", ARCH, *recipe, *network, *machine, "--out", str(out)]

    assert started(words(tmp_path / "whole"), tmp_path, None)[0] == 0
    code, said = started(words(tmp_path / "killed"), tmp_path, Strike("after rename checkpoint.pt", KILL, 3))
    assert code == 2 and "was ended by SIGKILL" in said
    assert started(words(tmp_path / "killed"), tmp_path, None)[0] == 0
    assert RunFolder(tmp_path / "killed").provenance()["sessions"][1]["from_step"] == 3  # of 5 in an epoch
    assert not differences(outcomes(tmp_path / "killed"), outcomes(tmp_path / "whole"))


@pytest.mark.slow
def test_a_result_that_is_not_kept_can_be_trained(tmp_path):
    space, layout = SPACES["nasbench201"]
    machine = {"network": layout, "devices": PROCESSES, "device": "cpu", "progress": False}
    result = library.search(space, SEARCH, DATA, **machine)
    assert result.out is None and [row["epoch"] for row in result.history] == [0, 1, 2, 3]
    recipe = Recipe(epochs=1, batch_size=16, auxiliary=False)
    trained = library.retrain(result, recipe=recipe, out=tmp_path / "trained", **machine)
    assert trained.architecture == result.architecture and trained.out == tmp_path / "trained"
    assert (tmp_path / "trained" / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("devices", "message"),
    [(0, "`devices` must be at least 1, got 0"), (-2, "`devices` must be at least 1, got -2")],
)
def test_numbers_of_devices_that_are_none(devices, message):
    with pytest.raises(ConfigurationError, match=message):
        library.search(NASBench201(), GDAS(), devices=devices)


def test_the_number_of_devices_is_that_of_the_processes_that_were_started(monkeypatch):
    for name, value in {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "4", "RANK": "3"}.items():
        monkeypatch.setenv(name, value)
    assert (parallel.started(), parallel.rank(), parallel.is_first(), parallel.world()) == (4, 3, False, 1)
    with pytest.raises(ConfigurationError, match="`devices` is 2, but 4 processes were started; leave it out"):
        library.search(NASBench201(), GDAS(), devices=2)
    monkeypatch.delenv("TORCHELASTIC_RUN_ID")  # somebody else's processes
    assert (parallel.started(), parallel.is_first()) == (1, True)


@settings(max_examples=30)
@given(st.integers(1, 5), st.integers(1, 12), st.integers(0, 3), st.booleans())
def test_shares_make_up_the_batch(processes, batch_size, start, drop_last):
    split, options = loaded().split("search_train"), {"seed": 3, "shuffle": True, "drop_last": drop_last}
    options["augmentation"] = loaded().augmentation
    whole = list(split.batches(batch_size, start=start, **options))
    shares = [
        list(split.batches(batch_size, start=start, part=(rank, processes), **options)) for rank in range(processes)
    ]
    for number, (x, y) in enumerate(whole):
        for rank in range(processes):
            xs, ys = shares[rank][number]
            assert torch.equal(xs, x[rank::processes]) and torch.equal(ys, y[rank::processes])
    every = [
        list(split.batches(batch_size, start=start + rank, every=processes, **options)) for rank in range(processes)
    ]
    for number, (x, y) in enumerate(whole):
        xs, ys = every[number % processes][number // processes]
        assert torch.equal(xs, x) and torch.equal(ys, y)
    assert sum(map(len, every)) == len(whole)


def test_alone_nothing_is_changed():
    x = torch.randn(3, 2)
    assert parallel.total(x) is x and parallel.share(x) is x
    parallel.average([x, None])
    assert parallel.part() == (0, 1) and parallel.divisible(7) == 7
    assert parallel.of_first([0.1]) == [0.1] and parallel.text_of_first("a") == "a" and parallel.any_of(True)
    assert parallel.by_first(lambda: 3) == 3
    assert parallel.counted(5) == [5] and parallel.held(5) == [5]
    with parallel.holding([3, 2]):
        assert parallel.held(2) == [2]
    parallel.agree(lambda: pytest.fail("there is nobody to agree with"), "now")
    assert parallel.is_first() and "WORLD_SIZE" not in os.environ


def test_fingerprints_tell_where_states_differ():
    one = {"a": torch.tensor([0.0, 1.0]), "b": [1, {"c": None}], "d": torch.tensor(True)}
    same = {"a": torch.tensor([0.0, 1.0]), "b": [1, {"c": None}], "d": torch.tensor(True)}
    assert parallel.fingerprints(one) == parallel.fingerprints(same)
    assert set(parallel.fingerprints(one)) == {"a", "b.0", "b.1.c", "d"}
    for name, value in (
        ("a", torch.tensor([-0.0, 1.0])),
        ("a", torch.tensor([0.0, 1.0]).double()),
        ("d", torch.tensor(1)),
    ):
        other = parallel.fingerprints({**same, name: value})
        assert {place for place in other if other[place] != parallel.fingerprints(one)[place]} == {name}
