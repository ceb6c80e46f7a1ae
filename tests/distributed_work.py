"""What the processes of `test_distributed.py` do; the same functions give the reference of one process."""

from dataclasses import replace
from itertools import islice
from pathlib import Path

import torch
from torch import nn

import ramify as library
from ramify import parallel
from ramify.data import DataSpec
from ramify.errors import ConfigurationError, RunError
from ramify.execution.shared import weighted
from ramify.ops import DropPath, dropout, synchronize
from ramify.run import make_fabric
from ramify.seeding import rng, seeded
from ramify.strategies import DARTS, GDAS, TAS, TuNAS
from ramify.tasks import Batch
from ramify.training import Distillation, Recipe, TrainingSession, measure
from ramify.training.worst import WorstImages
from small_runs import DATA, SPACES, STRATEGIES, loaded, restored, saved, session_of, work_of

DOUBLE = "64-true"
SEARCH = GDAS(epochs=4, batch_size=16)
LAST = DARTS(epochs=2, batch_size=16, drop_last=False)
HALVES, ODD = DataSpec(subset=74), DataSpec(subset=75)  # 37 images each to search with; 75 images to train on
CASES = {  # name: space, strategy, precision, steps
    "DARTS": ("nasbench201", "DARTS", DOUBLE, 3),
    "DARTS-float32": ("nasbench201", "DARTS", "32-true", 2),  # until a value lies on another side of a ReLU's kink
    "second-order": ("nasbench201", "DARTS-second-order", DOUBLE, 3),
    "guarded": ("nasbench201", "DARTS-guarded", DOUBLE, 3),  # two parts of a batch, measures on the way
    "NASP-widths": ("size", "NASP", DOUBLE, 3),  # norms of slices
    "GDAS": ("darts", "GDAS", DOUBLE, 3),
    "PCDARTS": ("nasbench201", "PCDARTS", DOUBLE, 3),
    "RSPS": ("nasbench201", "RSPS", DOUBLE, 3),
    "ENAS": ("nasbench201", "ENAS", DOUBLE, 5),  # two steps, two updates of the controller, and a step
    "TAS": ("prunable", TAS(epochs=2, batch_size=16, target=0.4), DOUBLE, 3),  # norms of slices, and a cost
    "TuNAS": ("size", TuNAS(epochs=2, batch_size=16, warmup_share=0), DOUBLE, 3),  # a policy, and rewards
    "CDARTS": ("nasbench201", "CDARTS", DOUBLE, 5),  # two steps of each part, and one together
    # batches of 16, 16 and 5 images, of which two processes have 3 and 2, then a step of the next epoch
    "last-batch": ("nasbench201", replace(LAST, legacy_clip=True, arch_clip=1e-3), DOUBLE, 4),
    "last-batch-second-order": ("nasbench201", replace(LAST, order=2), DOUBLE, 4),
    "last-batch-CDARTS": ("nasbench201", "CDARTS", DOUBLE, 10),  # three steps of each part, two epochs of one
}


def retraining(data=DATA, **recipe):
    """Return a training with drop path, whose draws are the same in one process and in several."""
    space, layout = SPACES["nasbench201"]
    work = work_of(layout, data=loaded(data), precision=DOUBLE)
    with seeded(0, "network"):
        network = space.build(space.sample(rng(0)), **work.shape, **layout)
    for cell in network.cells:
        if hasattr(cell, "graph"):
            cell.graph.drop_path = DropPath(0.3)
    with seeded(1, "teacher"):
        teacher = space.build(space.sample(rng(1)), **work.shape, **layout) if "distillation" in recipe else None
    return TrainingSession(network, Recipe(batch_size=32, drop_path=0.3, **recipe), work, teacher=teacher)


def flat(state, name=""):
    """Return the tensors of a nested state by the names that lead to them."""
    if isinstance(state, torch.Tensor):
        return {name: state.detach().clone()}
    items = state.items() if isinstance(state, dict) else enumerate(state) if isinstance(state, list | tuple) else ()
    return {place: x for key, value in items for place, x in flat(value, f"{name}.{key}").items()}


def steps(name):
    """Return the state after some steps of a search."""
    space, strategy, precision, count = CASES[name]
    data = loaded(HALVES if name.startswith("last-batch") else DATA)
    session = session_of(space, strategy, data=data, precision=precision)
    list(islice(session.run(), count))
    return flat(session.state_dict())


def continued(space, strategy):
    """Return the states at the end of an undisturbed search, and of one that was continued in the middle."""
    whole, before, after = (session_of(space, strategy) for _ in range(3))
    list(whole.run())
    list(islice(before.run(), 3))
    after.load_state_dict(restored(saved(before)))
    list(after.run())
    return saved(whole), saved(after)


def normalized():
    """Return outputs and derivatives of norms, whose statistics are those of a whole batch, for all images."""
    found = {}
    images = torch.randn(8, 3, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    other = torch.randn(8, 3, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    for name, options in {
        "affine": {},
        "plain": {"affine": False, "track_running_stats": False},
        "cumulative": {"momentum": None, "eps": 1e-2},
    }.items():
        norm = nn.Sequential(nn.BatchNorm2d(3, **options).double())
        if norm[0].weight is not None:
            nn.init.uniform_(norm[0].weight, 0.5, 1.5, generator=torch.Generator().manual_seed(3))
        norm = synchronize(norm) if parallel.world() > 1 else norm
        x, weight = parallel.share(images).clone().requires_grad_(), torch.tensor(0.7).double().requires_grad_()
        # cubes, so that the second derivatives depend on everything
        outputs = norm(x), weighted(_Operation(norm[0]), norm(x), weight)
        loss = sum((parallel.share(other) * y**3).mean() for y in outputs)
        inputs = [x, weight, *norm.parameters()]
        first = torch.autograd.grad(loss, inputs, create_graph=True)
        product = sum((g * torch.linspace(1, 2, g.numel()).view_as(g).to(g)).sum() for g in first[1:])
        second = torch.autograd.grad(product, inputs, allow_unused=True, materialize_grads=True)
        parameters = [*parallel.averaged(first[1:]), *parallel.averaged(second[1:])]
        found[name] = {
            "outputs": [_all(y) for y in outputs],
            "images": [_all(g) / parallel.world() for g in (first[0], second[0])],
            "parameters": parameters,
            "buffers": list(norm.buffers()),
        }
        norm.eval()
        found[name]["evaluated"] = [_all(norm(images[:4])) if parallel.world() == 1 else norm(images[:4])]
    return found


class _Operation:
    """As much of an operation as `weighted` looks at."""

    def __init__(self, norm):
        self.norm = norm


def _all(x):
    """Return the images of all processes in their order."""
    whole = x.new_zeros(x.shape[0] * parallel.world(), *x.shape[1:])
    whole[parallel.rank() :: parallel.world()] = x.detach()
    return parallel.total(whole)


def untrained():
    """Return a small network for digits."""
    with seeded(0, "network"):
        network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4, track_running_stats=False), nn.Flatten())
        network.append(nn.LazyLinear(10))
        network(torch.zeros(2, *loaded().input_size))
    return network


def worst():
    """Return the images on which a network is most wrong, of a split in batches that the processes share unevenly."""
    data, found = loaded(), {}
    split = work_of({}).task.split("search_validation")
    for size in (5, 64):  # seven batches, and one that only one process has
        images = WorstImages(data.mean, data.std)
        measure(untrained(), split, device=torch.device("cpu"), batch_size=size, watch=images.update)
        images.merge()
        found[size] = images.as_dict(data.classes) if parallel.is_first() else None
    return found


def measured():
    """Return what a network does on a split in seven batches, two of them, and on all at once."""
    network = untrained()
    split = work_of({}).task.split("search_validation")
    device = torch.device("cpu")
    cases = ((5, 0), (5, 3), (5, 1), (64, 0))
    found = [measure(network, split, device=device, batch_size=size, batches=batches) for size, batches in cases]
    return [{"items": each.items, "loss": each.loss, **each.metrics} for each in found]


def drawn():
    """Return masks of dropout for all images: those of different processes have draws of their own."""
    with seeded(0, "dropout"):
        return _all(dropout(torch.ones(2, 3, 4, 4), 0.5))


def in_parts():
    """Return a state behind last batches that processes split into parts, and how many images these have here."""
    session = session_of("nasbench201", replace(LAST, accumulate=16), data=loaded(HALVES), precision=DOUBLE)
    list(islice(session.run(), 6))
    y = torch.zeros(3 - parallel.rank(), dtype=torch.long)
    parts = session.weights.parts(Batch(y, y))
    sizes = [(len(part), share, parallel.held(len(part))) for part, share in parts]
    return flat(session.state_dict()), sizes


def refused():
    """Return what is said where processes do not agree, and where a batch cannot be divided."""
    said = []
    mine = {"same": torch.ones(3), "row": {"alpha": torch.tensor([0.0, float(parallel.rank())])}}
    parallel.agree(lambda: parallel.fingerprints(mine["same"], "same"), "at step 7")
    for wrong in (
        lambda: parallel.agree(lambda: parallel.fingerprints(mine), "at step 7"),
        lambda: parallel.agree(lambda: {str(parallel.rank()): "00" * 32}, "at step 8"),
        lambda: parallel.by_first(_fail),
        lambda: session_of("nasbench201", STRATEGIES["DARTS"].__class__(epochs=1, batch_size=15)),
    ):
        try:
            wrong()
        except (RunError, ConfigurationError) as error:
            said.append(str(error))
    return said


def _fail():
    raise RunError(f"only process {parallel.rank()} has tried")


def everything(folder):
    """Do all of it and write down what came out of it, one file for each process."""
    make_fabric("cpu", DOUBLE, threads=1)
    found = {"steps": {name: steps(name) for name in CASES}}
    taught = {"drop_last": False, "accumulate": 2, "distillation": Distillation(teacher="another", alpha=0.6)}
    for name, data, recipe in (
        ("retraining", DATA, {}),
        ("last-batch-retraining", ODD, {"drop_last": False}),
        ("taught-retraining", ODD, taught),
    ):
        session = retraining(data, epochs=3, **recipe)
        list(islice(session.run(), 5))
        found["steps"][name] = flat(session.state_dict())
    found["normalized"], found["measured"], found["worst"] = normalized(), measured(), worst()
    if parallel.world() > 1:
        found["continued"] = continued("nasbench201", "GDAS")
        found["drawn"], found["refused"], found["in parts"] = drawn(), refused(), in_parts()
        space, layout = SPACES["nasbench201"]
        out = Path(folder) / "undisturbed"
        library.search(space, SEARCH, DATA, network=layout, out=out, threads=1, device="cpu", progress=False)
        # everybody else's arithmetic is untouched while one works apart
        with parallel.apart():
            found["apart"] = (parallel.world(), parallel.total(torch.tensor(3.0)).item())
    torch.save(found, f"{folder}/{parallel.rank()}-of-{parallel.world()}.pt")
