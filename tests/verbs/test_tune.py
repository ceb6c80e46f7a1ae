"""`ramify tune`: a run like all others, whose result goes back into a recipe."""

import json
import shutil

import pytest
import yaml

import ramify
from killing import forked
from ramify import recipes
from ramify.cli import main
from ramify.data import DataSpec
from ramify.errors import ConfigurationError, RunError
from ramify.hypergradient import (
    HOAG,
    Against,
    ConjugateGradients,
    DataCleaning,
    Descent,
    LogisticRegression,
    NetworkRegularization,
    RidgeRegression,
)
from ramify.testing import Strike, chaos
from ramify.testing.kills import INT, KILL, TERM
from ramify.testing.runs import outcomes
from small_runs import ramify as command

SMALL = {"threads": 1, "device": "cpu", "progress": False}
EXACT = {**SMALL, "precision": "64-true"}
CANCER = DataSpec(source="breast-cancer", subset=120)
QUICK = HOAG(iterations=4, step="secant", epsilon=1e-3)
NETWORK = {"channels": 2, "cells": 1}
TOY = HOAG(iterations=2, method=ConjugateGradients(damping=0.1, iterations=2), solver=Descent(steps=2))


def words(*more, out):
    """Return the words of a small tuning with all rivals."""
    data = ["--data", "breast-cancer", "--data.subset", "100"]
    hoag = ["--hoag.iterations", "4", "--hoag.step", "secant", "--against.rivals", "grid,random,tpe"]
    machine = ["--precision", "64-true", "--threads", "1", "--device", "cpu", "--progress", "false"]
    return ["tune", "--problem", "LogisticRegression", *data, *hoag, *machine, *more, "--out", str(out)]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a finished tuning."""
    out = tmp_path_factory.mktemp("tuned") / "run"
    assert main(words(out=out)) == 0
    return out


def rows_of(out):
    return [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]


def test_the_run_has_everything(run):
    rows = rows_of(run)
    assert list(dict.fromkeys(row["phase"] for row in rows)) == ["tune", "grid", "random", "tpe", "measure"]
    result = json.loads((run / "result.json").read_text())
    cost = result["cost"]
    assert cost == [row["cost"] for row in rows if row["phase"] == "tune"][-1]
    for rival in ("grid", "random", "tpe"):
        spent = [row["cost"] for row in rows if row["phase"] == rival]
        assert spent[-1] >= cost > (spent[-2] if len(spent) > 1 else 0)
        reached = result["reached"][rival]
        assert reached["exact"] > 0 and reached["evaluations"] == len(spent)
    tuned = json.loads((run / "tuned.json").read_text())
    assert tuned["found"] == {} and not (run / "recipe.yaml").exists()
    (penalty,) = tuned["values"]["penalty"]
    assert 0.0024 < penalty < 404
    assert result["validation_loss"] == result["reached"]["hoag"]["exact"]


def test_it_prints_what_was_reached(tmp_path, capsys):
    assert main(words("--against.rivals", "grid", out=tmp_path / "a")) == 0
    out = capsys.readouterr().out
    assert out.startswith("penalty: ") and "hoag: validation loss " in out and " passes" in out
    assert main(words("--against.rivals", "grid", out=tmp_path / "a")) == 0  # finished: says the same again
    assert capsys.readouterr().out == out


def test_the_report(run, tmp_path):
    run = shutil.copytree(run, tmp_path / "run")
    assert main(["report", str(run)]) == 0
    page = (run / "report.html").read_text()
    for text in ("How the hyper-parameters were tuned", "Best validation loss by cost", "What everybody reached"):
        assert text in page
    assert "ramify tune" in page.split("Repeat it")[-1]
    assert (run / "pictures" / "tuning.svg").exists() and (run / "pictures" / "tuning-curves.svg").exists()
    before = page
    assert main(["report", str(run)]) == 0
    assert (run / "report.html").read_text() == before


def test_it_is_killed_and_continued(run, tmp_path):
    strikes = [Strike("after create checkpoint.pt", KILL, 3), Strike("before rename result.json", KILL)]
    survived = chaos(words(out=tmp_path / "killed"), strikes=strikes, start=forked, whole=outcomes(run))
    assert len(survived.ended) == len(strikes)


OTHERS = {
    "logistic": [],
    "cleaning": [
        *("--problem", "DataCleaning", "--data.source", "digits"),
        # To a tolerance, conjugate gradients are only known to that tolerance: their many steps magnify rounding.
        *("--hoag.method", "ConjugateGradients", "--hoag.method.damping", "0.1", "--hoag.method.iterations", "6"),
    ],
    "network": [
        *("--problem", "NetworkRegularization", "--problem.smoothing", "true", "--problem.class_weights", "true"),
        *("--problem.noise", "true", "--data.source", "digits", "--data.subset", "42", "--hoag.iterations", "2"),
        *(
            "--hoag.method",
            "ConjugateGradients",
            "--hoag.method.damping",
            "0.1",
            "--hoag.method.iterations",
            "2",
            "--hoag.solver",
            "Descent",
        ),
        *("--hoag.solver.steps", "2", "--network.channels", "2", "--network.cells", "1"),
    ],
}


@pytest.mark.slow
def test_killed_while_it_tunes_tries_and_measures(run, tmp_path):
    """With safe points in every phase, some of them asked for."""
    strikes = [Strike("after append history.jsonl", number, 4) for number in (KILL, INT, KILL, TERM, KILL, KILL)]
    survived = chaos(words(out=tmp_path / "killed"), strikes=strikes, start=forked, whole=outcomes(run))
    assert len(survived.ended) > 3


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_two_processes_come_to_what_one_does(name, tmp_path):
    """Halves of odd sizes, so that one of them has an example more."""
    more = ["--against.rivals", "[]", "--data.subset", "102", *OTHERS[name]]
    found = []
    for devices in ("1", "2"):
        code, _, err = command(*words(*more, "--devices", devices, out=tmp_path / devices))
        assert code == 0, err
        found.append([row for row in rows_of(tmp_path / devices) if row["phase"] == "tune"])
    for one, two in zip(*found, strict=True):
        for key in ("validation_loss", "gradient_norm", "smoothness", *(key for key in one if "_value" in key)):
            assert two[key] == pytest.approx(one[key], rel=1e-7), key
        assert (two["inner_iterations"], two["products"]) == (one["inner_iterations"], one["products"])


def test_other_settings_are_refused_in_the_same_folder(run, capsys):
    assert main(words("--problem.start", "2.0", out=run)) == 2
    assert "problem.start is 1.0 there and 2.0 now" in capsys.readouterr().err


def test_from_python_with_nothing_kept():
    result = ramify.tune(LogisticRegression(penalties=3), CANCER, hoag=QUICK, **EXACT)
    assert result.out is None and len(result.values["penalty"]) == 3
    assert result.summary["validation_loss"] <= result.history[0]["validation_loss"] * 1.001
    with pytest.raises(ConfigurationError, match="no recipe takes penalty"):
        result.recipe()


def test_ridge_regression_learns_values():
    data = DataSpec(source="diabetes", targets="values", subset=200)
    result = ramify.tune(RidgeRegression(penalties=10), data, hoag=QUICK, **EXACT)
    assert len(result.values["penalty"]) == 10


def test_more_classes_than_two():
    result = ramify.tune(LogisticRegression(), DataSpec(subset=100), hoag=QUICK, **EXACT)
    assert result.summary["validation_loss"] < result.history[0]["validation_loss"] * 1.001


def test_wrong_labels_lose_their_weight(tmp_path):
    hoag = HOAG(iterations=5, step="secant", schedule="quadratic", epsilon=3e-3)
    data = DataSpec(subset=800)
    result = ramify.tune(DataCleaning(), data, hoag=hoag, out=tmp_path / "run", **EXACT)
    assert result.summary["precision"] >= 0.8
    rows = json.loads((tmp_path / "run" / "weights.json").read_text())
    assert [row["weight"] for row in rows] == sorted(row["weight"] for row in rows)
    assert len(rows) == 400 and sum(row["made_wrong"] for row in rows) == 80
    assert {"lowest_value", "mean_value", "highest_value"} <= result.history[0].keys()


def test_a_network_goes_back_into_a_recipe(tmp_path, capsys):
    problem = NetworkRegularization(smoothing=True, class_weights=True, noise=True)
    result = ramify.tune(problem, DataSpec(subset=40), hoag=TOY, network=NETWORK, out=tmp_path / "run", **SMALL)
    values = result.values
    assert set(values) == {"weight_decay", "label_smoothing", "class_weights", "noise"}
    recipe = result.recipe(ramify.Recipe(epochs=3))
    assert recipe.epochs == 3 and recipe.part_decay == values["weight_decay"]
    assert recipe.label_smoothing == values["label_smoothing"][0]
    config = yaml.safe_load((tmp_path / "run" / "recipe.yaml").read_text())
    assert config["task"]["init_args"]["class_weights"] == values["class_weights"]
    more = ["--recipe.epochs", "1", "--recipe.batch_size", "16", "--threads", "1", "--progress", "false"]
    data = ["--data", "digits", "--data.subset", "40"]
    given = ["--config", str(tmp_path / "run" / "recipe.yaml")]
    assert main(["retrain", *given, *data, *more, "--out", str(tmp_path / "trained")]) == 0, capsys.readouterr().err
    trained = yaml.safe_load((tmp_path / "trained" / "config.yaml").read_text())
    assert trained["recipe"]["part_decay"] == pytest.approx(values["weight_decay"])


def test_rivals_of_networks_train_new_ones(tmp_path):
    against = Against(rivals=("random",), times=1.0, solver=Descent(steps=6), restart=True)
    result = ramify.tune(
        NetworkRegularization(decay="one"), DataSpec(subset=40), hoag=TOY, against=against, network=NETWORK, **SMALL
    )
    assert result.summary["reached"]["random"]["evaluations"] >= 1
    assert "exact" not in result.summary["reached"]["hoag"]
    assert result.recipe().weight_decay == result.values["weight_decay"]["all"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--problem.start", "1000"], "starts at 1000, outside of its box"),
        (["--problem.penalties", "31"], "`penalties` must be at most the number of features, 30"),
        (["--problem", "RidgeRegression"], "its targets are classes"),
        (["--problem", "RidgeRegression", "--task", "Classification"], "RidgeRegression learns values, and"),
        (["--hoag.step", "adaptiv"], "did you mean 'adaptive'"),
        (["--hoag.method", "Newton"], "unknown method 'Newton'"),
        (["--against.rivals", "gird"], "did you mean 'grid'"),
        (["--problem", "Logistic"], "did you mean 'LogisticRegression'"),
        (["--precision", "bf16"], "second derivatives need full precision"),
        (["--problem", "DataCleaning"], "at most 32 hyper-parameters can be searched without gradients"),
        (["--hoag.solver", "Descent", "--hoag.solver.lr", "1e9"], "the inner problem has diverged"),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_what_cannot_work_ends_in_a_line(more, message, tmp_path, capsys):
    assert main(words(*more, out=tmp_path / "run")) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1 and len(err) < 300
    if "diverged" not in message:
        assert not (tmp_path / "run" / "config.yaml").exists()


def test_an_indefinite_hessian_ends_in_a_line():
    hoag = HOAG(iterations=2, solver=Descent(steps=2))
    with pytest.raises(RunError, match="singular or not positive definite"):
        ramify.tune(NetworkRegularization(decay="one"), DataSpec(subset=40), hoag=hoag, network=NETWORK, **SMALL)


def test_several_seeds(tmp_path, capsys):
    assert main(words("--seeds", "0,1", "--against.rivals", "[]", out=tmp_path / "seeds")) == 0
    assert "validation_loss: mean " in capsys.readouterr().out
    assert (tmp_path / "seeds" / "seed-1" / "tuned.json").exists()


def test_a_problem_of_ones_own(tmp_path, capsys):
    file = tmp_path / "mine.py"
    file.write_text(
        "from dataclasses import dataclass\n"
        "import torch\n"
        "from ramify.hypergradient import HyperParameter, Losses, Problem\n\n\n"
        "@dataclass(frozen=True, kw_only=True)\n"
        "class Toy(Problem):\n"
        '    """The worked example."""\n\n'
        "    start: float = 0.0\n"
        "    convex = True\n\n"
        "    def losses(self, work):\n"
        "        a = b = torch.tensor([1.0, 2.0], dtype=work.dtype)\n"
        "        x = torch.zeros(2, dtype=work.dtype, requires_grad=True)\n"
        "        value = HyperParameter(self.start, name='value')\n"
        "        inner = lambda at: ((a * at[0] - b) ** 2).sum() / 2 + value.exp() * (at[0] ** 2).sum() / 2\n"
        "        return Losses([x], [value], inner, lambda at: (at[0].sum() - 1) ** 2 / 2)\n"
    )
    given = ["--problem", f"{file}:Toy", "--hoag.iterations", "12", "--hoag.step", "secant", "--precision", "64-true"]
    out = ["--threads", "1", "--progress", "false", "--out", str(tmp_path / "run")]
    assert main(["tune", *given, *out]) == 0, capsys.readouterr().err
    assert capsys.readouterr().out.startswith("value: 0.693")


def test_the_recipes_name_what_there_is():
    for name in ("hoag-logistic", "hoag-ridge", "data-cleaning", "network-weight-decay"):
        settings = recipes.load(name)
        assert isinstance(settings["hoag"], HOAG) and isinstance(settings["against"], Against)
