"""What a space promises to strategies, evaluators and people."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from random import Random
from typing import Any

import torch
from torch import Tensor

from ramify.architecture import Architecture
from ramify.costs import profile
from ramify.errors import ArchitectureError
from ramify.ops import NONE
from ramify.seeding import stream
from ramify.spaces import Space
from ramify.supernet import existing
from ramify.testing.bits import drawn_from, watched
from ramify.testing.comparing import apart, close, output
from ramify.testing.contract import Contract
from ramify.testing.offers import OFFERS
from ramify.testing.small import Grown, instance, small_layout
from ramify.wording import excerpt

CONTRACT: Contract[Grown] = Contract("a space")
SUPERNETS: Contract[Grown] = Contract("a space")

DRAWS = 1500
"""Members that are drawn to see whether they are drawn uniformly."""


def check_space(
    space: Space | type[Space],
    layout: Mapping[str, Any] | None = None,
    *,
    inputs: Callable[[int], Tensor] | None = None,
    inheritance: bool = True,
) -> None:
    """Check that a space keeps what strategies, evaluators and people build on.

    Small networks are made, in float64 on the CPU; it takes seconds. What is about supernets is left out where
    `one_shot` says that there is none.

    Args:
        space: A space, or a class of which one is made without arguments.
        layout: Layout keywords of small networks, which `build` and `supernet` both take; where None, the library's
            own keywords that make networks small (`channels`, `cells`, `layers`, …), as far as the space has them.
        inputs: Makes a batch of inputs from their number, (B, …); images of 8×8, or rows of features, when None.
        inheritance: Whether members take over the supernet's weights, as they should; False for a space whose networks
            are not meant to.

    Raises:
        ContractError: If it breaks a promise.
    """
    __tracebackhide__ = True
    made = instance(space, Space, "a space")
    grown = Grown(made, small_layout(made) if layout is None else layout, inputs, inheritance)
    for contract in (CONTRACT, SUPERNETS, OFFERS) if made.one_shot else (CONTRACT,):
        contract.check(grown, type(made).__name__)


# What a space says of itself


@CONTRACT.promise(
    "says which decisions it takes, each with a name of its own and different values", mend="`_all_decisions`"
)
def _decisions(grown: Grown) -> Iterator[str]:
    names = [decision.name for decision in grown.space.decisions]
    if len(set(names)) < len(names):
        yield f"the names are {excerpt(names)}"
    for decision in grown.space.decisions:
        if not decision.choices or len(set(decision.choices)) < len(decision.choices):
            yield f"decision {decision.name!r} has the values {excerpt(decision.choices)}"


@CONTRACT.promise("has the size that is the exact product of its decisions", mend="leave `size` to `Space`")
def _size(grown: Grown) -> Iterator[str]:
    product = math.prod(len(decision.choices) for decision in grown.space.decisions)
    if grown.space.size != product:
        yield f"its size is {excerpt(grown.space.size)} and the product is {excerpt(product)}"


@CONTRACT.promise(
    "uses candidates that exist for every value of a decision: (choice, edge, operation) where the mask is true",
    mend="`candidates` and `_all_choices`",
)
def _candidates(grown: Grown) -> Iterator[str]:
    masks = {name: choice.mask.tolist() for name, choice in grown.space.choices.items()}
    for decision in grown.space.decisions:
        for value in decision.choices:
            for name, edge, op in grown.space.candidates(decision.name, value):
                said = f"{decision.name}={excerpt(value)} uses ({edge}, {op}) of {name!r}"
                if name not in masks:
                    yield f"{said}, which is no choice"
                elif not (0 <= edge < len(masks[name]) and 0 <= op < len(masks[name][edge])):
                    yield f"{said}, whose shape is {grown.space.choices[name].shape}"
                elif not masks[name][edge][op]:
                    yield f"{said}, which its mask leaves out"


@CONTRACT.promise(
    "is made anew from its arguments, as configurations and other processes do",
    mend="store every constructor argument under its own name, as a plain value",
)
def _arguments(grown: Grown) -> Iterator[str]:
    space = grown.space
    twin = type(space)(**json.loads(json.dumps(space.arguments)))
    twin = twin.restrict(space.restriction) if space.restriction else twin
    if twin.decisions != space.decisions:
        yield f"another space comes of the arguments {excerpt(space.arguments)}"


# Members


@CONTRACT.promise("draws members, the same ones for the same seed, from nothing but `rng`", mend="`sample(rng)`")
def _samples(grown: Grown) -> Iterator[str]:
    space = grown.space
    for seed in range(5):
        with watched(1) as before:
            arch = space.sample(Random(seed))
            if moved := drawn_from(before):
                yield f"`sample` draws from the global generator of {moved[0]}"
        if arch not in space:
            yield f"the sample {excerpt(arch)} is no member"
        elif list(arch) != [decision.name for decision in space.decisions]:
            yield f"the sample {excerpt(arch)} has its decisions in another order"
        with watched(2):
            if (again := space.sample(Random(seed))) != arch:
                yield f"seed {seed} gives {excerpt(arch)} and then {excerpt(again)}"


@CONTRACT.promise("draws its members uniformly", mend="`sample(rng)`: a uniform draw of each decision is uniform")
def _uniform(grown: Grown) -> Iterator[str]:
    rng = Random(0)
    sampled = [grown.space.sample(rng) for _ in range(DRAWS)]
    for decision in grown.space.decisions:
        count = len(decision.choices)
        if count == 1:
            continue
        # the position of a uniform choice, scaled to 0..1, has this mean and deviation
        positions = [decision.index[arch[decision.name]] / (count - 1) for arch in sampled]
        mean, deviation = sum(positions) / DRAWS, math.sqrt((count + 1) / (12 * (count - 1)) / DRAWS)
        rarest = min(positions.count(position / (count - 1)) for position in range(count))
        expected = DRAWS / count
        if abs(mean - 0.5) > 4.5 * deviation or rarest < expected - 5 * math.sqrt(expected):
            said = f"of {DRAWS} draws, {rarest} have the rarest value of {decision.name!r}"
            yield f"{said} instead of {expected:.0f} or so"


@CONTRACT.promise("mutates a member in one decision, to a neighbor", mend="`mutate(arch, rng)`")
def _mutations(grown: Grown) -> Iterator[str]:
    space = grown.space
    if space.size == 1:
        return
    for seed, parent in enumerate(grown.members(10)):
        child = space.mutate(parent, Random(seed))
        changed = [d for d in space.decisions if child[d.name] != parent[d.name]]
        if child not in space or len(changed) != 1:
            yield f"a mutation of {excerpt(parent)} changes {len(changed)} decisions: {excerpt(child)}"
        elif child[changed[0].name] not in changed[0].neighbors(parent[changed[0].name]):
            yield f"a mutation makes {excerpt(child[changed[0].name])} of {excerpt(parent[changed[0].name])}"


@CONTRACT.promise("crosses two members to one that has every decision of either", mend="`crossover(a, b, rng)`")
def _crossovers(grown: Grown) -> Iterator[str]:
    for seed in range(10):
        a, b = grown.member(seed), grown.member(seed + 1)
        child = grown.space.crossover(a, b, Random(seed))
        if child not in grown.space or any(child[name] not in (a[name], b[name]) for name in child):
            yield f"{excerpt(a)} and {excerpt(b)} come to {excerpt(child)}"


@CONTRACT.promise(
    "writes members in a notation of plain values that `parse` reads back", mend="`format(arch)` and `parse(notation)`"
)
def _notation(grown: Grown) -> Iterator[str]:
    space = grown.space
    for arch in grown.members(20):
        notation = space.format(arch)
        try:
            plain = json.loads(json.dumps(notation))
        except TypeError:
            yield f"`format` returns a {type(notation).__name__} that is no JSON value"
            return
        for written in (notation, plain):
            read = space.parse(written)
            if read != arch:
                yield f"{excerpt(notation)} is written of {excerpt(arch)} and read as {excerpt(read)}"
            elif space.format(read) != notation:
                yield f"{excerpt(notation)} is written as {excerpt(space.format(read))} the second time"


@CONTRACT.promise("has members that travel as JSON and find home", mend="values of decisions: texts, numbers, tuples")
def _json(grown: Grown) -> Iterator[str]:
    for arch in grown.members():
        twin = Architecture.from_json(arch.to_json())
        if twin != arch or hash(twin) != hash(arch) or twin not in grown.space:
            yield f"{excerpt(arch)} comes back from JSON as {excerpt(twin)}"


@CONTRACT.promise("refuses what is no member, by an ArchitectureError", mend="`checked(arch)`")
def _strangers(grown: Grown) -> Iterator[str]:
    arch, space = grown.member(), grown.space
    first = next(iter(arch))
    for stranger in (
        Architecture("Elsewhere", arch.choices, arch.arguments),
        Architecture(arch.space, {**arch.choices, first: "no such value"}, arch.arguments),
        Architecture(arch.space, {n: v for n, v in arch.choices.items() if n != first}, arch.arguments),
    ):
        for use in (space.checked, space.mix):
            try:
                use(stranger)
            except ArchitectureError:
                continue
            yield f"`{use.__name__}` takes {excerpt(stranger)}"


@CONTRACT.promise("has pictures whose edges lead forward between their states", mend="`graphs(arch)`")
def _pictures(grown: Grown) -> Iterator[str]:
    for name, graph in grown.space.graphs(grown.member()).items():
        count = len(graph.states)
        if not all(0 <= source < target < count for source, target, _ in graph.edges):
            yield f"{name!r} has {count} states and the edges {excerpt(graph.edges)}"
        if not (0 <= graph.output < count and all(0 <= state < count for state in graph.inputs)):
            yield f"{name!r} has {count} states, the inputs {graph.inputs} and the output {graph.output}"


# Two views


@CONTRACT.promise(
    "mixes the very candidates that a member uses, one-hot, within the masks",
    mend="`mix(arch)`, or leave it to `Space`",
)
def _mix(grown: Grown) -> Iterator[str]:
    space = grown.space
    for arch in grown.members(10):
        mix = space.mix(arch)
        if mix.keys() != space.choices.keys():
            yield f"`mix` has the keys {sorted(mix)} and the choices are {sorted(space.choices)}"
            return
        used = {use for name in space.reads(arch) for use in space.candidates(name, arch[name])}
        for name, weights in mix.items():
            choice = space.choices[name]
            if tuple(weights.shape) != choice.shape:
                yield f"`mix` of {name!r} has the shape {tuple(weights.shape)} instead of (E, O) = {choice.shape}"
            elif bool(weights[~choice.mask].any()):
                edge, op = (weights.bool() & ~choice.mask).nonzero()[0].tolist()
                yield f"the weight of ({edge}, {op}) of {name!r} lies outside the mask"
            elif not bool(((weights == 0) | (weights == 1)).all()):
                yield f"{name!r} has weights other than 0 and 1"
            elif {(name, e, o) for e, o in weights.nonzero().tolist()} != {use for use in used if use[0] == name}:
                yield f"the weights of {name!r} are not those of the candidates that {excerpt(arch)} uses"


@CONTRACT.promise(
    "finds with `discretize` the member that a one-hot mix is of, and a member for any scores",
    mend="`discretize(scores)`",
)
def _discretized(grown: Grown) -> Iterator[str]:
    space = grown.space
    for seed, arch in enumerate(grown.members(10)):
        mix = space.mix(arch)
        found = space.discretize(mix)
        if found not in space:
            yield f"the mix of a member is discretized to {excerpt(found)}, which is no member"
        elif found != arch and any(not torch.equal(space.mix(found)[name], mix[name]) for name in mix):
            yield f"the mix of {excerpt(arch, 90)} is discretized to {excerpt(found, 90)}"
        scores = grown.mix(seed)
        chosen = space.discretize(scores)
        if chosen not in space:
            yield f"scores are discretized to {excerpt(chosen)}, which is no member"
        elif space.discretize({name: value.clone().requires_grad_() for name, value in scores.items()}) != chosen:
            yield "the same scores give two members"


@CONTRACT.promise(
    "keeps, when it is restricted, the members whose candidates are left, and no others, and stays as it is itself",
    mend="leave `restrict` to `Space`; `discretize` and `sample` follow `self.choices` and `self.decisions`",
)
def _restricted(grown: Grown) -> Iterator[str]:
    space = grown.space
    before = space.to_dict(), space.decisions
    for seed in range(4):
        draws = stream(seed, "restriction")
        masks = {name: torch.rand(choice.shape, generator=draws) < 0.8 for name, choice in space.choices.items()}
        try:
            rest = space.restrict(masks)
        except ArchitectureError:  # nothing is left of a decision
            continue
        if not space.size >= rest.size == math.prod(len(decision.choices) for decision in rest.decisions):
            yield f"of {space.size} members {rest.size} are left, which is not the product of what its decisions keep"
        arch = rest.sample(Random(seed))
        if arch not in rest or arch not in space:
            yield f"the member {excerpt(arch)} of the rest is none of the whole, or not of the rest"
        if any(bool(weights[~masks[name]].any()) for name, weights in rest.mix(arch).items()):
            yield f"a member of the rest uses candidates that are masked: {excerpt(arch)}"
        if rest.discretize(grown.mix(seed)) not in rest:
            yield "scores are discretized to a member that is not left"
    arch = grown.member()
    single = space.restrict({name: weights > 0 for name, weights in space.mix(arch).items()})
    if arch not in single:
        yield f"{excerpt(arch)} is not left where its own candidates are"
    if (space.to_dict(), space.decisions) != before:
        yield "the whole space is another one afterwards"


# Networks


@CONTRACT.promise("builds the same networks under the same seed", mend="`_build` and `_supernet`: PyTorch's generator")
def _repeated(grown: Grown) -> Iterator[str]:
    arch = grown.member()
    made = {"supernet": grown.supernet} if grown.space.one_shot else {}
    for what, make in {**made, "built member": lambda: grown.build(arch)}.items():
        one, other = make().state_dict(), make().state_dict()
        if one.keys() != other.keys() or any(not torch.equal(one[name], other[name]) for name in one):
            yield f"two {what}s that are made under one seed differ"


@CONTRACT.promise("builds members that map a batch to finite logits and can be trained", mend="`_build`")
def _trained(grown: Grown) -> Iterator[str]:
    classes = {"num_classes": 7} if "num_classes" in grown.space.shape else {}
    for arch in grown.members():
        network = grown.build(arch, **classes)
        found = output(network(grown.x()))
        if classes and tuple(found.shape) != (3, 7):
            yield f"3 inputs give the shape {tuple(found.shape)} instead of (3, 7) where there are 7 classes"
        if found.dtype != torch.float64:
            yield f"a network in float64 returns {found.dtype}: something in it has a type of its own"
        if not bool(found.isfinite().all()):
            yield f"the output of {excerpt(arch)} is not finite"
        found.square().sum().backward()
        if not any(p.grad is not None and bool(p.grad.any()) for p in network.parameters()):
            yield f"no weight of {excerpt(arch)} has a gradient"


@CONTRACT.promise("builds members that can be counted: parameters and multiply-adds", mend="`_build`: plain modules")
def _profiled(grown: Grown) -> Iterator[str]:
    for arch in grown.members():
        cost = profile(grown.build(arch), tuple(grown.x(1).shape[1:]))
        if not (cost.params > 0 and 0 <= cost.macs < math.inf):
            yield f"{excerpt(arch)} has {cost.params} parameters and {cost.macs} multiply-adds"


@SUPERNETS.promise("has a supernet that maps (x, mix) to outputs like those of its members", mend="`_supernet`")
def _supernet(grown: Grown) -> Iterator[str]:
    sup = grown.shared
    found = output(sup(grown.x(), grown.mix()))
    wanted = output(grown.build(grown.member())(grown.x()))
    if found.shape != wanted.shape or found.dtype != torch.float64 or not bool(found.isfinite().all()):
        yield f"the supernet returns {tuple(found.shape)} {found.dtype}, a member {tuple(wanted.shape)} {wanted.dtype}"
    if not bool(output(sup(grown.x(), existing(sup.choices))).isfinite().all()):
        yield "a uniform mix in float32 gives an output that is not finite"


@SUPERNETS.promise(
    "has a supernet that is a pure function of (x, mix)", mend="the supernet's `forward`: no draws, no changes in place"
)
def _pure(grown: Grown) -> Iterator[str]:
    sup, x, mix = grown.shared.eval(), grown.x(), grown.mix()
    state = {name: value.clone() for name, value in sup.state_dict().items()}
    given = x.clone(), {name: value.clone() for name, value in mix.items()}
    with watched(1) as before:
        first = output(sup(x, mix))
        if moved := drawn_from(before):
            yield f"it draws from the global generator of {moved[0]}"
    if not torch.equal(output(sup(x, mix)), first):
        yield "the same arguments give two outputs"
    if not torch.equal(x, given[0]) or any(not torch.equal(mix[name], given[1][name]) for name in mix):
        yield "it changes its arguments"
    if changed := [name for name, value in sup.state_dict().items() if not torch.equal(value, state[name])]:
        yield f"it changes {changed[0]!r} in evaluation mode"


@SUPERNETS.promise(
    "has a supernet whose output follows from the mixing weights of every edge, with true gradients",
    mend="the supernet's `forward`: multiply by `mix`, detach nothing",
)
def _gradients(grown: Grown) -> Iterator[str]:
    sup, x = grown.shared, grown.x(4)
    mix = {name: weights.requires_grad_() for name, weights in grown.mix().items()}
    direction = {
        name: torch.randn(w.shape, dtype=w.dtype, generator=stream(1, name)) * (w > 0) for name, w in mix.items()
    }

    def loss(at: Mapping[str, Tensor]) -> Tensor:
        return output(sup(x, at)).square().sum()

    gradients = dict(zip(mix, torch.autograd.grad(loss(mix), list(mix.values()), allow_unused=True), strict=True))
    for name, gradient in gradients.items():
        choice = grown.space.choices[name]
        if gradient is None or not bool(gradient.any()):
            yield f"no gradient reaches the weights of {name!r}"
            return
        if bool(gradient[~choice.mask].any()):
            yield f"weights of {name!r} outside the mask have a gradient"
        matters = choice.mask.clone()
        if NONE in choice.ops:
            matters[:, choice.ops.index(NONE)] = False
        dead = [edge for edge, row in enumerate(matters) if bool(row.any()) and not bool(gradient[edge].any())]
        if dead:
            yield f"no gradient reaches edge {choice.edges[dead[0]]} of {name!r}"
    slope = sum(float((gradients[name] * direction[name]).sum()) for name in mix)
    differences = []
    for step in (1e-6, 1e-7, 1e-8, 3e-9, 1e-9):  # at one of them, no ReLU changes sides
        with torch.no_grad():
            ahead, behind = (
                float(loss({name: mix[name] + sign * step * direction[name] for name in mix})) for sign in (1, -1)
            )
        differences.append((ahead - behind) / (2 * step))
    if not any(math.isclose(slope, found, rel_tol=1e-3, abs_tol=1e-6) for found in differences):
        yield f"the gradient in a direction is {slope:.6g} and the output changes by {differences[1]:.6g}"


@SUPERNETS.promise(
    "has a supernet that works under `functional_call`, with the weights that it is given",
    mend="the supernet's `forward`: read parameters at every call, keep no copies of them",
)
def _functional(grown: Grown) -> Iterator[str]:
    sup, x, mix = grown.supernet(), grown.x(), grown.mix()
    state = {name: value.clone() for name, value in sup.state_dict().items()}
    parameters = {name: (p.detach() * 1.1).requires_grad_() for name, p in sup.named_parameters()}
    buffers = {name: b.clone() for name, b in sup.named_buffers()}
    found = output(torch.func.functional_call(sup, (parameters, buffers), (x, mix)))
    if not any(
        g is not None and bool(g.any())
        for g in torch.autograd.grad(found.square().sum(), list(parameters.values()), allow_unused=True)
    ):
        yield "the weights that were given get no gradient"
    if any(not torch.equal(value, state[name]) for name, value in sup.state_dict().items()):
        yield "the supernet's own weights change"
    twin = grown.supernet()
    twin.load_state_dict({**state, **{name: p.detach() for name, p in parameters.items()}})
    if not close(output(twin(x, mix)), found):
        yield f"the output is not that of a supernet which has these weights: {apart(twin(x, mix), found)}"


@SUPERNETS.promise("takes a smaller precision", mend="`_supernet`: types follow from the inputs and the weights")
def _half(grown: Grown) -> Iterator[str]:
    found = output(grown.supernet().to(torch.bfloat16)(grown.x().to(torch.bfloat16), grown.mix()))
    if found.dtype != torch.bfloat16 or not bool(found.isfinite().all()):
        yield f"in bfloat16 the supernet returns {found.dtype}"
