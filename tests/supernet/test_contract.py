"""What is seen of a supernet, and what becomes of `active` where one does not take it."""

import pytest
import torch
from torch import nn

from plain_space import Mixed, Plain
from ramify.capabilities import ACTIVE, ANGLE, DEPTH, STEMS, TAPS
from ramify.errors import ArchitectureError
from ramify.spaces import SPACES, NASBench201
from ramify.supernet import MixedNetwork, Staged, Weighed, require, vector_of
from ramify.supernet.contract import OF_SUPERNETS, shown_by, takes


class Takes(nn.Module):
    def forward(self, x, mix, *, active=None, **options): ...


def test_what_a_signature_shows():
    assert takes(Takes(), "active") and takes(Takes, "anything")
    assert not takes(Mixed, "active") and takes(Mixed, "mix")
    assert shown_by(Takes()) == {"active", "dropout", "constants"}  # taps as well, but it names none
    assert shown_by(Mixed(2, Plain.shape)) == set()


def test_a_library_supernet_has_it_all():
    sup = NASBench201().supernet(channels=2, cells=1)
    assert shown_by(sup) == OF_SUPERNETS
    assert isinstance(sup, MixedNetwork) and isinstance(sup, Staged) and isinstance(sup, Weighed)
    plain = Plain().supernet()
    assert isinstance(plain, MixedNetwork) and not isinstance(plain, Staged) and not isinstance(plain, Weighed)


@pytest.mark.parametrize(
    "name", [name for name, entry in SPACES.own.items() if entry.make.one_shot and name != "AnyNetwork"]
)
def test_all_library_supernets_keep_the_contract(name):
    returned = SPACES[name]()._supernet.__func__
    kind = returned.__globals__[returned.__annotations__["return"]]
    stems = set() if name == "PrunableResNet" else {"stems"}  # its networks have one stem, whose width is decided
    assert {"active", "dropout", "constants", "taps", *stems} <= shown_by(kind)


def test_requirements_name_the_first_that_is_lacking():
    require(Mixed(2, Plain.shape), {DEPTH}, "a reader")  # nothing that a supernet could show
    with pytest.raises(ArchitectureError, match=r"^CDARTS: the supernet Mixed lacks `stems` \(and `taps`\), equal sub"):
        require(Mixed(2, Plain.shape), {STEMS, TAPS}, "CDARTS")
    with pytest.raises(ArchitectureError, match="the angle: the supernet Mixed lacks `angle`, weight vectors"):
        vector_of(Mixed(2, Plain.shape))
    with pytest.raises(ArchitectureError):
        require(Mixed(2, Plain.shape), {ACTIVE, ANGLE}, "a reader")


def test_what_is_not_active_counts_nothing_where_everything_is_computed():
    space = Plain()
    sup = space.supernet(width=4)
    x = torch.randn(5, 3, 2, 2)
    logits = torch.randn(2, 3, requires_grad=True)
    mix = {"layers": logits.softmax(dim=1)}
    active = {"layers": torch.tensor([[True, False, True], [False, True, False]])}
    found = sup(x, mix, active=active)
    masked = sup(x, {"layers": mix["layers"] * active["layers"]})
    assert torch.equal(found, masked)
    assert torch.equal(sup(x, mix), sup(x, mix, active=None))
    assert not torch.equal(sup(x, mix), found)
    (gradient,) = torch.autograd.grad(found.sum(), mix["layers"])
    assert not gradient[~active["layers"]].any() and gradient[active["layers"]].all()
    state = dict(sup.named_parameters())
    assert torch.equal(torch.func.functional_call(sup, state, (x, mix), {"active": active}), found)


def test_a_member_is_what_is_computed_of_it():
    space = Plain()
    sup = space.supernet(width=4)
    arch = space.parse("tanh-relu")
    mix = space.mix(arch)
    x = torch.randn(5, 3, 2, 2)
    active = {name: weights > 0 for name, weights in mix.items()}
    torch.testing.assert_close(sup(x, mix, active=active), space.extract(sup, arch)(x))
