"""Searches in 16 and 64 bits: finite, close to those in 32 bits, and continued bit by bit.

Half precision is for GPUs, and `make_fabric` refuses it on the CPU; its arithmetic and its scaling are the same here.
"""

import io
import itertools
import math
from dataclasses import replace

import pytest
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision

from ramify.run import make_fabric
from ramify.strategies import DARTS, GDAS, NASP, PCDARTS, SETN
from ramify.strategies.darts import HESSIANS
from small_runs import (
    SPACES,
    STRATEGIES,
    Guess,
    batch_of,
    differences,
    finish,
    restored,
    saved,
    session_of,
    take,
    work_of,
)

HALF = "16-mixed"
TRAINING = [
    name for name, strategy in STRATEGIES.items() if not isinstance(getattr(strategy, "evaluator", None), Guess)
]


def started(space, strategy, precision):
    """Return a session like `session_of`, in half precision too."""
    strategy = STRATEGIES[strategy] if isinstance(strategy, str) else strategy
    space, layout = SPACES[space]
    if precision != HALF:
        return strategy.session(space, work_of(layout, precision=precision))
    fabric = Fabric(accelerator="cpu", devices=1, plugins=[MixedPrecision(HALF, "cpu")])
    return strategy.session(space, replace(work_of(layout), fabric=fabric))


def numbers(value):
    """Yield all numbers of a nested structure."""
    if isinstance(value, torch.Tensor):
        yield from value.double().flatten().tolist()
    elif isinstance(value, dict):
        for item in value.values():
            yield from numbers(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from numbers(item)
    elif isinstance(value, int | float):
        yield value


@pytest.mark.parametrize(
    "precision", [HALF, *(pytest.param(p, marks=pytest.mark.slow) for p in ("bf16-mixed", "64-true"))]
)
@pytest.mark.parametrize("strategy", TRAINING)
def test_every_strategy_runs_and_stays_finite(strategy, precision):
    session = started("nasbench201", strategy, precision)
    rows = finish(session)
    assert rows
    assert all(math.isfinite(number) for number in numbers(rows))
    assert all(math.isfinite(number) for number in numbers(restored(saved(session))))
    assert session.architecture() in SPACES["nasbench201"][0]
    supernet = session.supernet
    if supernet is not None:
        kept = torch.float64 if precision == "64-true" else torch.float32
        assert {parameter.dtype for parameter in supernet.parameters()} == {kept}


@pytest.mark.parametrize("strategy", ["CDARTS", "DARTS"])
def test_chains_with_biases_are_tried_out_in_double_precision(strategy):
    assert started("cdarts-chain", strategy, "64-true").supernet is not None


BILEVEL = {
    "DARTS": DARTS(epochs=2, batch_size=16),
    "DARTS in parts": DARTS(epochs=2, batch_size=16, accumulate=2),
    "GDAS": GDAS(epochs=2, batch_size=16),
    "NASP": NASP(epochs=2, batch_size=16, complexity=0.01),
    "PCDARTS": PCDARTS(epochs=2, batch_size=16, arch_start=0, partial_channels=2),
    "SETN": SETN(epochs=2, batch_size=16),
}
SECOND = {hessian: DARTS(epochs=2, batch_size=16, order=2, hessian=hessian) for hessian in HESSIANS}


def gradient(space, strategy, precision, state):
    """Return the gradient of an architecture step from `state`, in one vector, and the session."""
    session = started(space, strategy, precision)
    scale = session.weights.scale.state_dict()
    session.load_state_dict(state | {"weights": state["weights"] | {"scale": scale}})
    valid, train = (batch_of(f"search_{n}", seed=3) for n in ("validation", "train"))
    before = math.inf
    while session.weights.scale.factor < before:  # again, after an overflow
        before = session.weights.scale.factor
        take(session, "architecture", valid, train)
    return torch.cat([alpha.grad.flatten() for alpha in session.alphas.values()]), session


def state_after_two_steps(space, strategy):
    session = started(space, strategy, "32-true")
    for _ in itertools.islice(session.run(), 2):
        pass
    return restored(saved(session))


@pytest.mark.parametrize(("precision", "near"), [(HALF, 0.4), ("bf16-mixed", 0.6), ("64-true", 1e-4)])
@pytest.mark.parametrize("kind", BILEVEL)
def test_the_gradient_of_the_architecture_is_that_of_32_bits(kind, precision, near):
    strategy, space = BILEVEL[kind], "nasp" if kind == "NASP" else "nasbench201"
    state = state_after_two_steps(space, strategy)
    expected, _ = gradient(space, strategy, "32-true", state)
    found, _ = gradient(space, strategy, precision, state)
    assert float(expected.norm()) > 1e-4
    assert float((found - expected).norm()) < near * float(expected.norm())
    assert not torch.equal(found, expected)


@pytest.mark.parametrize("precision", [HALF, "bf16-mixed"])
@pytest.mark.parametrize("hessian", SECOND)
def test_the_second_order_is_computed_in_32_bits(hessian, precision):
    """In 16 bits its products of derivatives overflow, on cells of DARTS at any scale of the loss."""
    state = state_after_two_steps("nasbench201", SECOND[hessian])
    expected, _ = gradient("nasbench201", SECOND[hessian], "32-true", state)
    found, session = gradient("nasbench201", SECOND[hessian], precision, state)
    assert torch.equal(found, expected)
    assert session.weights.scale.factor == (65536.0 if precision == HALF else 1.0)


def test_a_step_is_left_out_where_gradients_overflow_and_the_scale_is_halved():
    strategy = DARTS(epochs=4, batch_size=16)
    session = started("darts", strategy, HALF)
    valid = batch_of("search_validation", seed=3)
    assert session.weights.scale.factor == 65536.0
    factors, moved = [], []
    for _ in range(8):
        before = {name: alpha.detach().clone() for name, alpha in session.alphas.items()}
        take(session, "architecture", valid)
        factors.append(session.weights.scale.factor)
        moved.append(not torch.equal(before["normal"], session.alphas["normal"]))
        assert all(bool(alpha.isfinite().all()) for alpha in session.alphas.values())
    overflows = moved.index(True)
    assert overflows > 0, "nothing overflowed"
    assert moved == [False] * overflows + [True] * (8 - overflows)
    lowest = 65536.0 / 2**overflows
    assert factors == [65536.0 / 2 ** min(step + 1, overflows) for step in range(8)]
    assert session.weights.scale.factor == lowest
    adam = session.alphas.optimizer.state[session.alphas["normal"]]
    assert int(adam["step"]) == 8 - overflows


def scale_of(session):
    return session.work.fabric.strategy.precision.scaler.get_scale()


@pytest.mark.parametrize("strategy", ["PCDARTS", "DARTS-guarded", "RandomSearch-inherited"])
def test_a_continued_search_in_half_precision_is_the_undisturbed_one(strategy):
    """The scale of the loss belongs to the state: it falls in these searches."""
    whole, rows, factors = started("nasbench201", strategy, HALF), [], []
    for metrics in whole.run():
        rows += [dict(metrics.values)] if metrics.values else []
        factors.append(scale_of(whole))
    if strategy != "DARTS-guarded":  # where it depends on the processor whether so few steps overflow
        assert factors[-1] < 65536.0, "nothing overflowed"
    for at in range(1, len(factors)):
        stopped = started("nasbench201", strategy, HALF)
        first = [dict(metrics.values) for metrics in itertools.islice(stopped.run(), at) if metrics.values]
        continued = started("nasbench201", strategy, HALF)
        continued.load_state_dict(restored(saved(stopped)))
        assert scale_of(continued) == factors[at - 1]
        assert first + finish(continued) == rows
        assert not differences(restored(saved(continued)), restored(saved(whole)))


@pytest.mark.parametrize("strategy", ["PCDARTS", "RandomSearch-trained"])
def test_a_fresh_session_has_a_fresh_scale(strategy):
    """Also one on the same device settings; and every network that a search trains."""
    session = started("nasbench201", strategy, HALF)
    rows, state = finish(session), restored(saved(session))
    assert scale_of(session) < 65536.0
    again = session.strategy.session(session.space, session.work)
    assert finish(again) == rows
    assert not differences(restored(saved(again)), state)


def test_other_precisions_have_no_scale_to_keep():
    for precision in ("32-true", "bf16-mixed", "64-true"):
        session = started("nasbench201", "DARTS", precision)
        assert session.weights.scale.factor == 1.0
        assert session.state_dict()["weights"]["scale"] == {}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("strategy", ["DARTSPlus", "DARTS-second-order", "ENAS", "PDARTS"])
def test_a_search_on_a_gpu_is_continued_there(strategy):
    def fresh():
        space, layout = SPACES["nasbench201"]
        return STRATEGIES[strategy].session(space, replace(work_of(layout), fabric=make_fabric("cuda", HALF)))

    whole, stopped, continued = fresh(), fresh(), fresh()
    rows = finish(whole)
    first = [dict(metrics.values) for metrics in itertools.islice(stopped.run(), 3) if metrics.values]
    state = torch.load(io.BytesIO(saved(stopped)), map_location="cuda", weights_only=True)
    continued.load_state_dict(state)
    assert [row.keys() for row in first + finish(continued)] == [row.keys() for row in rows]
    assert continued.architecture() in SPACES["nasbench201"][0]


def test_half_precision_is_refused_on_the_cpu():
    with pytest.raises(ValueError, match="'16-mixed' needs a GPU; on the CPU take 'bf16-mixed'"):
        session_of("nasbench201", "DARTS", precision=HALF)
