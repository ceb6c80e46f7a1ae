"""NASP: the box, the discrete copy, and who gets gradients."""

import pytest
import torch

from ramify import spaces
from ramify.ops.weights import count_weights
from ramify.strategies import NASP
from ramify.strategies.bilevel import Moment
from ramify.strategies.nasp import complexities
from small_runs import SPACES, batch_of, finish, session_of, take


def moment(step):
    return Moment(seed=0, epoch=0, draw=0, step=step)


def random_alphas(space):
    return {name: torch.rand(choice.shape, requires_grad=True) for name, choice in space.choices.items()}


@pytest.mark.parametrize("name", ["darts", "nasp"])
def test_the_discrete_copy_has_two_live_edges_per_node_and_one_1_on_each(name):
    space = SPACES[name][0]
    mix, active = NASP().mixing(space, random_alphas(space), moment("weights"))
    for kind, weights in mix.items():
        choice = space.choices[kind]
        assert set(weights.unique().tolist()) == {0.0, 1.0}
        assert weights.sum(dim=1).max() == 1
        for target in range(2, 6):
            assert weights[choice.incoming(target)].sum() == 2
        assert torch.equal(active[kind], weights > 0)


def test_on_nasbench201_every_edge_keeps_its_best():
    space = spaces.NASBench201()
    alphas = random_alphas(space)
    mix, _ = NASP().mixing(space, alphas, moment("weights"))
    assert torch.equal(mix["cell"].argmax(1), alphas["cell"].argmax(1))


def test_every_entry_gets_the_gradient_of_the_discrete_copy():
    space = spaces.NASBench201()
    alphas = random_alphas(space)
    mix, active = NASP().mixing(space, alphas, moment("architecture"))
    assert active is None
    assert set(mix["cell"].detach().unique().tolist()) == {0.0, 1.0}
    upstream = torch.randn(6, 5)
    (gradient,) = torch.autograd.grad((mix["cell"] * upstream).sum(), [alphas["cell"]])
    assert torch.equal(gradient, upstream)


def test_the_iterate_stays_in_the_box_and_starts_in_its_middle():
    session = session_of("nasbench201", NASP(epochs=3, batch_size=16, arch_lr=0.5))
    assert bool((session.alphas["cell"][:, 1:] == 0.5).all())
    assert session.alphas["cell"][:, 0].tolist() == [pytest.approx(0.499)] * 6  # `none` does not win the tie
    finish(session)
    alpha = session.alphas["cell"]
    assert alpha.min() == 0 and alpha.max() <= 1


def test_the_weight_step_touches_only_selected_operations():
    session = session_of("darts", NASP(epochs=1, batch_size=16))
    mix, _ = NASP().mixing(session.space, session.alphas, moment("weights"))
    take(session, "weights", batch_of("search_train"))
    for name, parameter in session.supernet.module.named_parameters():
        if ".edges." not in name:
            continue
        _, cell, _, _, edge, op, *_ = name.split(".")
        kind = "reduce" if int(cell) in session.supernet.module.reductions else "normal"
        choice = session.space.choices[kind]
        row = [f"{s}-{t}" for s, t in choice.edges].index(edge)
        assert (parameter.grad is not None) == bool(mix[kind][row, choice.ops.index(op)]), name


def test_weights_counted_are_those_of_the_released_constants():
    released = {
        "conv_3x1_1x3": 864,
        "conv_7x1_1x7": 2016,
        "sep_conv_7x7": 1464,
        "conv 3x3": 1296,
        "sep_conv_5x5": 888,
        "sep_conv_3x3": 504,
        "dil_conv_5x5": 444,
        "conv 1x1": 144,
        "dil_conv_3x3": 252,
        "skip_connect": 0,
    }
    assert {op: count_weights(op, channels=12) for op in released} == released


def test_the_complexity_term_is_the_formula():
    space = spaces.NASBench201()
    alphas = random_alphas(space)
    p = [0, 0, 144, 1296, 0]
    expected = 0.3 * sum(p[o] / sum(p) * alphas["cell"][e, o].item() ** 2 for e in range(6) for o in range(5))
    assert NASP(complexity=0.3).penalty(space, alphas).item() == pytest.approx(expected, rel=1e-5)
    assert NASP().penalty(space, alphas) is None
    assert complexities(("none", "skip_connect")).tolist() == [0, 0]


def test_a_search_that_can_choose_none_moves():
    session = session_of("nasbench201", NASP(epochs=2, batch_size=16, arch_lr=0.01, arch_weight_decay=0.0))
    start = session.alphas["cell"].detach().clone()
    finish(session)
    assert bool((session.alphas["cell"] != start).any(dim=1).all())


def ranked(derivation):
    """Return what the third node reads for a hand-made A.

    Of the rows (.9, .8, .8), (.7, 0, 0) and (.6, .1, 0), the largest entries are those of the first two; the softmax
    of the first is (.356, .322, .322), of the second (.502, .249, .249), of the third (.465, .282, .255).
    """
    space = spaces.DARTSCells(nodes=2, operations=["sep_conv_3x3", "skip_connect", "max_pool_3x3"])
    rows = torch.tensor([[0.9, 0.8, 0.8], [0.7, 0.0, 0.0], [0.6, 0.1, 0.0]])
    alphas = {name: torch.full(choice.shape, 0.5) for name, choice in space.choices.items()}
    alphas["normal"][space.choices["normal"].incoming(3)] = rows
    strategy = NASP(derivation=derivation)
    closest = strategy.closest(space, alphas)
    derived = space.discretize(strategy.derived_from(space, alphas))
    chosen = space.mix(derived)["normal"][space.choices["normal"].incoming(3)].sum(dim=1)
    return chosen.nonzero().flatten().tolist(), derived == closest


def test_the_result_is_the_closest_member_or_ranked_by_the_softmax_of_rows():
    assert NASP().derivation == "raw"
    assert ranked("raw") == ([0, 1], True)
    assert ranked("softmax") == ([1, 2], False)


def test_the_released_complexity_is_that_of_the_discrete_copy_and_of_normal_cells():
    space = SPACES["darts"][0]
    alphas = random_alphas(space)
    term = NASP(complexity=0.3, released_complexity=True).penalty(space, alphas)
    discrete = space.mix(space.discretize({name: alpha.detach() for name, alpha in alphas.items()}))["normal"]
    p = complexities(space.choices["normal"].ops)
    assert term.item() == pytest.approx(0.3 * float((discrete * p).sum()), rel=1e-5)
    normal, reduce = torch.autograd.grad(term, [alphas["normal"], alphas["reduce"]], allow_unused=True)
    torch.testing.assert_close(normal, 2 * 0.3 * p * discrete)
    assert reduce is None
    everywhere = NASP(complexity=0.3).penalty(space, alphas)
    assert all(bool(g.any()) for g in torch.autograd.grad(everywhere, list(alphas.values())))
