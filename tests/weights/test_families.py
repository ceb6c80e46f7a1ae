"""Every original's state dict loads, and gives the numbers of its program."""

import pytest
import torch
from published import UNBUILT, built, keyed, named, networks, shapes, space_and_notation
from reference import assert_close, image
from torchvision.models import get_model

from ramify import weights as foreign
from ramify.spaces import Baselines
from ramify.weights import Weights, WeightsError

QUICK = {
    *("angle-mbconv-proxyless-s1", "cdarts-chain-s1", "cdarts-eval-s2", "darts-cifar-s1", "darts-imagenet-s1"),
    *("h-das-cell-s1", "h-das-stage-s1", "nasbench201-s2", "nasnet-infer-s1", "nasnet-infer-s3", "nats-bench-size-s1"),
    *("shufflenet-oneshot-s1", "tas-infer-s1", "tas-infer-s3"),
}
KNOWN = [network for network in networks() if network["family"] not in UNBUILT]
KEYED = [
    pytest.param(network, id=network["id"], marks=() if network["id"] in QUICK else pytest.mark.slow)
    for network in KNOWN
    if "keyed" in network
]


def without(state, *ends):
    return {name: value for name, value in state.items() if not name.endswith(ends)}


@pytest.mark.parametrize("network", KEYED)
def test_keyed_weights_give_the_logits_of_the_original(network):
    state = keyed(network)
    ours, nodes = built(network, state)
    found = foreign.load(ours.double().eval(), Weights(state), nodes)
    assert all(name.startswith(("aux_head.", "auxiliary_head.")) for name in found.unused) and not found.fresh
    case = network["keyed"]
    with torch.no_grad():
        logits = ours(image(case["input"]))
    expected = case["logits_eval"]
    assert_close(logits[:, : len(expected[0])], expected, case["amplification"])


@pytest.mark.parametrize("network", KNOWN, ids=lambda network: network["id"])
def test_every_name_and_shape_fits_auxiliary_heads_too(network):
    state = shapes(network)
    heads = any(name.startswith(("aux", "auxiliary")) for name in state)
    with torch.device("meta"):
        ours, nodes = built(network, state, **({"auxiliary": True} if heads else {}))
    found = foreign.fit(ours, Weights(state), nodes)
    # for ImageNet two of the originals have a second norm in the head
    assert not found.fresh and {name.rpartition(".")[0] for name in found.unused} <= {"auxiliary_head.features.6"}
    assert len(found.state) + len(found.unused) == len(state) - sum(_is_alias(network, name) for name in state)


def _is_alias(network, name):
    return name.startswith(tuple(network.get("aliases", ())) or "\0")


class TestFit:
    network = named("darts-cifar-s1")

    def test_files_of_old_pytorch_have_no_counters(self):
        state = shapes(self.network)
        with torch.device("meta"):
            ours, nodes = built(self.network, state)
        assert not foreign.fit(ours, Weights(without(state, "num_batches_tracked")), nodes).unused

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda state: without(state, "stem.0.weight"), r"does not fit this network: 1 missing \(stem.0.weight\)"),
            (lambda state: state | {"head.weight": state["classifier.bias"]}, r"1 left over \(head.weight\)"),
            (
                lambda state: state | {"classifier.weight": torch.empty(7, 96, device="meta")},
                r"1 of another shape \(classifier.weight 7x96 for 10x96\)",
            ),
            (
                lambda state: without(state, "op.1.weight"),
                r"26 missing \(cells.0.preprocess0.op.1.weight, \S+, \S+\)",
            ),
        ],
    )
    def test_says_which_names_do_not_fit(self, change, message):
        state = shapes(self.network)
        with torch.device("meta"):
            ours, nodes = built(self.network, state)
        with pytest.raises(WeightsError, match=message) as error:
            foreign.fit(ours, Weights(change(state)), nodes)
        assert len(str(error.value)) < 300

    def test_nothing_is_loaded_of_what_does_not_fit(self):
        state = keyed(self.network)
        ours, nodes = built(self.network, state)
        before = {name: value.clone() for name, value in ours.state_dict().items()}
        with pytest.raises(WeightsError):
            foreign.load(ours, Weights(without(state, "classifier.bias")), nodes)
        assert all(torch.equal(before[name], value) for name, value in ours.state_dict().items())

    def test_names_of_another_family_are_said(self):
        with torch.device("meta"):
            ours, _ = built(self.network, shapes(self.network))
        with pytest.raises(WeightsError, match="SPOS' ShuffleNet, whose networks are members of ShuffleChain"):
            foreign.fit(ours, Weights(shapes(named("shufflenet-oneshot-s1"))), {})
        with pytest.raises(WeightsError, match="no known program"):
            foreign.fit(ours, Weights({"a.weight": torch.zeros(1)}), {})

    def test_the_order_of_reads_must_be_known_where_it_matters(self):
        space, notation = space_and_notation(self.network)
        arch = space.parse(notation)
        with pytest.raises(WeightsError, match="give the genotype as it was published"):
            foreign.ordered(space, arch, {}, "weights.pt")

    def test_an_exchanged_pair_of_reads_is_another_network(self):
        """The two reads of a node in the other order name the same member, and other tensors."""
        state = keyed(self.network)
        space, notation = space_and_notation(self.network)
        normal = notation["normal"]
        exchanged = {**notation, "normal": [normal[1], normal[0], *normal[2:]]}
        assert space.parse(exchanged) == space.parse(notation)
        outputs = []
        for written in (notation, exchanged):
            ours, _ = built(self.network, state)
            foreign.load(ours.double().eval(), Weights(state), foreign.written(written))
            with torch.no_grad():
                outputs.append(ours(image([2, 3, 32, 32])))
        assert not torch.allclose(*outputs, rtol=1e-4)


class TestStages:
    network = named("h-das-stage-s2")

    def test_any_of_the_names_of_a_cell_will_do(self):
        state = shapes(self.network)
        once = {name: value for name, value in state.items() if not name.startswith("cells.")}
        with torch.device("meta"):
            ours, nodes = built(self.network, state)
        assert len(foreign.fit(ours, Weights(once), nodes).state) == len(ours.state_dict())

    def test_names_of_one_cell_must_agree(self):
        state = keyed(self.network)
        name = "bigDAG1.bigDAG.4.preproc0.net.1.weight"
        ours, nodes = built(self.network, state)
        with pytest.raises(WeightsError, match="their tensors are not equal"):
            foreign.fit(ours, Weights(state | {name: state[name] + 1}), nodes)

    def test_cells_that_nothing_reads_may_be_left_over(self):
        space, given = space_and_notation(self.network)
        dag = dict(given["DAG"])
        dag["DAG2"] = [
            *dag["DAG2"][:2],
            [["skip_connect", 1], ["skip_connect", 2]],
            [["skip_connect", 1], ["max_pool_3x3", 2]],
        ]
        dag["DAG2_concat"] = [5]
        notation = {"genotype": given["genotype"], "DAG": dag}
        space = type(space).covering(notation)
        arch, layout = space.parse(notation), {"layout": "imagenet", "channels": 4, "num_classes": 10}
        nodes = foreign.written(notation)
        with torch.device("meta"):
            whole, pruned = (space.build(arch, prune_dead=prune, **layout) for prune in (False, True))
        family = foreign.family_of(shapes(self.network))
        modules = dict(family.names(whole, nodes))
        state = {}
        for name, value in whole.state_dict().items():
            module, _, last = name.rpartition(".")
            state[f"{modules[module]}.{last}"] = value
        assert len(whole.state_dict()) > len(pruned.state_dict())
        found = foreign.fit(pruned, Weights(state), nodes)
        assert len(found.state) == len(pruned.state_dict())
        assert len(found.unused) == len(whole.state_dict()) - len(pruned.state_dict())


@pytest.mark.parametrize("name", ["ResNet18", "ResNeXt50-32x4d", "MobileNetV2"])
def test_state_dicts_of_torchvision(name):
    space = Baselines()
    with torch.device("meta"):
        ours = space.build(space.parse(name), num_classes=7, in_channels=3)
        theirs = get_model(space.record(space.parse(name))["model"], weights=None, num_classes=7)
    found = foreign.fit(ours, Weights(theirs.state_dict()))
    assert not found.unused and not found.fresh
