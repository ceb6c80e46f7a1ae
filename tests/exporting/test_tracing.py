"""`trace`: only what leads to the output stays, in-place changes included."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from ramify.errors import RamifyError
from ramify.exporting.tracing import trace

IMAGES = torch.rand(2, 3, 4, 4)


def kept(network: nn.Module) -> list[str]:
    graph = trace(network.eval(), IMAGES.clone()).graph
    return [node.name for node in graph.nodes if node.op not in ("placeholder", "output")]


def lambda_module(function, **modules: nn.Module) -> nn.Module:
    """Return a module with `modules` whose `forward(x)` is `function(self, x)`."""

    class Module(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return function(self, x)

    module = Module()
    for name, child in modules.items():
        module.add_module(name, child)
    return module


def test_dead_branches_go():
    def forward(self, x):
        F.relu(self.dead(x))
        return self.live(x)

    assert kept(lambda_module(forward, dead=nn.Conv2d(3, 3, 1), live=nn.Conv2d(3, 3, 1))) == ["live"]


def test_branches_of_training_are_not_seen():
    def forward(self, x):
        return (x, self.head(x)) if self.training else self.body(F.dropout(x, training=self.training))

    assert kept(lambda_module(forward, head=nn.Conv2d(3, 3, 1), body=nn.Conv2d(3, 3, 1))) == ["body"]


def test_identities_go():
    def forward(self, x):
        return sum([self.skip(x), F.dropout(self.skip(x), 0.5, self.training)])

    assert kept(lambda_module(forward, skip=nn.Identity())) == ["add_1"]


def test_changes_in_place_stay_if_they_are_read():
    def forward(self, x):
        x = self.conv(x)
        view = x.view(x.size(0), -1)
        self.act(x)  # changes `view`
        unread = self.conv(x)
        F.relu_(unread)
        return view

    network = lambda_module(forward, conv=nn.Conv2d(3, 3, 1), act=nn.ReLU(inplace=True))
    assert kept(network) == ["conv", "size", "view", "act"]


def test_a_change_after_the_last_reading_goes():
    def forward(self, x):
        x = self.conv(x)
        y = x * 2
        x.mul_(3)
        return y

    assert kept(lambda_module(forward, conv=nn.Conv2d(3, 3, 1))) == ["conv", "mul"]


def test_assertions_of_shapes_leave_nothing_behind():
    def forward(self, x):
        torch._assert(x.shape[1] == 3, "images have three colors")
        torch._assert(x.shape[2] == x.shape[3], "squares")
        return x + 1

    assert kept(lambda_module(forward)) == ["add"]


@fx.wrap
def opaque(x: Tensor, factor: float) -> Tensor:
    return x * factor


def test_functions_of_other_libraries_are_opened():
    assert kept(lambda_module(lambda _, x: opaque(x, 2.0))) == ["mul"]


def test_subclasses_of_layers_are_opened():
    class Standardized(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            return F.conv2d(x, self.weight - self.weight.mean((1, 2, 3), keepdim=True))

    result = trace(nn.Sequential(Standardized(3, 3, 1)).eval(), IMAGES)
    assert result.layers == set()
    assert result.tensors == {"0.weight"}


def test_buffers_keep_their_names_and_constants_get_one():
    def forward(self, x):
        return x * self.buffer + torch.tensor([1.0, 2.0, 3.0, 4.0])

    network = lambda_module(forward)
    network.register_buffer("buffer", torch.ones(4), persistent=False)
    result = trace(network.eval(), IMAGES)
    assert "buffer" in result.tensors
    (constant,) = result.tensors - {"buffer"}
    assert result.tensor(constant).tolist() == [1, 2, 3, 4]


def test_the_place_of_a_failure_is_named():
    network = lambda_module(lambda self, x: self.inner(x), inner=lambda_module(lambda _, x: x if x.mean() else -x))
    with pytest.raises(RamifyError, match=r"^`inner` \(Module\) cannot be written as a list of operations: "):
        trace(network.eval(), IMAGES)
