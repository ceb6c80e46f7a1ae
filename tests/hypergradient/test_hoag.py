"""HOAG against the reference family, closed forms, and what the paper promises."""

import copy

import pytest
import torch
from reference_problems import CASES, losses_of

from ramify.errors import ConfigurationError, RunError
from ramify.hypergradient import HOAG, LBFGS, ConjugateGradients, HyperParameter, Losses, Unrolled, own_loop
from ramify.hypergradient.hoag import Tuner
from ramify.testing.bits import differences


def settings_of(case, **changed):
    config = case["config"]
    settings = {"iterations": config["iterations"], "schedule": config["schedule"], "epsilon": config["epsilon0"]}
    settings |= {"step": config["step"], "smoothness": config["L"] or 0.0, "exact": True}
    return HOAG(**(settings | changed))


LONG = ("hoag-009", "hoag-011", "hoag-015", "hoag-019", "hoag-023")


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(
            case, id=f"{case['id']}-{case['arch']['problem']}", marks=[pytest.mark.slow] * (case["id"] in LONG)
        )
        for case in CASES
    ],
)
def test_reference_trajectories(case):
    """Every quantity within the bound of the reference, 1e-9 of its largest value."""
    losses = losses_of(case["arch"]["problem"], case["config"]["lambda0"])
    tuner = Tuner(settings_of(case), losses)
    rows = [tuner.iterate() for _ in range(tuner.settings.iterations)]
    found = {
        "lambda": [row.position.tolist() for row in rows],
        "g": [row.outer for row in rows],
        "gradient": [row.gradient.tolist() for row in rows],
        "epsilon": [row.tolerance for row in rows],
        "L": [row.smoothness for row in rows],
        "lambda_next": tuner.position.tolist(),
    }
    for name, values in found.items():
        values, wanted = (torch.tensor(each, dtype=torch.float64) for each in (values, case[name]))
        bound = wanted.abs().max() * (1e-9 + 2e-14 * case["amplification"]["trajectory"])
        bound += 1e-12 if name != "g" or bound > 1e-12 else 0
        assert bool(((values - wanted).abs() <= bound).all()), name
    assert [row.accepted for row in rows] == case["accepted"]


@pytest.mark.parametrize("case", CASES[::3], ids=lambda case: case["id"])
def test_solutions_at_the_first_point(case):
    losses = losses_of(case["arch"]["problem"], case["config"]["lambda0"])
    tuner = Tuner(settings_of(case), losses)
    row = tuner.iterate()
    for found, name in ((losses.vector(), "x_first"), (tuner.q, "q_first")):
        wanted = torch.tensor(case[name], dtype=torch.float64)
        assert torch.allclose(found, wanted, rtol=0, atol=2e-9 * float(wanted.abs().max()))
    finite = torch.tensor(case["finite_difference"][0], dtype=torch.float64)
    assert torch.allclose(row.gradient, finite, rtol=1e-8, atol=1e-8)


def test_the_worked_example():
    """Gradient -0.123 at λ = 0, q = (0.15, 0.06), optimum λ = ln 2 with g = 0."""
    losses = losses_of("toy", [0.0])
    tuner = Tuner(HOAG(iterations=30, step="fixed", smoothness=0.25), losses)
    first = tuner.iterate()
    assert first.gradient.tolist() == pytest.approx([-0.123], abs=2e-3)  # as exact as ε_1
    rows = [tuner.iterate() for _ in range(29)]
    assert rows[-1].position.tolist() == pytest.approx([0.693147], abs=1e-4)
    assert rows[-1].outer == pytest.approx(0, abs=1e-8)


@pytest.mark.parametrize("schedule", ["exponential", "quadratic", "cubic"])
@pytest.mark.parametrize("case", [CASES[2], pytest.param(CASES[8], marks=pytest.mark.slow)], ids=["ridge", "logistic"])
def test_summable_tolerances_come_to_the_same_optimum_for_less(case, schedule):
    """Beside the same solver to machine precision, and beside Newton steps, counted in passes."""
    steps, passes = [], []
    for changed in ({"schedule": schedule}, {"epsilon": 1e-12}, {"exact": True}):
        losses = losses_of(case["arch"]["problem"], case["config"]["lambda0"])
        settings = {"iterations": 20, "epsilon": 1e-3, "exact": False, "schedule": "exponential"} | changed
        tuner = Tuner(settings_of(case, **settings), losses)
        rows = [tuner.iterate() for _ in range(20)]
        steps.append(sum(row.reached.steps for row in rows))
        passes.append(losses.passes)
        assert rows[-1].position.tolist() == pytest.approx(case["lambda_opt"], abs=0.05)
    assert steps[0] < 0.95 * steps[1]
    assert passes[0] < 0.95 * min(passes[1:])


def test_a_rejected_step_restores_everything():
    case = next(case for case in CASES if case["id"] == "hoag-021")
    losses = losses_of(case["arch"]["problem"], case["config"]["lambda0"])
    tuner = Tuner(settings_of(case), losses)
    before = None
    for accepted in case["accepted"]:
        row = tuner.iterate()
        assert row.accepted == accepted
        if accepted:
            before = losses.vector(), tuner.q, tuner.accepted["position"]
        else:
            assert torch.equal(losses.vector(), before[0]) and torch.equal(tuner.q, before[1])
            step = before[2] - tuner.accepted["gradient"] / row.smoothness
            assert torch.equal(tuner.position, step.clamp(-6, 6))
            assert tuner.settings.tolerance(5, tuner.rejections) == 0.5**tuner.rejections * 1e-3 * 0.9**4


@pytest.mark.parametrize("step", ["adaptive", "secant"])
def test_it_never_leaves_its_box(step):
    losses = losses_of("logistic-cancer", [5.5])
    for row in HOAG(iterations=12, step=step, smoothness=0.01, epsilon=1e-2).descend(losses):
        assert -6 <= float(row.position) <= 6


def test_the_secant_rule_comes_to_the_optimum_in_few_iterations():
    for start in ([0.0], [4.0], [-5.0]):
        losses = losses_of("logistic-cancer", start)
        best = min(row.outer for row in HOAG(iterations=8, step="secant", epsilon=1e-4).descend(losses))
        assert best <= 1.002 * 9.916639819


def test_the_best_accepted_iteration_is_what_is_left():
    losses = losses_of("logistic-cancer", [0.0])
    rows = list(HOAG(iterations=6, epsilon=1e-4).descend(losses))
    best = min((row for row in rows if row.accepted), key=lambda row: row.outer)
    assert torch.equal(losses.hyperparameters[0].position, best.position)
    assert losses.outer_value() == best.outer


def test_it_continues_from_a_state_with_the_same_bits():
    case = next(case for case in CASES if case["id"] == "hoag-021")
    whole, part, rest = (
        Tuner(settings_of(case, exact=False), losses_of(case["arch"]["problem"], case["config"]["lambda0"]))
        for _ in range(3)
    )
    rows = [whole.iterate() for _ in range(10)]
    for _ in range(4):
        part.iterate()
    rest.load_state_dict(copy.deepcopy(part.state_dict()))
    again = [rest.iterate() for _ in range(6)]
    assert [row.outer for row in again] == [row.outer for row in rows[4:]]
    assert not differences(rest.state_dict(), whole.state_dict())


# What cannot work


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"iterations": 0}, "`iterations` must be at least 1"),
        ({"schedule": "linear"}, "unknown schedule 'linear'"),
        ({"step": "adaptiv"}, "did you mean 'adaptive'"),
        ({"epsilon": 0}, "`epsilon` must be a number above 0"),
        ({"step": "fixed"}, "above 0 where the step is fixed"),
        ({"smoothness": -1}, "`smoothness` must be a number from 0"),
        ({"solver": lambda tolerance: None}, "`own_loop` makes a solver of a function"),
    ],
)
def test_settings_that_cannot_be(settings, message):
    with pytest.raises(ConfigurationError, match=message):
        HOAG(**settings)


def problem(inner, outer=None, count=2):
    x = torch.ones(count, dtype=torch.float64, requires_grad=True)
    value = HyperParameter(0.0)
    return Losses([x], [value], lambda at: inner(at[0], value), outer or (lambda at: at[0].sum()))


def test_a_singular_hessian_ends_in_a_line():
    losses = problem(lambda x, v: (x[0] - v).square())  # nothing is said of x[1]
    with pytest.raises(RunError, match="singular or not positive definite") as caught:
        list(HOAG(iterations=2).descend(losses))
    assert len(str(caught.value)) < 300
    list(HOAG(iterations=2, method=ConjugateGradients(damping=0.1, iterations=5)).descend(losses))


def test_a_direction_that_the_outer_loss_does_not_see_may_be_singular():
    losses = problem(lambda x, v: (x[0] - v).square(), lambda at: (at[0][0] - 1).square())
    row = next(HOAG(iterations=1).descend(losses))
    assert float(row.gradient) == pytest.approx(-2)


@pytest.mark.parametrize(
    ("inner", "message"),
    [
        (lambda x, v: v * x.sum() - x.square().sum(), "falls without end"),
        (lambda x, v: (x * float("nan")).sum() + v, "the inner problem has diverged"),
        (lambda x, v: torch.tensor(1.0), "does not depend on the weights"),
        (lambda x, v: x * v, "must be a single number"),
    ],
)
def test_an_inner_problem_without_a_solution_ends_in_a_line(inner, message):
    with pytest.raises((RunError, ConfigurationError), match=message):
        list(HOAG(iterations=2).descend(problem(inner)))


def test_a_loop_of_ones_own_that_diverges():
    x = torch.ones(3, dtype=torch.float64, requires_grad=True)
    value = HyperParameter(0.0)
    losses = Losses([x], [value], lambda at: value.exp() * at[0].pow(4).sum(), lambda at: at[0].sum())

    def train(tolerance):
        with torch.no_grad():
            for _ in range(20):
                x.sub_(4 * x**3)

    with pytest.raises(RunError, match="the inner problem has diverged"):
        list(HOAG(iterations=1, solver=own_loop(train)).descend(losses))


def test_a_loop_of_ones_own_is_counted():
    losses = losses_of("ridge-formula-1", [0.0])
    solver = LBFGS()

    def train(tolerance):
        return solver.solve(losses, tolerance).steps and 7

    before = losses.passes
    row = next(HOAG(iterations=1, solver=own_loop(train)).descend(losses))
    assert row.reached.steps == 8 and losses.passes > before + 7


@pytest.mark.parametrize("restart", [False, True])
def test_unrolled_steps_tune_as_well(restart):
    losses = losses_of("ridge-formula-1", [0.0])
    method = Unrolled(steps=40, lr=0.02, momentum=0.7, restart=restart)
    rows = list(HOAG(iterations=5, method=method, step="secant").descend(losses))
    assert min(row.outer for row in rows) == pytest.approx(7.615321895, rel=0.1)
