"""Small searches and retrainings from Python, and images for them."""

import torch
from torch.utils.data import TensorDataset

import ramify
from ramify import Recipe
from small_runs import DATA, SPACES, STRATEGIES

RECIPE = Recipe(epochs=2, batch_size=16, cutout=2, drop_path=0.1)
SMALL = {"threads": 1, "device": "cpu", "progress": False}


def searched(space="nasbench201", strategy="GDAS", out=None, data=DATA, **options):
    space, layout = SPACES[space]
    return ramify.search(space, STRATEGIES[strategy], data, network=layout, out=out, **(SMALL | options))


def retrained(source, space="nasbench201", recipe=RECIPE, **options):
    return ramify.retrain(source, recipe=recipe, network=SPACES[space][1], **(SMALL | options))


def images(seed=0, count=40):
    generator = torch.Generator().manual_seed(seed)
    return TensorDataset(
        torch.randint(0, 256, (count, 3, 8, 8), dtype=torch.uint8, generator=generator), torch.arange(count) % 4
    )
