"""What the compiled execution hands to the kernels, and what it leaves to the shared one."""

import random
from copy import deepcopy

import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from ramify import spaces
from ramify.execution import executed, prepare
from ramify.execution.compiled import CompiledDepthwise
from ramify.kernels import build

pytestmark = pytest.mark.skipif(not build(), reason="no kernels here")

SPACE = spaces.DARTSCells()
ARCH = SPACE.parse(
    '{"normal": [["sep_conv_3x3", 0], ["dil_conv_5x5", 1], ["sep_conv_5x5", 0], ["skip_connect", 1], '
    '["max_pool_3x3", 0], ["dil_conv_3x3", 2], ["sep_conv_3x3", 1], ["avg_pool_3x3", 2]], '
    '"normal_concat": [2, 3, 4, 5], "reduce": [["sep_conv_3x3", 0], ["dil_conv_5x5", 1], ["sep_conv_5x5", 0], '
    '["skip_connect", 1], ["max_pool_3x3", 0], ["dil_conv_3x3", 2], ["sep_conv_3x3", 1], ["avg_pool_3x3", 2]], '
    '"reduce_concat": [2, 3, 4, 5]}'
)


class Calls(TorchDispatchMode):
    """Counts calls of the kernels, their candidates and ready maps, and depthwise convolutions of PyTorch."""

    def __init__(self):
        super().__init__()
        self.calls = self.candidates = self.ready = self.depthwise = self.gradients = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.ramify.separable.default:
            self.calls += 1
            self.candidates += args[2].shape[0]
            self.ready += len(args[6])
        elif func is torch.ops.ramify.depthwise_backward.default:
            self.gradients += 1
        elif "convolution.default" in str(func) and args[8] > 1:
            self.depthwise += 1
        return func(*args, **(kwargs or {}))


def counted(network, *inputs, **options):
    with Calls() as calls:
        network(*inputs, **options)
    return calls


def supernet(**layout):
    torch.manual_seed(0)
    return prepare(SPACE.supernet(channels=4, layers=3, num_classes=10, **layout), "compiled")


def mix():
    return {name: choice.softmax(torch.zeros(choice.shape)) for name, choice in SPACE.choices.items()}


X = torch.randn(2, 3, 8, 8)


def test_a_source_is_one_call():
    calls = counted(supernet(), X, mix())
    assert calls.calls == 3 * 5  # cells, sources
    assert calls.candidates == 3 * 14 * 4
    assert calls.ready == 3 * 5 * 3 - 2 * 2  # poolings and the skip, which strides in two sources of two cells
    assert calls.depthwise == 0


def test_a_path_computes_no_more_than_the_path():
    active = {name: weights > 0 for name, weights in SPACE.mix(ARCH).items()}
    calls = counted(supernet(), X, mix(), active=active)
    assert calls.candidates == 3 * 5 and calls.depthwise == 0


def test_dropped_candidates_and_watched_ones_are_left_out():
    network = supernet().train()
    assert counted(network, X, mix(), dropout={"sep_conv_3x3": 0.5}).candidates > 0
    seen = []
    watched = next(module for name, module in network.named_modules() if name.endswith("sep_conv_5x5.body.1"))
    watched.register_forward_hook(lambda *_: seen.append(1))
    assert counted(network, X, mix()).candidates == 3 * 14 * 4 - 1
    assert seen == [1]


def test_other_types_run_as_shared():
    network = supernet()
    with torch.autocast("cpu", torch.bfloat16):
        assert counted(network, X, mix()).calls == 0


def test_who_watches_functions_sees_them():
    class Watching(TorchFunctionMode):
        seen = 0

        def __torch_function__(self, func, types, args=(), kwargs=None):
            self.seen += func is torch.nn.functional.relu
            return func(*args, **(kwargs or {}))

    with Watching() as mode:
        assert counted(supernet(), X, mix()).calls == 0
    assert mode.seen > 3 * 5


def test_transformed_functions_run_as_shared():
    network = supernet().double().eval()  # whose stem would note its batches
    parameters, example = dict(network.named_parameters()), mix()
    call = lambda held: torch.func.functional_call(network, held, (X.double(), example)).sum()  # noqa: E731
    transformed = torch.func.grad(call)(parameters)
    usual = torch.autograd.grad(call(parameters), list(parameters.values()))
    for a, b in zip(transformed.values(), usual, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-8)
    ones = {name: torch.ones_like(value) for name, value in parameters.items()}
    _, along = torch.func.jvp(call, (parameters,), (ones,))
    assert along.isfinite()


def test_running_statistics_of_built_networks():
    network = SPACE.build(ARCH, channels=4, layers=3, num_classes=10, auxiliary=False)
    shared, compiled = prepare(deepcopy(network), "shared"), prepare(deepcopy(network), "compiled")
    for _ in range(2):
        shared(X), compiled(X)
    assert counted(compiled, X).calls > 0
    shared(X)
    for (name, a), b in zip(compiled.state_dict().items(), shared.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, msg=name)
    assert counted(compiled.eval(), X).calls == 0
    torch.testing.assert_close(compiled(X), executed(compiled, "shared")(X))


def test_large_depthwise_convolutions_of_any_network_have_gradients_of_their_own():
    space = spaces.MobileChain()
    torch.manual_seed(0)
    network = space.build(space.sample(random.Random(0)), num_classes=10)
    sides = [m.kernel_size[0] for m in network.modules() if isinstance(m, nn.Conv2d) and m.groups == m.in_channels > 1]
    prepare(network, "compiled")
    with Calls() as calls:
        network(torch.randn(2, 3, 32, 32)).sum().backward()
    assert calls.gradients == sum(side >= 5 for side in sides) > 0
    assert not any(isinstance(module, CompiledDepthwise) for module in executed(network, "shared").modules())
