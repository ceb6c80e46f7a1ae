"""A finished run goes on with more evaluations or epochs, and ends as if it had been asked for them at once."""

from dataclasses import replace

import pytest
from PIL import Image

import ramify
from killing import forked
from ramify import strategies
from ramify.cli import main
from ramify.evaluators import TableLookup
from ramify.run import RunFolder
from ramify.testing.kills import KILL, TERM, Strike
from ramify.testing.runs import outcomes
from ramify.training import Recipe
from small_runs import differences, timeless
from small_tables import small, sub_space

ASKING = {
    "RandomSearch": strategies.RandomSearch(),
    "RegularizedEvolution": strategies.RegularizedEvolution(population=5, tournament=3),
    "Evolution": strategies.Evolution(population=5, parents=2, crossovers=2),
    "LocalSearch": strategies.LocalSearch(),
    "Reinforce": strategies.Reinforce(),
    "BayesianOptimization": strategies.BayesianOptimization(startup=4, candidates=20, refit=2),
    "TPE": strategies.OptunaSampler(settings={"n_startup_trials": 4}),
    "BOHB": strategies.BOHB(),
}


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("table") / "small.table"
    small().save(path)
    return TableLookup(table=str(path), column="valid")


def outcome(folder):
    """Return all that a finished run says, without times."""
    folder = RunFolder(folder)
    return timeless(folder.history()), timeless([folder.read_json("result.json")]), folder.config()


@pytest.mark.parametrize("parallel", [1, 3])
@pytest.mark.parametrize("name", ASKING)
def test_more_evaluations(name, parallel, table, tmp_path):
    strategy = replace(ASKING[name], evaluator=table, parallel=parallel)

    def search(out, evaluations):
        wanted = replace(strategy, evaluations=evaluations)
        return ramify.search(sub_space(), wanted, out=tmp_path / out, progress=False)

    for evaluations in (7, 8, 15):
        search("grown", evaluations)
    search("at once", 15)
    assert outcome(tmp_path / "grown") == outcome(tmp_path / "at once")
    assert [entry["changed"] for entry in RunFolder(tmp_path / "grown").provenance()["extended"]] == [
        ["strategy.evaluations is 7 there and 8 now"],
        ["strategy.evaluations is 8 there and 15 now"],
    ]


def test_no_limit_of_evaluations_any_more(table, tmp_path):
    strategy = replace(ASKING["Reinforce"], evaluator=table, parallel=3, seconds=60.0)
    for evaluations in (4, None):
        ramify.search(sub_space(), replace(strategy, evaluations=evaluations), out=tmp_path / "grown", progress=False)
    ramify.search(sub_space(), strategy, out=tmp_path / "at once", progress=False)
    (grown, *others), (rows, *same) = outcome(tmp_path / "grown"), outcome(tmp_path / "at once")
    assert others == same
    assert [{**row, "steps": 0} for row in grown] == [{**row, "steps": 0} for row in rows]  # these are estimates


def retrain(out, epochs, **settings):
    recipe = Recipe(**{"schedule": "constant", "drop_path": 0.0, "batch_size": 16, "epochs": epochs} | settings)
    return ["retrain", ARCH, *words_of_recipe(recipe), *COMMON, "--out", str(out)]


def search(out, evaluations):
    words = ["--strategy", "SPOS", "--strategy.epochs", "2", "--strategy.batch_size", "16"]
    words += ["--strategy.recalibrate", "16", "--strategy.population", "3", "--strategy.parents", "2"]
    words += ["--strategy.crossovers", "1", "--strategy.evaluations", str(evaluations)]
    return ["search", "--space", "NASBench201", *words, *COMMON, "--out", str(out)]


ARCH = "|nor_conv_3x3~0|+|nor_conv_3x3~0|skip_connect~1|+|skip_connect~0|none~1|nor_conv_3x3~2|"
COMMON = ["--data", "digits", "--data.subset", "64", "--network.channels", "4", "--network.cells", "1"]
COMMON += ["--threads", "1", "--progress", "false"]


def words_of_recipe(recipe):
    names = ("schedule", "drop_path", "batch_size", "epochs", "ema")
    return [word for name in names for word in (f"--recipe.{name}", str(getattr(recipe, name)))]


STRIKES = (
    Strike("after remove result.json", KILL),
    Strike("before rename provenance.json", KILL),
    Strike("before rename history.jsonl", KILL),
    Strike("before rename config.yaml", KILL),
    Strike("after append history.jsonl", TERM),
)


@pytest.mark.parametrize(
    ("job", "strike"),
    [
        pytest.param(job, strike, marks=[pytest.mark.slow] if (at + number) % 2 else [], id=f"{job.__name__}-{strike}")
        for at, strike in enumerate(STRIKES)
        for number, job in enumerate((retrain, search))
    ],
)
def test_killed_while_it_grows(job, strike, tmp_path):
    run, whole = tmp_path / "run", tmp_path / "whole"
    assert main(job(run, 3)) == main(job(whole, 6)) == 0
    code, _ = forked(job(run, 6), tmp_path, strike)
    assert code == (-KILL if strike.number == KILL else 130)
    assert main(job(run, 6)) == 0
    assert not differences(outcomes(run), outcomes(whole))


def test_the_beginning_goes_on_too_after_a_kill(tmp_path):
    assert main(retrain(tmp_path / "run", 2, ema=0.9)) == 0
    before = outcome(tmp_path / "run")
    code, _ = forked(retrain(tmp_path / "run", 3, ema=0.9), tmp_path, Strike("before rename config.yaml", KILL))
    assert code == -KILL
    assert main(retrain(tmp_path / "run", 2, ema=0.9)) == 0
    rows, *others = outcome(tmp_path / "run")
    assert tuple(others) == before[1:] and [{**row, "steps": 8} for row in rows] == before[0]


def refused(words, capsys):
    assert main(words) == 2
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1 and len(said) < 300
    return said


def test_what_depends_on_the_length_is_refused_with_the_reason(tmp_path, capsys):
    for settings, why in (
        ({"schedule": "cosine"}, "the cosine schedule spans all epochs"),
        ({"schedule": "linear"}, "the linear schedule spans all epochs"),
    ):
        out = tmp_path / settings["schedule"]
        assert main(retrain(out, 1, **settings)) == 0
        said = refused(retrain(out, 2, **settings), capsys)
        assert f"recipe.epochs is 1 there and 2 now: {why}; choose another --out, where --init with this f" in said
    several = refused(retrain(out, 2, schedule="linear", ema=0.5), capsys)
    assert "recipe.epochs is 1 there and 2 now (and 1 more); choose another --out" in several


def test_less_is_another_run(tmp_path, capsys):
    assert main(search(tmp_path, 3)) == 0
    assert "strategy.evaluations is 3 there and 2 now; choose another --out" in refused(search(tmp_path, 2), capsys)
    longer = search(tmp_path, 3)
    longer[longer.index("--strategy.epochs") + 1] = "3"
    said = refused(longer, capsys)
    assert "strategy.epochs is 2 there and 3 now: its schedules span all epochs" in said


def test_a_refusal_leaves_a_finished_run_finished(tmp_path, capsys):
    folder = tmp_path / "images"
    for number in range(12):
        (folder / str(number % 2)).mkdir(parents=True, exist_ok=True)
        picture = Image.linear_gradient("L").resize((8, 8)).rotate(30 * number)
        picture.save(folder / str(number % 2) / f"{number}.png")

    def words(epochs):
        given = retrain(tmp_path / "run", epochs, batch_size=4)
        given[given.index("digits")] = str(folder)
        at = given.index("--data.subset")
        return [*given[:at], *given[at + 2 :]]

    assert main(words(1)) == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir() if path.is_file()}
    picture = Image.linear_gradient("L").resize((8, 8)).rotate(45)
    picture.save(folder / "0" / "0.png")
    assert "made with other data" in refused(words(2), capsys)
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir() if path.is_file()} == before
