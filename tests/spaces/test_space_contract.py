"""What holds for every space of the library, beyond the contract of all spaces (`ramify.testing.check_space`)."""

import copy
import functools
import json
import math
import pickle
import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ramify import Architecture, spaces
from ramify.costs import profile
from ramify.errors import ArchitectureError
from ramify.spaces.chain import ChainSpace
from ramify.supernet import edge_names, existing, needed_states
from space_cases import CASES

every_case = pytest.mark.parametrize("case", CASES, ids=repr)
every_case_of_cells = pytest.mark.parametrize(
    "case", [c for c in CASES if c.layout and not isinstance(c.space, ChainSpace)], ids=repr
)
case_and_seed = given(st.sampled_from(CASES), st.integers(0, 2**32))

# (affine, running statistics) of the norms inside cells, with a norm behind poolings where the space knows that
NORMS = [(False, False, True), (True, True, True), (True, False, False), (False, True, False)]


@functools.cache
def shared_supernet(case):
    """A supernet that tests only read."""
    return case.supernet()


def random_mix(case, seed=0):
    torch.manual_seed(seed)
    return {
        name: choice.softmax(torch.randn(choice.shape, dtype=torch.float64))
        for name, choice in case.space.choices.items()
    }


def sup_strides(case):
    """The strides of the stages of a chain."""
    return case.space.widths(case.space.layout(case.layout)).strides[1:]


def member(case, seed=0):
    return case.space.sample(random.Random(seed))


def snapshot(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def changed(module, before):
    return {name for name, value in module.state_dict().items() if not torch.equal(value, before[name])}


def used_states(space, arch, cell, reads):
    """The states that the output of a mixed cell follows from."""
    if not hasattr(cell, "concat"):
        return set(range(cell.graph.states))
    joined = space.genotype(arch)[f"DAG{cell.kind[-1]}"].concat if "lengths" in space.choices else cell.concat
    return needed_states(joined, reads)


class TestMembers:
    @every_case
    def test_mutations_reach_every_decision_that_is_free(self, case):
        parent, rng = member(case), random.Random(0)
        children = [case.space.mutate(parent, rng) for _ in range(60 * len(case.space.decisions))]
        reached = {name for child in children for name in child if child[name] != parent[name]}
        assert reached == {d.name for d in case.space.decisions if len(d.choices) > 1}

    @every_case
    def test_crossover_mixes(self, case):
        a, b, rng = member(case, 1), member(case, 2), random.Random(0)
        differing = [name for name in a if a[name] != b[name]]
        from_a = [case.space.crossover(a, b, rng)[name] == a[name] for _ in range(400) for name in differing]
        assert abs(sum(from_a) / len(from_a) - 0.5) < 4 * 0.5 / math.sqrt(len(from_a))

    @case_and_seed
    def test_architectures_travel_and_find_home(self, case, seed):
        arch = member(case, seed)
        for twin in (Architecture.from_json(arch.to_json()), pickle.loads(pickle.dumps(arch))):
            assert twin == arch
            assert case.space.checked(twin) is twin
            assert arch in spaces.space_of(twin)

    @every_case
    def test_values_by_name_and_by_order_are_the_same(self, case):
        arch = member(case)
        assert case.space.architecture(arch.choices) == arch
        assert case.space.architecture(dict(reversed(arch.choices.items()))) == arch
        assert case.space.architecture([arch[name] for name in arch]) == arch

    @every_case
    def test_the_order_of_decisions_in_a_file_does_not_matter(self, case):
        arch = member(case, 9)
        twin = Architecture(arch.space, dict(reversed(arch.choices.items())), arch.arguments)
        assert twin == arch
        assert case.space.format(twin) == case.space.format(arch)
        assert case.space.graphs(twin) == case.space.graphs(arch)
        assert all(torch.equal(case.space.mix(twin)[name], weights) for name, weights in case.space.mix(arch).items())
        assert list(case.space.mutate(twin, random.Random(0))) == list(arch)
        network, other = case.build(arch).eval(), case.build(twin).eval()
        other.load_state_dict(network.state_dict())
        x = case.images()
        assert torch.equal(other(x), network(x))

    @every_case
    def test_strangers_are_refused(self, case):
        arch, space = member(case), case.space
        first = next(iter(arch))
        strangers = {
            "belongs to": Architecture("Elsewhere", arch.choices, arch.arguments),
            "not to": Architecture(arch.space, arch.choices, {**arch.arguments, "nodes": 9}),
            "must decide": Architecture(
                arch.space, {n: v for n, v in arch.choices.items() if n != first}, arch.arguments
            ),
            "is not a choice of decision": Architecture(
                arch.space, {**arch.choices, first: "nor_conv_9x9"}, arch.arguments
            ),
        }
        for message, stranger in strangers.items():
            assert stranger not in space
            for use in (space.checked, space.mix, space.format, space.build, lambda a: space.mutate(a, random)):
                with pytest.raises(ArchitectureError, match=message):
                    use(stranger)

    @every_case
    @pytest.mark.parametrize("value", [{}, {"op": "none"}, None, 1.5, [["skip_connect", [0]]]], ids=repr)
    def test_a_file_with_any_other_value_is_refused(self, case, value):
        arch = member(case)
        plain = arch.to_dict()
        plain["choices"] = plain["choices"] | {next(iter(arch)): value}
        with pytest.raises(ArchitectureError, match="is not a choice of decision"):
            case.space.checked(Architecture.from_json(json.dumps(plain)))


class TestTheSpaceItself:
    @every_case
    def test_it_describes_itself_completely(self, case):
        twin = spaces.create(json.loads(json.dumps(case.space.to_dict())))
        assert twin.to_dict() == case.space.to_dict()
        assert twin.decisions == case.space.decisions
        assert member(case) in twin

    @every_case
    def test_it_travels_between_processes(self, case):
        twin = pickle.loads(pickle.dumps(case.space))
        assert twin.decisions == case.space.decisions
        assert twin.sample(random.Random(5)) == case.space.sample(random.Random(5))

    @every_case
    def test_its_repr_names_class_and_arguments(self, case):
        text = repr(case.space)
        assert text.startswith(case.space.name + "(")
        assert all(f"{name}=" in text for name in case.space.arguments)

    def test_unknown_spaces_are_answered_with_the_nearest(self):
        with pytest.raises(ArchitectureError, match="unknown space 'NASBench202'; did you mean 'NASBench201'"):
            spaces.create({"space": "NASBench202"})

    def test_unknown_arguments_are_refused(self):
        with pytest.raises(ArchitectureError, match="NASBench201 with arguments"):
            spaces.create({"space": "NASBench201", "arguments": {"depth": 3}})
        with pytest.raises(ArchitectureError, match="`nodes` must be at least 2"):
            spaces.create({"space": "NASBench201", "arguments": {"nodes": 1}})

    @every_case
    def test_layout_keywords_are_checked_by_name(self, case):
        for kind in ("member", "supernet"):
            found = vars(case.space.layout(case.layout, kind=kind))
            assert case.layout.items() <= found.items()
            assert None not in found.values()
            with pytest.raises(ValueError, match=r"unknown layout keyword 'afine'.*did you mean 'affine'"):
                case.space.layout({"afine": True}, kind=kind)


class TestTwoViews:
    @every_case
    def test_decisions_carry_what_they_decide(self, case):
        whole = type(case.space)(**case.space.arguments)
        places = [decision.place for decision in case.space.decisions]
        assert None not in places and len(set(places)) == len(places)
        for decision in case.space.decisions:
            assert case.space.place(decision.name) == whole.place(decision.name) == decision.place

    @case_and_seed
    def test_any_scores_give_a_member(self, case, seed):
        torch.manual_seed(seed)
        scores = {name: torch.randn(choice.shape) for name, choice in case.space.choices.items()}
        arch = case.space.discretize(scores)
        assert arch in case.space
        assert case.space.discretize({name: (3 * value).exp() for name, value in scores.items()}) == arch
        assert case.space.discretize({name: value.double().requires_grad_() for name, value in scores.items()}) == arch

    @every_case
    def test_equal_scores_give_the_same_member_every_time(self, case):
        scores = {name: torch.zeros(choice.shape) for name, choice in case.space.choices.items()}
        assert case.space.discretize(scores) == case.space.discretize(scores)

    @every_case
    def test_scores_of_another_shape_and_nan_are_refused(self, case):
        scores = random_mix(case)
        name = next(iter(scores))
        with pytest.raises(ArchitectureError, match="scores must have the keys"):
            case.space.discretize({})
        with pytest.raises(ArchitectureError, match=rf"scores\['{name}'\] must have shape"):
            case.space.discretize(scores | {name: scores[name][1:]})
        with pytest.raises(ArchitectureError, match="contain NaN"):
            case.space.discretize(scores | {name: scores[name] * float("nan")})


class TestRestrict:
    @case_and_seed
    def test_members_of_the_rest_are_members_of_the_whole(self, case, seed):
        torch.manual_seed(seed)
        masks = {name: torch.rand(choice.shape) < 0.9 for name, choice in case.space.choices.items()}
        try:
            rest = case.space.restrict(masks)
        except ArchitectureError:  # nothing may be left of a decision
            return
        assert rest.size <= case.space.size
        arch = rest.sample(random.Random(seed))
        assert arch in rest and arch in case.space
        assert arch == case.space.checked(arch)
        for name, weights in rest.mix(arch).items():
            assert not weights[~masks[name]].any()
            assert torch.equal(weights, case.space.mix(arch)[name])
        for decision, all_of_it in zip(rest.decisions, case.space.decisions, strict=True):
            kept = set(decision.choices)
            for value in all_of_it.choices:
                uses = case.space.candidates(decision.name, value)
                assert (value in kept) is all(bool(masks[name][edge, op]) for name, edge, op in uses)
        assert rest.discretize(random_mix(case, seed)) in rest

    @every_case
    def test_the_whole_space_is_not_changed(self, case):
        before = case.space.to_dict(), case.space.decisions
        arch = member(case)
        only = case.space.restrict({name: weights == 1 for name, weights in case.space.mix(arch).items()})
        assert only.size == 1
        assert only.sample(random.Random(0)) == arch
        with pytest.raises(ArchitectureError, match="single member"):
            only.mutate(arch, random.Random(0))
        assert (case.space.to_dict(), case.space.decisions) == before

    @every_case
    def test_restrictions_add_up_and_travel(self, case):
        name, choice = next(iter(case.space.choices.items()))
        first, second = choice.mask.clone(), choice.mask.clone()
        free = [edge for edge, row in enumerate(choice.mask) if row.sum() > 1]
        for mask, edge in ((first, free[0]), (second, free[-1])):
            mask[edge, int(mask[edge].nonzero()[-1])] = False
        both = case.space.restrict({name: first}).restrict({name: second})
        assert torch.equal(both.choices[name].mask, first & second)
        assert both.to_dict()["restriction"][name] == (first & second).tolist()
        assert spaces.create(json.loads(json.dumps(both.to_dict()))).decisions == both.decisions

    @every_case
    def test_what_leaves_nothing_is_refused_at_once(self, case):
        name, choice = next(iter(case.space.choices.items()))
        with pytest.raises(ArchitectureError, match=r"leaves decision .* without any choice"):
            case.space.restrict({name: torch.zeros(choice.shape, dtype=torch.bool)})

    @every_case
    def test_wrong_names_and_shapes_are_refused(self, case):
        name = next(iter(case.space.choices))
        with pytest.raises(ArchitectureError, match=f"unknown choice '{name}s'.*did you mean '{name}'"):
            case.space.restrict({name + "s": case.space.choices[name].mask})
        with pytest.raises(ArchitectureError, match=f"mask of choice '{name}'"):
            case.space.restrict({name: case.space.choices[name].mask[1:]})

    @every_case_of_cells
    def test_the_supernet_builds_existing_candidates_only(self, case):
        sup = shared_supernet(case)
        for cell in sup.cells:
            if getattr(cell, "kind", None) not in case.space.choices:
                continue
            choice = case.space.choices[cell.kind]
            built = {(edge, op) for edge, candidates in cell.graph.edges.items() for op in candidates}
            assert built == {
                (edge, op)
                for edge, row in zip(edge_names(choice.edges), choice.mask.tolist(), strict=True)
                for op, on in zip(choice.ops, row, strict=True)
                if on and op != "none"
            }


class TestSupernet:
    @every_case
    @pytest.mark.parametrize(("affine", "tracked", "pool_norm"), NORMS)
    def test_a_one_hot_mix_is_the_extracted_member(self, case, affine, tracked, pool_norm):
        norms = {"affine": affine, "track_running_stats": tracked}
        if case.space.name in ("DARTSCells", "StageCells"):
            norms["pool_norm"] = pool_norm
        sup = case.supernet(**norms)
        for module in sup.modules():
            if isinstance(module, nn.BatchNorm2d):
                for parameter in module.parameters():
                    nn.init.normal_(parameter, 1.0, 0.2)
        sup(case.images(4), random_mix(case))  # moves running statistics where there are any
        arch, x = member(case, 3), case.images(3)
        for training in (True, False):
            network = case.space.extract(sup.train(training), arch)
            assert network.training is training
            assert {p.dtype for p in network.parameters()} == {torch.float64}
            assert set(network.state_dict()) <= set(sup.state_dict())
            with torch.no_grad():
                found, expected = network(x), sup(x, case.space.mix(arch))
            torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)

    @every_case_of_cells
    def test_absorbing_a_network_of_another_shape_is_refused_and_changes_nothing(self, case):
        sup, before = shared_supernet(case), snapshot(shared_supernet(case))
        wider = case.build(member(case), channels=2 * case.layout["channels"])
        with pytest.raises(ArchitectureError, match="the supernet has no parameter"):
            case.space.absorb(sup, wider)
        assert not changed(sup, before)

    @every_case_of_cells
    def test_active_candidates_suffice_for_a_member(self, case):
        sup, arch, x = shared_supernet(case), member(case, 4), case.images()
        mix = case.space.mix(arch)
        active = {name: weights.bool() for name, weights in mix.items()}
        calls = []
        handles = [
            operation.body.register_forward_hook(lambda *_, key=(number, edge, op): calls.append(key))
            for number, cell in enumerate(sup.cells)
            if hasattr(cell, "kind")
            for edge, candidates in cell.graph.edges.items()
            for op, operation in candidates.items()
        ]
        try:
            sparse = sup(x, mix, active=active)
            computed = sorted(calls)
            calls.clear()
            full = sup(x, mix)
        finally:
            for handle in handles:
                handle.remove()
        torch.testing.assert_close(sparse, full, rtol=1e-12, atol=1e-12)
        expected = []
        for number, cell in enumerate(sup.cells):
            if hasattr(cell, "kind"):
                choice = case.space.choices[cell.kind]
                read = mix[cell.kind].nonzero().tolist()
                for edge, op in read:
                    if choice.edges[edge][1] in used_states(case.space, arch, cell, [choice.edges[e] for e, _ in read]):
                        expected.append((number, edge_names(choice.edges)[edge], choice.ops[op]))
        # stateless candidates that agree are computed once for a source, so they may be missing
        stateless = {key for key in expected if key[2].count("pool") or key[2] == "skip_connect"}
        expected = {key for key in expected if key[2] != "none"}
        assert set(computed) <= expected
        assert expected - set(computed) <= stateless
        assert len(computed) == len(set(computed)) < len(calls)

    @every_case
    def test_only_active_weights_have_a_gradient(self, case):
        sup = shared_supernet(case)
        mix = {name: weights.requires_grad_() for name, weights in random_mix(case).items()}
        active = {name: weights.bool() for name, weights in case.space.mix(member(case, 5)).items()}
        loss = sup(case.images(), mix, active=active).square().sum()
        for name, gradient in zip(mix, torch.autograd.grad(loss, list(mix.values())), strict=True):
            assert not gradient[~active[name]].any()
            live = active[name].clone()
            if "none" in sup.choices[name].ops:
                live[:, sup.choices[name].ops.index("none")] = False
            assert gradient[live].any() or not live.any()

    @every_case
    def test_every_existing_candidate_matters_except_none(self, case):
        sup = shared_supernet(case)
        mix = {name: weights.requires_grad_() for name, weights in random_mix(case).items()}
        gradients = torch.autograd.grad(sup(case.images(4), mix).square().sum(), list(mix.values()))
        for (_, choice), gradient in zip(sup.choices.items(), gradients, strict=True):
            matters = choice.mask.clone()
            if "none" in choice.ops:
                matters[:, choice.ops.index("none")] = False
            assert torch.equal(gradient != 0, matters)

    @every_case
    def test_constants_change_gradients_but_not_values(self, case):
        sup, x = shared_supernet(case), case.images()
        one_hot = case.space.mix(member(case, 6))
        active = {name: weights.bool() for name, weights in one_hot.items()}
        mix = {name: weights.double().requires_grad_() for name, weights in one_hot.items()}
        plain, constant = sup(x, mix, active=active), sup(x, mix, active=active, constants=True)
        torch.testing.assert_close(plain, constant, rtol=1e-12, atol=1e-12)
        gradients = torch.autograd.grad(constant.square().sum(), list(mix.values()))
        for (name, choice), gradient in zip(sup.choices.items(), gradients, strict=True):
            assert gradient[choice.mask & ~active[name]].any()
            assert not gradient[~choice.mask].any()
        # at a node, a constant one of any inactive candidate is the same
        name, choice = next(iter(sup.choices.items()))
        inactive = [row[on] for row, on in zip(gradients[0], choice.mask & ~active[name], strict=True)]
        for values in inactive:
            torch.testing.assert_close(values, values[:1].expand_as(values))

    @every_case_of_cells
    def test_dropout_acts_in_training_only(self, case):
        sup, x, mix = case.supernet(), case.images(), random_mix(case)
        dropout = {"skip_connect": 0.5}
        before = sup(x, mix)
        assert not torch.allclose(sup(x, mix, dropout=dropout), before)
        assert torch.allclose(sup(x, mix, dropout={"skip_connect": 0.0}), before)
        sup.eval()
        assert torch.equal(sup(x, mix, dropout=dropout), sup(x, mix))

    @every_case
    def test_taps_are_the_ends_of_the_stages(self, case):
        sup, arch, x = shared_supernet(case), member(case), case.images(size=(16, 12))
        sizes = [(8, 6), (4, 3), (4, 3)]
        if isinstance(case.space, ChainSpace):  # laid out for 8 pixels: the last of the strides is left
            halved = [2 in sup_strides(case)[: number + 1] for number in range(len(case.space.stages) + 1)]
            sizes = [(8, 6) if half else (16, 12) for half in halved]
        names = tuple(f"stage{number}" for number in range(1, len(sizes) + 1))
        mix = case.space.mix(arch)
        logits, features = sup(x, mix, taps=names)
        built_logits, built_features = case.space.extract(sup, arch)(x, taps=names)
        assert torch.equal(logits, sup(x, mix))
        torch.testing.assert_close(built_logits, logits)
        assert list(features) == list(built_features) == list(names)
        assert [tuple(features[name].shape[2:]) for name in names] == sizes
        assert set(sup.distilled) < set(names)
        for name in names:
            width = built_features[name].shape[1]  # channels that a member lacks are zeros in the supernet
            torch.testing.assert_close(built_features[name], features[name][:, :width])
            assert not features[name][:, width:].any()
        assert list(sup(x, mix, taps=("stage2",))[1]) == ["stage2"]

    @every_case
    def test_unknown_taps_are_answered_with_the_nearest(self, case):
        sup = shared_supernet(case)
        for network, arguments in ((sup, (random_mix(case),)), (case.space.extract(sup, member(case)), ())):
            with pytest.raises(ArchitectureError, match="unknown tap 'stage9'; did you mean 'stage"):
                network(case.images(), *arguments, taps=("stage9",))

    @every_case
    def test_it_is_a_pure_function(self, case):
        sup, x, mix = case.supernet(track_running_stats=True), case.images(), random_mix(case)
        before, given = snapshot(sup), {name: weights.clone() for name, weights in mix.items()}
        image = x.clone()
        first = sup.eval()(x, mix)
        assert torch.equal(sup(x, mix), first)
        assert not changed(sup, before)
        assert torch.equal(sup.train()(x, mix), sup(x, mix))
        buffers = {name for name, _ in sup.named_buffers()}
        assert changed(sup, before) == buffers  # training moves running statistics, as it does everywhere
        assert torch.equal(x, image) and all(torch.equal(mix[name], given[name]) for name in mix)
        assert all(p.grad is None for p in sup.parameters())

    @every_case
    def test_every_running_statistic_moves_like_that_of_the_members(self, case):
        arch, x = member(case, 2), case.images()
        sup = case.supernet(track_running_stats=True)
        network = case.space.extract(sup, arch)
        network.train()(x)
        sup.train()(x, case.space.mix(arch))
        moved = case.space.extract(sup, arch).state_dict()
        for name, value in network.named_buffers():
            torch.testing.assert_close(moved[name], value, rtol=1e-12, atol=1e-12)

    @every_case
    def test_the_memory_layout_does_not_matter(self, case):
        sup, mix, x = case.supernet(), random_mix(case), case.images(size=(9, 8))
        weights = {name: value.requires_grad_() for name, value in mix.items()}
        wanted = (*weights.values(), *sup.parameters())
        plain = sup(x, weights)
        gradients = torch.autograd.grad(plain.square().sum(), wanted)
        sup.to(memory_format=torch.channels_last)
        last = sup(x.contiguous(memory_format=torch.channels_last), weights)
        torch.testing.assert_close(last, plain, rtol=1e-10, atol=1e-10)
        for a, b in zip(torch.autograd.grad(last.square().sum(), wanted), gradients, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-8)

    @every_case
    @pytest.mark.parametrize(("channels", "size"), [(1, (8, 8)), (4, (15, 17)), (5, (24, 16))])
    def test_odd_sizes_and_other_numbers_of_channels(self, case, channels, size):
        x = case.images(2, channels, size)
        arch = member(case)
        sup = case.supernet(in_channels=channels, num_classes=7)
        logits = sup(x, case.space.mix(arch))
        assert logits.shape == (2, 7) and logits.isfinite().all()
        torch.testing.assert_close(case.space.extract(sup, arch)(x), logits, rtol=1e-12, atol=1e-12)

    @every_case
    def test_second_derivatives_are_those_of_finite_differences(self, case):
        """d/d mix of (d loss/d weights · v), which second-order architecture steps need."""
        sup, x, mix = shared_supernet(case), case.images(4), random_mix(case)
        weights = list(sup.parameters())
        directions = [torch.randn_like(weight) for weight in weights]
        towards = {name: torch.randn_like(value) * (value > 0) for name, value in mix.items()}

        def slope(at, create_graph=False):
            loss = sup(x, at).square().sum()
            gradients = torch.autograd.grad(loss, weights, create_graph=create_graph)
            return sum((g * v).sum() for g, v in zip(gradients, directions, strict=True))

        moving = {name: value.clone().requires_grad_() for name, value in mix.items()}
        second = torch.autograd.grad(slope(moving, create_graph=True), list(moving.values()))
        found = sum((g * towards[name]).sum() for name, g in zip(moving, second, strict=True))
        steps = (1e-8, 3e-9, 1e-9)  # small, so that no ReLU changes sides; now and then one does all the same
        differences = []
        for step in steps:
            ahead, behind = (
                slope({name: value + sign * step * towards[name] for name, value in mix.items()}) for sign in (1, -1)
            )
            differences.append((ahead - behind) / (2 * step))
        assert any(torch.isclose(found, difference, rtol=1e-5, atol=1e-5) for difference in differences)

    @every_case
    def test_functional_call_uses_the_given_weights_and_buffers(self, case):
        sup, x, mix = case.supernet(track_running_stats=True), case.images(), random_mix(case)
        before = snapshot(sup)
        parameters = {name: (p.detach() * 1.1).requires_grad_() for name, p in sup.named_parameters()}
        buffers = {name: b.clone() for name, b in sup.named_buffers()}
        logits = torch.func.functional_call(sup, (parameters, buffers), (x, mix))
        gradients = torch.autograd.grad(logits.square().sum(), list(parameters.values()), create_graph=True)
        assert not changed(sup, before)
        assert any(not torch.equal(value, before[name]) for name, value in buffers.items())
        twin = case.supernet(track_running_stats=True)
        twin.load_state_dict(before | {name: p.detach() for name, p in parameters.items()})
        torch.testing.assert_close(logits, twin(x, mix))
        twin(x, mix).square().sum().backward()
        for found, parameter in zip(gradients, twin.parameters(), strict=True):
            torch.testing.assert_close(found, parameter.grad)

    @every_case
    def test_copies_are_independent(self, case):
        sup = shared_supernet(case)
        x, mix, twin = case.images(), random_mix(case), copy.deepcopy(sup)
        torch.testing.assert_close(twin(x, mix), sup(x, mix))
        before = snapshot(sup)
        with torch.no_grad():
            for parameter in twin.parameters():
                parameter.zero_()
        assert not changed(sup, before)

    @every_case
    def test_wrong_names_and_shapes_are_refused(self, case):
        sup, x, mix = shared_supernet(case), case.images(), random_mix(case)
        name = next(iter(mix))
        shape = sup.choices[name].shape
        with pytest.raises(ArchitectureError, match="mix must have the keys"):
            sup(x, {name + "s": mix[name]})
        with pytest.raises(ArchitectureError, match=rf"mix\['{name}'\] must have shape \(E, O\) = \({shape[0]}, "):
            sup(x, mix | {name: mix[name][1:]})
        with pytest.raises(ArchitectureError, match=rf"active\['{name}'\] must have shape"):
            sup(x, mix, active={name: torch.ones(1, 1, dtype=torch.bool)})
        with pytest.raises(ArchitectureError, match=f"active: unknown choice '{name}s'; did you mean '{name}'"):
            sup(x, mix, active={name + "s": mix[name].bool()})
        with pytest.raises(ArchitectureError, match=r"dropout: unknown operation 'skip_conect'; (did you mean|known)"):
            sup(x, mix, dropout={"skip_conect": 0.1})

    @every_case
    def test_the_uniform_mix_is_over_existing_candidates(self, case):
        for name, weights in existing(case.space.choices).items():
            choice = case.space.choices[name]
            assert torch.equal(weights > 0, choice.mask)
            torch.testing.assert_close(weights.sum(1), choice.mask.any(1).float())


class TestBuilt:
    @every_case
    @settings(max_examples=5)
    @given(seed=st.integers(0, 2**32))
    def test_every_member_can_be_built_and_trained(self, case, seed):
        network = case.build(member(case, seed), num_classes=3)
        logits = network(case.images(2, size=(5, 7)))
        assert logits.shape == (2, 3)
        assert logits.isfinite().all()
        logits.square().sum().backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())

    @every_case
    def test_networks_take_rectangles_of_five_channels(self, case):
        head = {"auxiliary": True} if "auxiliary" in case.space.Layout.keywords("member") else {}
        network = case.build(member(case), in_channels=5, num_classes=7, **head)
        for size in ((24, 16), (16, 24)):
            outputs = network(case.images(2, 5, size))
            for logits in outputs if head else (outputs,):
                assert logits.shape == (2, 7) and logits.isfinite().all()
        found = [profile(network, (5, *size)) for size in ((24, 16), (16, 24))]
        assert found[0] == found[1] and found[0].macs > 0

    @every_case
    def test_evaluation_networks_have_affine_norms_with_running_statistics(self, case):
        norms = [m for m in case.build(member(case)).modules() if isinstance(m, nn.BatchNorm2d)]
        assert norms and all(norm.affine and norm.track_running_stats for norm in norms)

    @every_case_of_cells
    def test_supernets_have_neither_inside_their_cells(self, case):
        for cell in shared_supernet(case).cells:
            if hasattr(cell, "kind"):
                fixed = set(cell.graph.nodes.modules())  # the cells that a stage is a graph of are built ones
                norms = [m for m in cell.modules() if isinstance(m, nn.BatchNorm2d) and m not in fixed]
                assert norms and not any(norm.affine or norm.track_running_stats for norm in norms)

    @every_case
    def test_drop_path_changes_training_only(self, case):
        arch, x = member(case, 7), case.images(8)
        plain, dropping = case.build(arch), case.build(arch, drop_path=0.6)
        dropping.load_state_dict(plain.state_dict())
        assert not torch.allclose(plain(x), dropping(x))
        assert torch.allclose(plain.eval()(x), dropping.eval()(x), atol=0.5)
        dropping.load_state_dict(plain.state_dict())
        assert torch.equal(plain(x), dropping(x))

    @every_case
    def test_built_networks_can_be_traced(self, case):
        network = case.build(member(case)).eval()
        traced = torch.fx.symbolic_trace(nn.Sequential(network))  # a call without taps
        x = case.images()
        assert torch.equal(traced(x), network(x))
        assert torch.equal(traced(x[:, :, 1:, 2:]), network(x[:, :, 1:, 2:]))
