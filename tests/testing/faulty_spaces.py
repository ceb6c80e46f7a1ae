"""A good space of a user, and the same with one fault each."""

import random

import torch
from torch import nn

from plain_space import ACTIVATIONS, Mixed, Network, Plain
from ramify.capabilities import TAPS


class OneMore(Plain):
    """Counts a member too many."""

    size = 10


class Outside(Plain):
    """Mixes a candidate that its mask leaves out."""

    def _all_choices(self):
        choice = super()._all_choices()["layers"]
        mask = torch.ones(choice.shape, dtype=torch.bool)
        mask[0, 2] = False
        return {"layers": choice.restricted(mask, "layers")}

    def mix(self, arch):
        mix = super().mix(arch)
        mix["layers"][0, 2] = 1.0
        return mix


class Forgetful(Plain):
    """Takes members out without the weights of the supernet."""

    def extract(self, sup, arch):
        network = self.build(arch, sup.layout, shape=sup.shape)
        return network.to(next(sup.parameters())).train(sup.training)


class Misread(Plain):
    """Reads what it has written backwards."""

    def parse(self, notation):
        return self.architecture(list(reversed(notation.split("-"))))


class Global(Plain):
    """Draws from Python's own generator."""

    def sample(self, rng):
        return self.architecture([random.choice(decision.choices) for decision in self.decisions])


class Skewed(Plain):
    """Prefers the first activation."""

    def sample(self, rng):
        return self.architecture(
            [rng.choice(decision.choices[:1] * 2 + decision.choices) for decision in self.decisions]
        )


class Deaf(Mixed):
    """Takes the mixing weights of the second layer for constants."""

    def forward(self, x, mix):
        return super().forward(x, {"layers": torch.stack([mix["layers"][0], mix["layers"][1].detach()])})


class Detached(Plain):
    """Lets no gradient through to the weights of an edge."""

    def _supernet(self, layout, shape):
        return Deaf(layout.width, shape)


class Renamed(Plain):
    """Has members whose parameters are called otherwise."""

    def _build(self, arch, layout, shape):
        return nn.Sequential(super()._build(arch, layout, shape))


class Stateful(Mixed):
    """Adds up what it has seen."""

    def __init__(self, width, shape):
        super().__init__(width, shape)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x, mix):
        self.seen += 1
        return super().forward(x, mix) * self.seen


class Impure(Plain):
    """Has a supernet that says something else every time."""

    def _supernet(self, layout, shape):
        return Stateful(layout.width, shape)


class Argmaxed(Plain):
    """Discretizes to the first activation whatever it scores."""

    def discretize(self, scores):
        return self.architecture([ACTIVATIONS[0]] * 2)


class Unmasked(Plain):
    """Discretizes to candidates that a restriction has left out."""

    def discretize(self, scores):
        best = scores["layers"].argmax(dim=1).tolist()
        return type(self)().architecture([ACTIVATIONS[op] for op in best])


class Single(Network):
    """Computes in float32 whatever comes."""

    def __init__(self, activations, width, shape):
        super().__init__(width, shape)
        self.activations = activations

    def forward(self, x):
        return self.run(x, lambda index, y: getattr(torch, self.activations[index])(y)).float()


class Fixed(Plain):
    """Has members that return float32 in float64."""

    def _build(self, arch, layout, shape):
        return Single([arch[name] for name in arch], layout.width, shape)


class Wild(Plain):
    """Draws its first weights from a generator of its own."""

    def _supernet(self, layout, shape):
        network = super()._supernet(layout, shape)
        with torch.no_grad():
            network.last.bias.fill_(random.SystemRandom().random())
        return network


class Boasting(Plain):
    """Says that it offers features of stages, which its networks do not have."""

    @property
    def offers(self):
        return super().offers | {TAPS}


class Raising(Plain):
    """Breaks off where it is asked for the pictures of a member."""

    def graphs(self, arch):
        raise KeyError("layer7")


FAULTS = {  # a space → what its message says
    OneMore: "size that is the exact product of its decisions, but its size is 10 and the product is 9",
    Outside: "lies outside the mask",
    Forgetful: "`extract` forgets the weight 'layers.0.weight'",
    Misread: "that `parse` reads back, but",
    Global: "`sample` draws from the global generator of random",
    Skewed: "draws its members uniformly, but of 1500 draws",
    Detached: "no gradient reaches edge (1, 2) of 'layers'",
    Renamed: "the supernet has no '0.layers.0.weight'",
    Impure: "the same arguments give two outputs",
    Argmaxed: "is discretized to",
    Unmasked: "discretized to a member that is not left",
    Fixed: "a network in float64 returns torch.float32",
    Wild: "two supernets that are made under one seed differ",
    Boasting: "says that it offers 'taps' and its networks do not show",
    Raising: "it raised KeyError: 'layer7'",
}
