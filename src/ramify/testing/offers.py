"""What a space promises by what it offers."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

import torch
from torch import Tensor, nn

from ramify.capabilities import (
    ACTIVE,
    ADDITIVE_COST,
    ANGLE,
    CLASSIFIER,
    CONSTANTS,
    DEPTH,
    DROPOUT,
    PARTIAL_CHANNELS,
    SAME_WIDTHS,
    STEMS,
    TAPS,
    TERMS,
)
from ramify.costs import profile
from ramify.ops import SKIP
from ramify.seeding import stream
from ramify.spaces.offers import OF_NETWORKS, shown_by_pair
from ramify.testing.comparing import NORMS, apart, close, output, without
from ramify.testing.contract import Contract
from ramify.testing.small import Grown
from ramify.wording import excerpt

OFFERS: Contract[Grown] = Contract("a space")


@OFFERS.promise(
    "has members whose parameters have the names that they have in the supernet",
    mend="names of modules in `_build` and `_supernet`; or check it with `inheritance=False`",
)
def _names(grown: Grown) -> Iterator[str]:
    if not grown.inheritance:
        return
    sup = grown.shared
    held = sup.state_dict()
    for arch in grown.members(2):
        member = grown.space.build(arch, sup.layout, shape=sup.shape)
        names = grown.space.held(member)
        for name, value in member.state_dict().items():
            there = held.get(names[name])
            if there is None:
                yield f"the supernet has no {names[name]!r}"
            elif not without(SAME_WIDTHS, grown) and there.shape != value.shape:
                yield f"{name!r} is {tuple(value.shape)} in a member and {tuple(there.shape)} in the supernet"


@OFFERS.promise("offers no more than its networks show", mend="`offers`, or the networks of `_supernet` and `_build`")
def _offers(grown: Grown) -> Iterator[str]:
    sup = grown.shared
    with torch.no_grad():
        member = grown.space.build(grown.member(), sup.layout, shape=sup.shape)
    shown = shown_by_pair(grown.space, sup, member)
    for capability in sorted(OF_NETWORKS - shown):
        if capability in grown.space.offers:
            yield f"it says that it offers {capability!r} and its networks do not show {capability.means}"


def _moved(grown: Grown, **keywords: Any) -> Any:
    """Return a supernet whose norms are anything but fresh."""
    sup = grown.supernet(**keywords)
    draws = stream(3, "norms")
    with torch.no_grad():
        for module in sup.modules():
            for parameter in module.parameters(recurse=False):
                if parameter.dim() == 1:
                    parameter.add_(0.2 * torch.randn(parameter.shape, generator=draws, dtype=parameter.dtype))
        sup(grown.x(4), grown.mix())  # moves running statistics where there are any
    return sup


@OFFERS.promise(
    "has a supernet that is, with the mix of a member, the network of that member with the supernet's weights",
    mend="`extract`, or the supernet's `forward`: a one-hot mix leaves the member alone",
)
def _extracted(grown: Grown) -> Iterator[str]:
    if not grown.inheritance:
        return
    tracked = dict.fromkeys(NORMS.intersection(grown.space.Layout.keywords("supernet")), True)
    for keywords in ({}, tracked) if tracked else ({},):
        sup, x = _moved(grown, **keywords), grown.x()
        held = sup.state_dict()
        for arch in grown.members():
            for training in (False, True):
                network = grown.extract(sup.train(training), arch)
                if network.training is not training:
                    yield "`extract` returns a network in another mode than the supernet's"
                taken = grown.space.views(network, held)
                for name, value in network.state_dict().items():
                    if not torch.equal(value, taken[name]):
                        yield f"`extract` forgets the weight {name!r}"
                        return
                found, wanted = output(network(x)), output(sup(x, grown.space.mix(arch)))
                if not close(found, wanted):
                    mode = "training" if training else "evaluation"
                    yield f"in {mode} mode the outputs differ for {excerpt(arch, 90)}: {apart(found, wanted)}"


@OFFERS.promise(
    "takes the weights of a member back with `absorb`, which inverts `extract`", mend="`absorb`, or leave it to `Space`"
)
def _absorbed(grown: Grown) -> Iterator[str]:
    if not grown.inheritance:
        return
    tracked = dict.fromkeys(NORMS.intersection(grown.space.Layout.keywords("supernet")), True)
    sup, arch = grown.supernet(**tracked), grown.member()
    network = grown.extract(sup, arch)
    before = {name: value.clone() for name, value in sup.state_dict().items()}
    with torch.no_grad():
        for value in network.state_dict().values():
            value.add_(1)
    if any(not torch.equal(value, before[name]) for name, value in sup.state_dict().items()):
        yield "a member that is extracted shares its weights with the supernet before it is absorbed"
    grown.space.absorb(sup, network)
    wanted, taken = network.state_dict(), set(grown.space.held(network).values())
    for name, value in grown.extract(sup, arch).state_dict().items():
        if not torch.equal(value, wanted[name]):
            yield f"{name!r} is not written back"
            return
    for name, value in sup.state_dict().items():
        if name not in taken and not torch.equal(value, before[name]):
            yield f"{name!r} changes, which the member does not have"


@OFFERS.promise(
    "computes with `active` what the active candidates come to, and no gradient for others",
    mend="`active` of `forward`",
)
def _active(grown: Grown) -> Iterator[str]:
    sup, x, arch = grown.shared, grown.x(), grown.member()
    active = {name: weights.bool() for name, weights in grown.space.mix(arch).items()}
    one_hot = grown.space.mix(arch)
    if not close(output(sup(x, one_hot, active=active)), output(sup(x, one_hot))):
        yield "the output of a member's mix is another one where only its candidates are active"
    mix = {name: weights.requires_grad_() for name, weights in grown.mix().items()}
    loss = output(sup(x, mix, active=active)).square().sum()
    if not loss.requires_grad:
        return
    for name, gradient in zip(mix, torch.autograd.grad(loss, list(mix.values()), allow_unused=True), strict=True):
        if gradient is not None and bool(gradient[~active[name]].any()):
            yield f"candidates of {name!r} that are not active have a gradient"


@OFFERS.promise("leaves values as they are with `constants`", mend="`constants` of the supernet's `forward`")
def _constants(grown: Grown) -> Iterator[str]:
    if without(CONSTANTS, grown) or without(ACTIVE, grown):
        return
    sup, x, mix = grown.shared, grown.x(), grown.space.mix(grown.member())
    active = {name: weights.bool() for name, weights in mix.items()}
    found, wanted = output(sup(x, mix, active=active, constants=True)), output(sup(x, mix, active=active))
    if not close(found, wanted):
        yield f"the outputs with and without differ: {apart(found, wanted)}"


@OFFERS.promise("drops elements with `dropout` in training mode alone", mend="`dropout` of the supernet's `forward`")
def _dropout(grown: Grown) -> Iterator[str]:
    if without(DROPOUT, grown):
        return
    sup, x, mix = grown.shared.eval(), grown.x(), grown.mix()
    dropout = {SKIP: 0.5} if any(SKIP in choice.ops for choice in grown.space.choices.values()) else {}
    if not torch.equal(output(sup(x, mix, dropout=dropout)), output(sup(x, mix))):
        yield "it changes the output in evaluation mode"


@OFFERS.promise("returns with `taps` the features of the stages that `distilled` names", mend="`taps` of `forward`")
def _taps(grown: Grown) -> Iterator[str]:
    if without(TAPS, grown):
        return
    sup, x, arch = grown.shared, grown.x(), grown.member()
    mix = grown.space.mix(arch)
    network: Any
    for network, arguments in ((sup, (x, mix)), (grown.build(arch), (x,))):
        plain = output(network(*arguments))
        names = tuple(network.distilled)
        found = network(*arguments, taps=names)
        if not (isinstance(found, tuple) and len(found) == 2 and list(found[1]) == list(names)):
            yield f"{type(network).__name__} does not return (output, features of {list(names)})"
        elif not torch.equal(output(found[0]), plain):
            yield f"the output of {type(network).__name__} is another one with taps"


@OFFERS.promise("has stems and a classifier that supernet and members share", mend="`stems`, `classifier`")
def _shared_modules(grown: Grown) -> Iterator[str]:
    sup = grown.shared
    arch = grown.member()
    with torch.no_grad():
        member: Any = grown.space.build(arch, sup.layout, shape=sup.shape)
    stems = () if without(STEMS, grown) else tuple(sup.stems)
    classifier = () if without(CLASSIFIER, grown) else ("classifier",)
    for name in (*stems, *classifier):
        for network in (sup, member):
            if not isinstance(getattr(network, name, None), nn.Module):
                yield f"{type(network).__name__} has no module {name!r}"
                return
        shapes = [{n: v.shape for n, v in getattr(each, name).state_dict().items()} for each in (sup, member)]
        if shapes[0] != shapes[1] and not without(SAME_WIDTHS, grown):
            yield f"the weights of {name!r} have other shapes in a member than in the supernet"


@OFFERS.promise("has weight vectors for its members", mend="`weight_vector` of the supernet")
def _angle(grown: Grown) -> Iterator[str]:
    if not without(ANGLE, grown) and grown.shared.weight_vector() is None:
        yield "`weight_vector()` returns None"


@OFFERS.promise("lets a part of the channels past with `partial_channels`", mend="`partial_channels` of the layout")
def _partial(grown: Grown) -> Iterator[str]:
    if without(PARTIAL_CHANNELS, grown):
        return
    found = output(grown.supernet(partial_channels=2)(grown.x(), grown.mix()))
    if not bool(found.isfinite().all()):
        yield "the output of a supernet with partial channels is not finite"


@OFFERS.promise("has networks of any depth, by the layout keyword that `depth` names", mend="`depth`")
def _depth(grown: Grown) -> Iterator[str]:
    if without(DEPTH, grown):
        return
    keyword = grown.space.depth
    if keyword not in grown.space.Layout.keywords("member"):
        yield f"its layout has no keyword {keyword!r}"
        return
    shallow = getattr(grown.space.layout(grown.layout), keyword)
    deep = grown.build(grown.member(), **{keyword: shallow + 3})
    if len(list(deep.modules())) <= len(list(grown.build(grown.member()).modules())):
        yield f"a network with {keyword}={shallow + 3} is no deeper than one with {shallow}"


@OFFERS.promise(
    "has members whose cost is a sum over the candidates that they use", mend="`additive = False`, or the networks"
)
def _additive(grown: Grown) -> Iterator[str]:
    space = grown.space
    free = [decision for decision in space.decisions if len(decision.choices) > 1]
    if without(ADDITIVE_COST, grown) or len(free) < 2:
        return
    base, size = grown.member(), tuple(grown.x(1).shape[1:])
    rng = Random(0)

    def cost(**changed: Any) -> Tensor:
        values: dict[str, Any] = {**base.choices, **changed}
        found = profile(grown.build(space.architecture(values)), size)
        return torch.tensor([found.params, found.macs])

    for _ in range(3):
        one, other = rng.sample(free, 2)
        first, second = ({each.name: rng.choice(each.neighbors(base[each.name]))} for each in (one, other))
        changes: list[dict[str, Any]] = [{}, first, second, {**first, **second}]
        four = [space.architecture(dict(base.choices) | change) for change in changes]
        if len({frozenset(space.reads(arch)) for arch in four}) > 1:
            continue  # what is used is more than these two
        if not torch.equal(cost() + cost(**first, **second), cost(**first) + cost(**second)):
            yield f"what {one.name!r} costs depends on {other.name!r}"


@OFFERS.promise("has terms that map raw architecture parameters to a number with a gradient", mend="`regularizers`")
def _terms(grown: Grown) -> Iterator[str]:
    if without(TERMS, grown):
        return
    for name, term in grown.space.regularizers.items():
        raw = {
            choice: (0.1 * torch.randn(c.shape, generator=stream(4, choice))).requires_grad_()
            for choice, c in grown.space.choices.items()
        }
        found = term(raw)
        if found.dim() != 0 or not bool(found.isfinite()) or not found.requires_grad:
            yield f"the term {name!r} returns {excerpt(found)}"
