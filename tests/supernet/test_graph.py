"""The graph of a cell, with all candidates or with chosen ones, against the plain sum over edges."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ramify.ops import make_operation, standard_norm
from ramify.supernet import Choice, FixedGraph, MixedGraph, edge_names, mixtures, needed_states

C = 4
OPS = ("none", "skip_connect", "max_pool_3x3", "avg_pool_3x3", "nor_conv_3x3", "sep_conv_3x3", "dil_conv_5x5")
COMPLETE = tuple((source, target) for target in range(1, 4) for source in range(target))
TWO_INPUTS = tuple((source, target) for target in range(2, 4) for source in range(target))


def candidate(stride=1, inputs=1, pool_norm=False, affine=False, tracked=False):
    norm = standard_norm(affine, tracked)
    return lambda source, op: make_operation(op, C, stride if source < inputs else 1, norm, pool_norm=pool_norm)


def mixed(edges=COMPLETE, ops=OPS, mask=None, inputs=1, stride=1, **norms):
    choice = Choice(edges, ops, mask)
    graph = MixedGraph(choice, inputs, candidate(stride, inputs, **norms), stride=stride).double()
    return choice, graph


def states(number=1, size=(6, 6)):
    return [torch.randn(3, C, *size, dtype=torch.float64) for _ in range(number)]


def random_mix(choice):
    return torch.rand(choice.shape, dtype=torch.float64)


def run(graph, choice, inputs, mix, **keywords):
    named = {name: {"cell": value} for name, value in keywords.items() if name == "active"}
    rest = {name: value for name, value in keywords.items() if name != "active"}
    return graph(inputs, mixtures({"cell": choice}, {"cell": mix}, inputs[0], **named, **rest)["cell"])


def plainly(graph, choice, inputs, mix, stride=1):
    """Every state by the definition: the sum over edges and operations of weight · operation(source)."""
    values, names = list(inputs), edge_names(choice.edges)
    like = inputs[0][:, :, ::stride, ::stride]
    for target in range(len(inputs), max(t for _, t in choice.edges) + 1):
        total = torch.zeros_like(like)
        for edge in choice.incoming(target):
            for index, op in enumerate(choice.ops):
                if op in graph.edges[names[edge]]:
                    total = total + mix[edge, index] * graph.edges[names[edge]][op](values[choice.edges[edge][0]])
        values.append(total)
    return values


def executed(graph):
    """Record the (edge, operation) whose modules compute something: bodies that are not empty, and poolings."""
    calls = []
    for edge, candidates in graph.edges.items():
        for op, operation in candidates.items():
            operation.body.register_forward_hook(lambda *_, key=(edge, op): calls.append(key))
    return calls


class TestNames:
    def test_every_edge_has_its_own(self):
        assert edge_names([(0, 2), (1, 2), (0, 3)]) == ["0-2", "1-2", "0-3"]

    def test_repetitions_are_lettered(self):
        assert edge_names([(0, 2), (0, 2), (1, 2), (0, 2)]) == ["0-2", "0-2b", "1-2", "0-2c"]

    def test_two_digits_do_not_collide(self):
        edges = [(source, target) for target in range(1, 13) for source in range(target) for _ in range(2)]
        assert len(set(edge_names(edges))) == len(edges)

    def test_both_graphs_use_the_same_paths(self):
        _, supernet = mixed()
        chosen = [(edge, OPS[1 + edge]) for edge in range(len(COMPLETE))]
        member = FixedGraph(COMPLETE, chosen, 1, 4, candidate())
        assert set(member.state_dict()) <= set(supernet.state_dict())
        assert set(member.edges) == set(supernet.edges)


class TestMixedGraph:
    @pytest.mark.parametrize(
        ("edges", "inputs", "stride"),
        [
            (COMPLETE, 1, 1),
            (TWO_INPUTS, 2, 1),
            (TWO_INPUTS, 2, 2),
            (tuple(e for e in TWO_INPUTS for _ in "ab"), 2, 2),
        ],
        ids=["one input", "two inputs", "reduction", "repeated edges"],
    )
    @pytest.mark.parametrize("norms", [{}, {"pool_norm": True}, {"pool_norm": True, "affine": True, "tracked": True}])
    @pytest.mark.parametrize("training", [True, False])
    def test_it_is_the_weighted_sum_over_edges_and_operations(self, edges, inputs, stride, norms, training):
        choice, graph = mixed(edges, inputs=inputs, stride=stride, **norms)
        graph.train(training)
        given, mix = states(inputs, (6, 7)), random_mix(choice)
        expected = plainly(graph, choice, given, mix, stride)
        for state, value in zip(run(graph, choice, given, mix), expected, strict=True):
            torch.testing.assert_close(state, value)

    def test_its_gradients_are_those_of_the_sum(self):
        choice, graph = mixed(pool_norm=True)
        given, mix = states(), random_mix(choice).requires_grad_()
        wanted = (mix, given[0].requires_grad_(), *graph.parameters())
        weight = torch.randn_like(given[0])
        found = torch.autograd.grad((run(graph, choice, given, mix)[-1] * weight).sum(), wanted)
        expected = torch.autograd.grad((plainly(graph, choice, given, mix)[-1] * weight).sum(), wanted)
        for a, b in zip(found, expected, strict=True):
            torch.testing.assert_close(a, b)

    def test_the_input_states_are_returned_untouched(self):
        choice, graph = mixed()
        given = states()
        before = given[0].clone()
        assert run(graph, choice, given, random_mix(choice))[0] is given[0]
        assert torch.equal(given[0], before)

    def test_missing_candidates_have_no_module_and_no_part(self):
        mask = torch.rand(len(COMPLETE), len(OPS)) < 0.5
        mask[4] = False  # an edge of which nothing is left
        choice, graph = mixed(mask=mask)
        for name, row in zip(edge_names(COMPLETE), mask.tolist(), strict=True):
            assert list(graph.edges[name]) == [op for op, on in zip(OPS, row, strict=True) if on and op != "none"]
        given, mix = states(), random_mix(choice).requires_grad_()
        found = run(graph, choice, given, mix)[-1]
        torch.testing.assert_close(found, plainly(graph, choice, given, mix)[-1])
        (gradient,) = torch.autograd.grad(found.square().sum(), mix)
        assert not gradient[~mask].any()

    def test_a_node_that_nothing_enters_is_zero(self):
        mask = torch.ones(len(TWO_INPUTS), len(OPS), dtype=torch.bool)
        mask[:2] = False
        choice, graph = mixed(TWO_INPUTS, mask=mask, inputs=2, stride=2)
        found = run(graph, choice, states(2, (7, 6)), random_mix(choice))
        assert torch.equal(found[2], torch.zeros(3, C, 4, 3, dtype=torch.float64))
        assert found[3].shape == found[2].shape and found[3].abs().sum() > 0


class TestActive:
    def one_hot(self, choice, chosen):
        mix = torch.zeros(choice.shape, dtype=torch.float64)
        mix[range(len(chosen)), chosen] = 1.0
        return mix

    def test_only_the_chosen_candidates_are_computed(self):
        choice, graph = mixed()
        chosen = [0, 1, 2, 3, 4, 5]
        mix = self.one_hot(choice, chosen)
        calls = executed(graph)
        run(graph, choice, states(), mix, active=mix.bool())
        names = edge_names(COMPLETE)
        assert sorted(calls) == sorted((names[edge], OPS[op]) for edge, op in enumerate(chosen) if OPS[op] != "none")

    def test_the_result_is_that_of_the_mix_alone(self):
        choice, graph = mixed(pool_norm=True)
        given = states()
        for chosen in ([1, 2, 3, 4, 5, 6], [0, 4, 4, 0, 5, 1], [0] * 6):
            mix = self.one_hot(choice, chosen)
            pairs = zip(run(graph, choice, given, mix, active=mix.bool()), run(graph, choice, given, mix), strict=True)
            for sparse, full in pairs:
                torch.testing.assert_close(sparse, full)

    def test_inactive_candidates_are_left_out_even_if_their_weight_is_not_zero(self):
        choice, graph = mixed()
        given, mix, active = states(), random_mix(choice), torch.rand(choice.shape) < 0.5
        expected = plainly(graph, choice, given, mix * active)[-1]
        torch.testing.assert_close(run(graph, choice, given, mix, active=active)[-1], expected)

    def test_their_weights_have_no_gradient(self):
        choice, graph = mixed()
        mix, active = random_mix(choice).requires_grad_(), torch.rand(choice.shape) < 0.5
        loss = run(graph, choice, states(), mix, active=active)[-1].square().sum()
        (gradient,) = torch.autograd.grad(loss, mix)
        counted = active.clone()
        counted[:, OPS.index("none")] = False
        assert not gradient[~counted].any()
        reaches_output = [edge for edge in range(len(COMPLETE)) if COMPLETE[edge][1] == 3]
        assert gradient[reaches_output][counted[reaches_output]].all()

    def test_constants_give_them_the_gradient_of_a_constant_one_operation(self):
        choice, graph = mixed()
        chosen = [4, 0, 5, 1, 2, 4]
        mix, active = self.one_hot(choice, chosen), self.one_hot(choice, chosen).bool()
        given = states()
        plain = run(graph, choice, given, mix, active=active)
        with_constants = run(graph, choice, given, mix, active=active, constants=True)
        for a, b in zip(plain, with_constants, strict=True):  # their weights are zero, so the values are the same
            torch.testing.assert_close(a, b)

        mix = random_mix(choice).requires_grad_()
        found = run(graph, choice, given, mix, active=active, constants=True)[-1]
        # by the definition: an inactive candidate, `none` included, puts out ones
        names, values = edge_names(COMPLETE), [*given]
        for target in range(1, 4):
            total = torch.zeros_like(given[0])
            for edge in choice.incoming(target):
                for index, op in enumerate(OPS):
                    if not active[edge, index]:
                        total = total + mix[edge, index] * torch.ones_like(total)
                    elif op != "none":
                        total = total + mix[edge, index] * graph.edges[names[edge]][op](values[COMPLETE[edge][0]])
            values.append(total)
        torch.testing.assert_close(found, values[-1])
        weight = torch.randn_like(found)
        (gradient,) = torch.autograd.grad((found * weight).sum(), mix, retain_graph=True)
        (expected,) = torch.autograd.grad((values[-1] * weight).sum(), mix)
        torch.testing.assert_close(gradient, expected)
        last = COMPLETE.index((2, 3))
        torch.testing.assert_close(gradient[last][~active[last]], weight.sum().expand(len(OPS) - 1))

    def test_constants_of_a_reduction_have_the_reduced_size(self):
        choice, graph = mixed(TWO_INPUTS, inputs=2, stride=2)
        nothing = torch.zeros(choice.shape, dtype=torch.bool)
        mix = random_mix(choice)
        found = run(graph, choice, states(2, (5, 7)), mix, active=nothing, constants=True)
        assert found[2].shape == (3, C, 3, 4)
        torch.testing.assert_close(found[2], mix[:2].sum().expand_as(found[2]))
        torch.testing.assert_close(found[3], mix[2:].sum().expand_as(found[3]))


class TestDropout:
    def test_it_drops_elements_of_its_operation_in_training(self):
        choice, graph = mixed(((0, 1),), ops=("skip_connect",))
        given = [torch.ones(8, C, 20, 20, dtype=torch.float64)]
        mix = torch.full(choice.shape, 0.5, dtype=torch.float64)
        torch.manual_seed(0)
        found = run(graph, choice, given, mix, dropout={"skip_connect": 0.25})[1]
        torch.testing.assert_close(found.unique(), torch.tensor([0.0, 0.5 / 0.75], dtype=torch.float64))
        assert abs((found == 0).double().mean().item() - 0.25) < 0.02

    def test_edges_are_dropped_independently(self):
        choice, graph = mixed(((0, 1), (0, 2)), ops=("skip_connect",))
        given, mix = [torch.ones(2, C, 9, 9, dtype=torch.float64)], torch.ones(choice.shape, dtype=torch.float64)
        found = run(graph, choice, given, mix, dropout={"skip_connect": 0.5})
        assert not torch.equal(found[1], found[2])

    @pytest.mark.parametrize("op", OPS[1:])
    def test_it_comes_after_the_whole_operation(self, op):
        choice, graph = mixed(((0, 1),), ops=(op,), pool_norm=True, affine=True)
        given, mix = states(), random_mix(choice)
        torch.manual_seed(0)
        found = run(graph, choice, given, mix, dropout={op: 0.3})[1]
        torch.manual_seed(0)
        torch.testing.assert_close(found, mix[0, 0] * F.dropout(graph.edges["0-1"][op](given[0]), 0.3))

    def test_it_is_nothing_in_evaluation_nor_for_other_operations(self):
        choice, graph = mixed(((0, 1),), ops=("skip_connect", "nor_conv_3x3"))
        given, mix = states(), torch.tensor([[0.0, 1.0]], dtype=torch.float64)
        expected = run(graph, choice, given, mix)[1]
        torch.testing.assert_close(run(graph, choice, given, mix, dropout={"skip_connect": 0.9})[1], expected)
        graph.eval()
        torch.testing.assert_close(run(graph, choice, given, mix, dropout={"nor_conv_3x3": 0.9})[1], expected)


class TestFixedGraph:
    def build(self, chosen, edges=COMPLETE, inputs=1, stride=1, **keywords):
        count = max(target for _, target in edges) + 1
        return FixedGraph(edges, chosen, inputs, count, candidate(stride, inputs), stride=stride, **keywords).double()

    def test_it_is_the_sum_over_the_chosen_operations(self):
        chosen = [
            (0, "nor_conv_3x3"),
            (1, "skip_connect"),
            (2, "max_pool_3x3"),
            (4, "sep_conv_3x3"),
            (5, "dil_conv_5x5"),
        ]
        graph, (x,) = self.build(chosen), states()
        one = graph.edges["0-1"]["nor_conv_3x3"](x)
        two = x + F.max_pool2d(one, 3, 1, 1)
        three = graph.edges["1-3"]["sep_conv_3x3"](one) + graph.edges["2-3"]["dil_conv_5x5"](two)
        for found, expected in zip(graph([x]), (x, one, two, three), strict=True):
            torch.testing.assert_close(found, expected)

    def test_none_is_left_out(self):
        graph, (x,) = self.build([(0, "none"), (3, "skip_connect")]), states()
        assert list(graph.edges) == ["0-3"]
        _, one, two, three = graph([x])
        assert not one.any() and not two.any()
        assert torch.equal(three, x)

    def test_nodes_without_inputs_have_the_reduced_size(self):
        graph = self.build([(2, "max_pool_3x3")], TWO_INPUTS, inputs=2, stride=2)
        found = graph(states(2, (7, 5)))
        assert found[2].shape == found[3].shape == (3, C, 4, 3)
        assert not found[2].any() and found[3].any()

    def test_one_source_may_be_read_twice(self):
        edges = ((0, 1), (0, 1))
        graph, (x,) = self.build([(0, "nor_conv_3x3"), (1, "nor_conv_3x3")], edges), states()
        first, second = graph.edges["0-1"]["nor_conv_3x3"], graph.edges["0-1b"]["nor_conv_3x3"]
        assert first.body.weight is not second.body.weight
        torch.testing.assert_close(graph([x])[1], first(x) + second(x))

    @pytest.mark.parametrize("op", OPS[1:])
    def test_drop_path_spares_only_the_plain_skip(self, op):
        graph = self.build([(0, op)], ((0, 1),), drop_path=0.5)
        torch.manual_seed(0)
        found = graph([torch.randn(64, C, 4, 4, dtype=torch.float64)])[1]
        dropped = (found.flatten(1) == 0).all(1).sum().item()
        assert dropped == 0 if op == "skip_connect" else 16 < dropped < 48
        assert (graph.eval()([torch.randn(64, C, 4, 4, dtype=torch.float64)])[1].flatten(1) != 0).any(1).all()

    def test_it_is_the_mixed_graph_at_a_one_hot_mix(self):
        choice, supernet = mixed()
        for chosen in itertools.islice(itertools.permutations(range(len(OPS)), len(COMPLETE)), 0, 5040, 700):
            member = self.build([(edge, OPS[op]) for edge, op in enumerate(chosen)])
            member.load_state_dict({name: supernet.state_dict()[name] for name in member.state_dict()})
            mix = F.one_hot(torch.tensor(chosen), len(OPS)).double()
            (x,) = states()
            torch.testing.assert_close(run(supernet, choice, [x], mix)[-1], member([x])[-1], rtol=1e-12, atol=1e-12)


def test_modules_of_a_graph_are_ordinary():
    """They move, copy and load like any module."""
    choice, graph = mixed()
    assert isinstance(graph, nn.Module)
    twin = mixed()[1]
    twin.load_state_dict(graph.state_dict())
    (x,), mix = states(), random_mix(choice)
    torch.testing.assert_close(run(twin, choice, [x], mix)[-1], run(graph, choice, [x], mix)[-1])
    low = graph.to(torch.float32)
    assert run(low, choice, [x.float()], mix)[-1].dtype == torch.float32


class TestNodes:
    """What turns the sum that enters a node into its state, and which nodes are needed at all."""

    EDGES = ((0, 1), (0, 2), (1, 2), (1, 3), (2, 3))

    def mixed(self):
        choice = Choice(self.EDGES, ("skip_connect", "none"))
        graph = MixedGraph(
            choice, 1, lambda _, op: make_operation(op, 2), node=lambda state: nn.Conv2d(2, 2, 1, bias=False)
        )
        return choice, graph.double()

    def test_a_node_is_applied_to_the_sum_that_enters_it(self):
        choice, graph = self.mixed()
        mix = torch.rand(choice.shape, dtype=torch.float64)
        x = torch.randn(2, 2, 3, 3, dtype=torch.float64)
        states = graph([x], mixtures({"cell": choice}, {"cell": mix}, x)["cell"])
        first = graph.nodes["1"](mix[0, 0] * x)
        second = graph.nodes["2"](mix[1, 0] * x + mix[2, 0] * first)
        torch.testing.assert_close(states[1], first)
        torch.testing.assert_close(states[3], graph.nodes["3"](mix[3, 0] * first + mix[4, 0] * second))

    def test_a_fixed_graph_has_the_same_nodes(self):
        choice, graph = self.mixed()
        chosen = [(0, "skip_connect"), (2, "skip_connect"), (4, "skip_connect")]
        fixed = FixedGraph(
            self.EDGES,
            chosen,
            1,
            4,
            lambda _, op: make_operation(op, 2),
            node=lambda state: nn.Conv2d(2, 2, 1, bias=False),
        ).double()
        fixed.load_state_dict(graph.state_dict())
        x = torch.randn(2, 2, 3, 3, dtype=torch.float64)
        mix = torch.zeros(choice.shape, dtype=torch.float64)
        mix[[0, 2, 4], 0] = 1
        states = graph([x], mixtures({"cell": choice}, {"cell": mix}, x)["cell"])
        for found, expected in zip(fixed([x]), states, strict=True):
            torch.testing.assert_close(found, expected)

    def test_needed_states(self):
        assert needed_states([3], self.EDGES) == {0, 1, 2, 3}
        assert needed_states([2], self.EDGES) == {0, 1, 2}
        assert needed_states([1, 3], [(0, 1), (0, 3)]) == {0, 1, 3}
        assert needed_states([2], []) == {2}

    def test_states_that_no_output_needs_are_left_out(self):
        choice, graph = self.mixed()
        x = torch.randn(2, 2, 3, 3, dtype=torch.float64)
        active = torch.ones(choice.shape, dtype=torch.bool)
        active[2, 0] = False  # 1 → 2
        active[3, 0] = False  # 1 → 3: nothing reads 1 any more
        mixture = mixtures({"cell": choice}, {"cell": active.double()}, x, active={"cell": active})["cell"]
        everything, needed = graph([x], mixture), graph([x], mixture, [3])
        assert needed[1] is None
        for state in (0, 2, 3):
            assert torch.equal(needed[state], everything[state])

    def test_dead_states_have_no_modules(self):
        fixed = FixedGraph(
            self.EDGES,
            [(0, "skip_connect"), (1, "skip_connect"), (4, "skip_connect")],
            1,
            4,
            lambda _, op: make_operation(op, 2),
            node=lambda state: nn.Conv2d(2, 2, 1),
            live=needed_states([3], [(0, 1), (0, 2), (2, 3)]),
        )
        assert list(fixed.nodes) == ["2", "3"] and list(fixed.edges) == ["0-2", "2-3"]
        states = fixed([torch.randn(1, 2, 3, 3)])
        assert states[1] is None and states[3].shape == (1, 2, 3, 3)
