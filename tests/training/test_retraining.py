"""Training a built network: each ingredient of the recipe does what it says, and the whole learns."""

import itertools
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import ramify
from ramify.data import DataSpec, Distortion
from ramify.errors import ConfigurationError
from ramify.ops import DropPath
from ramify.seeding import rng, seeded, stream
from ramify.spaces import AnyNetwork, NASBench201
from ramify.tasks import Batch, Classification, Regression
from ramify.testing.small import values
from ramify.training import Distillation, Recipe, TrainingSession, measure
from small_runs import DATA, SPACES, STRATEGIES, differences, finish, loaded, restored, saved, work_of

PLAIN = {"batch_size": 16, "drop_path": 0.0, "cutout": 0, "crop": 0, "flip": False}


def training(recipe, *, space="darts", seed=0, precision="32-true", data=None, split="train", **layout):
    searched, small = SPACES[space]
    work = work_of(small, seed=seed, precision=precision, data=data)
    arch = searched.sample(rng(1, space))
    with seeded(seed, "network"):
        network = searched.build(arch, **work.shape, **small, **layout)
    return TrainingSession(network, recipe, work, split=split)


def first_batch(session, size=16):
    return next(session.split.batches(size, seed=0, shuffle=True, drop_last=True))


def plain_step(recipe, loss_of, **layout):
    """Return two networks after one step: the session's, and that of a hand-written SGD step on `loss_of`."""
    session, other = (training(recipe, **layout) for _ in range(2))
    next(session.run())
    network = other.network.module.train()
    x, y = first_batch(other)
    loss = loss_of(network(x), y)
    loss.backward()
    return session, network, loss


def assert_equal_networks(session, network):
    for (name, value), other in zip(session.network.module.named_parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(value, other, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("nesterov", [False, True])
def test_a_step_is_sgd_with_momentum_and_weight_decay(nesterov):
    recipe = Recipe(epochs=1, lr=0.1, clip=0.0, nesterov=nesterov, weight_decay=0.01, **PLAIN)
    session, network, _ = plain_step(recipe, F.cross_entropy)
    torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, nesterov=nesterov, weight_decay=0.01).step()
    assert_equal_networks(session, network)


def test_gradients_are_clipped_by_their_common_norm():
    recipe = Recipe(epochs=1, lr=0.1, clip=0.05, weight_decay=0.0, **PLAIN)
    session, network, _ = plain_step(recipe, F.cross_entropy)
    norm = torch.nn.utils.clip_grad_norm_(network.parameters(), 0.05)
    assert norm > 0.5, "nothing to clip"
    torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9).step()
    assert_equal_networks(session, network)


def test_label_smoothing_is_pytorchs():
    recipe = Recipe(epochs=1, clip=0.0, weight_decay=0.0, label_smoothing=0.2, **PLAIN)
    session, network, loss = plain_step(recipe, lambda z, y: F.cross_entropy(z, y, label_smoothing=0.2))
    torch.optim.SGD(network.parameters(), lr=0.025, momentum=0.9).step()
    assert_equal_networks(session, network)
    assert float(session.averages.sums[0]) == pytest.approx(16 * loss.item())


def test_the_auxiliary_head_adds_its_share_of_the_loss():
    recipe = Recipe(epochs=1, clip=0.0, weight_decay=0.0, auxiliary_weight=0.4, **PLAIN)

    def total(output, y):
        return F.cross_entropy(output[0], y) + 0.4 * F.cross_entropy(output[1], y)

    session, network, _ = plain_step(recipe, total, auxiliary=True)
    assert any(name.startswith("auxiliary.") and bool(p.grad.any()) for name, p in network.named_parameters())
    torch.optim.SGD(network.parameters(), lr=0.025, momentum=0.9).step()
    assert_equal_networks(session, network)


def test_drop_path_grows_linearly_from_zero():
    recipe = Recipe(epochs=4, batch_size=32, drop_path=0.4)
    session = training(recipe, drop_path=0.4)
    paths = [module for module in session.network.modules() if isinstance(module, DropPath)]
    assert paths
    seen, rows = [], []
    for metrics in session.run():
        seen.append({module.rate for module in paths})
        rows += [metrics.values] if metrics.values else []
    assert seen == [{rate} for rate in (0.0, 0.0, 0.1, 0.1, 0.2, 0.2, 0.4 * 3 / 4, 0.4 * 3 / 4)]
    assert [row["drop_path"] for row in rows] == [0.0, 0.1, 0.2, 0.4 * 3 / 4]
    assert [row["epoch"] for row in rows] == [0, 1, 2, 3]


def test_drop_path_of_600_epochs():
    """CDARTS' setting, at the beginning, in the middle and at the end."""
    session = training(Recipe(epochs=600, batch_size=64, drop_path=0.3), space="nasbench201", drop_path=0.3)
    found = {}
    for epoch in (0, 300, 599):
        session.step = epoch
        next(session.run())
        found[epoch] = session.drop_paths[0].rate
    assert found == {0: 0.0, 300: pytest.approx(0.15), 599: pytest.approx(0.2995)}


def test_drop_path_acts_in_training_only():
    session = training(Recipe(epochs=1), drop_path=0.9)
    x, _ = first_batch(session)
    network = session.network.module
    assert not torch.equal(network.train()(x), network(x))
    assert torch.equal(network.eval()(x), network(x))


def test_the_rate_of_each_step_is_the_schedules():
    session = training(Recipe(epochs=3, lr=0.1, warmup_epochs=1, **PLAIN))
    rates = [session.optimizer.param_groups[0]["lr"] for _ in session.run()]
    assert rates == [session.recipe.lr_at(step, 4) for step in range(12)]
    assert len(set(rates)) == 6


def test_rmsprop_is_tensorflows():
    recipe = Recipe(epochs=1, lr=0.01, clip=0.0, optimizer="rmsprop", weight_decay=0.1, decay_norms=False, **PLAIN)
    session, network, _ = plain_step(recipe, F.cross_entropy)
    with torch.no_grad():
        for value in network.parameters():
            gradient = value.grad + (0.1 * value if value.ndim > 1 else 0)
            value -= 0.01 * gradient / (0.9 + 0.1 * gradient**2 + 1e-3).sqrt()  # the mean of squares starts at 1
    assert_equal_networks(session, network)


def test_accumulated_parts_give_the_gradient_of_the_batch():
    """In evaluation mode of the norms; their statistics are those of a part."""
    recipe = Recipe(epochs=1, lr=0.1, clip=0.0, weight_decay=0.0, accumulate=3, **PLAIN)
    session, other = (training(recipe, space="nasbench201") for _ in range(2))
    for each in (session, other):
        each.network.module.train = lambda mode=True, module=each.network.module: module
        each.network.module.eval()
        for module in each.network.module.modules():
            module.training = False
    next(session.run())
    network = other.network.module
    x, y = first_batch(other)
    F.cross_entropy(network(x), y).backward()
    torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9).step()
    assert_equal_networks(session, network)
    assert float(session.averages.sums[1]) == 16


def test_mixup_is_that_of_its_paper():
    recipe = Recipe(epochs=1, lr=0.1, clip=0.0, weight_decay=0.0, mixup=0.5, label_smoothing=0.1, **PLAIN)
    share = rng(0, "mixup", 0).betavariate(0.5, 0.5)
    partner = torch.randperm(16, generator=stream(0, "mixup", 0))
    assert 0.01 < share < 0.99 and not torch.equal(partner, torch.arange(16))
    session, other = (training(recipe) for _ in range(2))
    next(session.run())
    network = other.network.module.train()
    x, y = first_batch(other)
    logits = network(share * x + (1 - share) * x[partner])
    losses = [F.cross_entropy(logits, labels, label_smoothing=0.1) for labels in (y, y[partner])]
    (share * losses[0] + (1 - share) * losses[1]).backward()
    torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9).step()
    assert_equal_networks(session, network)


def test_inputs_of_whole_numbers_have_no_mixture(monkeypatch):
    whole = Batch(torch.zeros(1, 3, 8, 8, dtype=torch.int64, device="meta"), torch.zeros(1, dtype=torch.int64))
    monkeypatch.setattr(Classification, "example", lambda self, size, device="meta": whole)
    with pytest.raises(ConfigurationError, match="inputs of Classification are whole numbers"):
        training(Recipe(epochs=1, mixup=0.5, **PLAIN))


def test_the_moving_average_follows_weights_and_statistics():
    session = training(Recipe(epochs=1, lr=0.1, ema=0.75, **PLAIN))
    expected = {name: value.clone() for name, value in session.network.state_dict().items()}
    for _ in session.run():
        for name, value in session.network.state_dict().items():
            mean = expected[name]
            expected[name] = 0.75 * mean + 0.25 * value if mean.is_floating_point() else value.clone()
    found = session.trained.state_dict()
    assert found.keys() == expected.keys()
    assert any(not torch.equal(found[name], value) for name, value in session.network.state_dict().items())
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value)


@pytest.mark.parametrize("precision", ["64-true", "bf16-mixed"])
def test_the_moving_average_takes_images_in_every_precision(precision):
    session = training(Recipe(epochs=1, ema=0.5, **PLAIN), space="nasbench201", precision=precision)
    finish(session)
    found = measure(session.trained, session.task.split("search_train"), device=torch.device("cpu"))
    assert 0 <= found.score <= 1


def test_convolutions_with_biases_are_tried_out_in_double_precision():
    for accumulate in (1, 16):  # parts of a single image are tried out once more, for their norms
        recipe = Recipe(epochs=1, accumulate=accumulate, **PLAIN)
        training(recipe, space="cdarts-chain", precision="64-true").rehearse()


def test_the_size_rule_decides_before_training():
    session = training(Recipe(epochs=2, batch_size=64, size_rule=True, weight_decay=0.5, drop_path=0.0), drop_path=0.0)
    assert (session.recipe.weight_decay, session.recipe.drop_path) == (3e-4, 0.2)
    assert session.optimizer.param_groups[0]["weight_decay"] == 3e-4
    assert [row["drop_path"] for row in finish(session)] == [0.0, 0.1]


EVERYTHING = {
    "optimizer": "rmsprop",
    "decay_norms": False,
    "accumulate": 2,
    "mixup": 0.2,
    "ema": 0.9,
    "warmup_epochs": 2,
    "warmup": "epoch",
    "distortion": Distortion(
        resized=0.3, jitter=(0.4, 0.4, 0.4, 0.2), policy="randaugment", magnitude_std=0.5, erase=0.5
    ),
}


def test_a_continued_training_with_everything_is_the_undisturbed_one():
    recipe = Recipe(epochs=3, batch_size=16, drop_path=0.3, lr=0.01, **EVERYTHING)
    whole = training(recipe, drop_path=0.3, auxiliary=True)
    expected = finish(whole)
    session = training(recipe, drop_path=0.3, auxiliary=True)
    rows = [dict(m.values) for m in itertools.islice(session.run(), 6) if m.values]
    continued = training(recipe, drop_path=0.3, auxiliary=True)
    continued.load_state_dict(restored(saved(session)))
    assert rows + finish(continued) == expected
    assert not differences(restored(saved(continued)), restored(saved(whole)))


@pytest.mark.parametrize("space", ["nasbench201", "darts", "frc", "nasp"])
def test_a_continued_training_is_the_undisturbed_one(space):
    recipe = Recipe(epochs=3, batch_size=16, drop_path=0.3, cutout=2)
    options = {"space": space, "drop_path": 0.3} | ({} if space == "nasbench201" else {"auxiliary": True})
    whole = training(recipe, **options)
    expected = finish(whole)
    for at in (rng(0, space).randrange(1, 12), 4):  # anywhere, and at the end of an epoch
        session = training(recipe, **options)
        rows = [dict(m.values) for m in itertools.islice(session.run(), at) if m.values]
        continued = training(recipe, **options)
        continued.load_state_dict(restored(saved(session)))
        rows += finish(continued)
        assert rows == expected
        assert not differences(restored(saved(continued)), restored(saved(whole)))


def test_the_seed_decides_everything():
    recipe = Recipe(epochs=1, batch_size=16)
    one, same, other = (training(recipe, seed=seed, drop_path=0.2) for seed in (0, 0, 1))
    rows = [finish(session) for session in (one, same, other)]
    assert rows[0] == rows[1] != rows[2]
    assert not differences(one.state_dict(), same.state_dict())
    assert not loaded().reads


def test_all_training_images_are_used_once_an_epoch():
    session = training(Recipe(epochs=1, **PLAIN))
    assert len(session.split) == 64
    assert session.steps == 4
    assert training(Recipe(epochs=1, batch_size=1000)).steps == 1  # no more than there are
    assert training(Recipe(epochs=2, batch_size=30)).steps == 4  # the last, smaller batch is left out


@pytest.mark.parametrize(("precision", "near"), [("64-true", 1e-4), ("bf16-mixed", 0.05)])
def test_other_precisions(precision, near):
    recipe = Recipe(epochs=1, **PLAIN)
    session, reference = (training(recipe, space="nasbench201", precision=p) for p in (precision, "32-true"))
    loss, expected = (finish(each)[0]["loss"] for each in (session, reference))
    assert loss == pytest.approx(expected, rel=near)
    assert loss != expected
    kept = torch.float64 if precision == "64-true" else torch.float32
    assert {value.dtype for value in session.network.parameters()} == {kept}
    found = measure(session.network, session.task.split("search_train"), device=torch.device("cpu"))
    assert 0 <= found.score <= 1


def test_what_cannot_be_trained_is_refused_before_it_starts():
    too_small = training(Recipe(epochs=1, **PLAIN), layout="imagenet", auxiliary=True)
    with pytest.raises(ConfigurationError, match="auxiliary head needs a map of at least 2×2, but receives 1×1"):
        too_small.rehearse()
    with pytest.raises(ConfigurationError, match="gets 1 image and needs 2; raise `batch_size` to 2"):
        training(Recipe(epochs=1, **(PLAIN | {"batch_size": 1})), auxiliary=True)


def test_a_rehearsal_changes_nothing():
    recipe = Recipe(epochs=1, batch_size=16)
    session, other = (training(recipe, auxiliary=True, drop_path=0.2) for _ in range(2))
    before = restored(saved(session))
    session.rehearse()
    assert not differences(restored(saved(session)), before)
    assert finish(session) == finish(other)
    assert not differences(session.state_dict(), other.state_dict())


def test_a_small_network_learns_the_digits():
    """On the whole data set, above 80 % of images that it has not seen after a few epochs."""
    data = loaded(DataSpec())
    space = NASBench201()
    arch = space.parse("|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|none~2|")
    work = work_of({}, data=data)
    with seeded(0, "network"):
        network = space.build(arch, **work.shape, channels=4, cells=1)
    recipe = Recipe(epochs=8, batch_size=64, lr=0.1, nesterov=True, weight_decay=5e-4, drop_path=0.0, cutout=0)
    session = TrainingSession(network, recipe, work, split="search_train")
    losses = [row["loss"] for row in finish(session)]
    assert losses[0] > losses[1] > losses[2] > losses[3]
    assert losses[-1] < losses[0] / 3
    found = measure(session.network, work.task.split("search_validation"), device=torch.device("cpu"))
    assert found.metrics["top1"] > 0.8
    assert found.metrics["top5"] > 0.97
    assert not data.reads


TAUGHT = Distillation(teacher="somebody", alpha=0.7, temperature=3.0)


class Teacher(nn.Module):
    """Dropout and a norm, which tell evaluation from training mode, and a linear layer."""

    def __init__(self, classes=10, channels=1):
        super().__init__()
        self.norm, self.dropout = nn.BatchNorm2d(channels), nn.Dropout(0.5)
        self.linear = nn.Linear(64 * channels, classes)

    def forward(self, x):
        return self.linear(self.dropout(self.norm(x)).flatten(1))


def taught(recipe, teacher, *, precision="64-true", weights=None):
    """Return a training of a linear network on digits, which does not mind how batches are parted."""
    task = Classification(**({} if weights is None else {"class_weights": weights})).on(loaded())
    work = replace(work_of({}, precision=precision), given=task)
    with seeded(0, "network"):
        network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    return TrainingSession(network, recipe, work, teacher=teacher)


class TestDistillation:
    def test_a_step_is_that_of_its_formula(self):
        """The teacher sees the student's images in evaluation mode, and stays as it is."""
        torch.manual_seed(0)
        teacher = Teacher().double().train()
        state = {name: value.clone() for name, value in teacher.state_dict().items()}
        recipe = Recipe(epochs=1, lr=0.1, clip=0.0, weight_decay=0.0, distillation=TAUGHT, **PLAIN)
        session, other = (taught(recipe, teacher) for _ in range(2))
        next(session.run())
        network = other.network.module
        x, y = first_batch(other)
        x = x.double()
        student, told = network(x), teacher.eval()(x)
        kl = F.kl_div((student / 3).log_softmax(1), (told / 3).softmax(1), reduction="batchmean")
        loss = 0.3 * F.cross_entropy(student, y) + 0.7 * 9 * kl
        loss.backward()
        torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9).step()
        torch.testing.assert_close(dict(session.network.state_dict()), dict(network.state_dict()))
        assert float(session.averages.sums[0] / session.averages.sums[1]) == pytest.approx(loss.item())
        assert not teacher.training and all(p.grad is None and not p.requires_grad for p in teacher.parameters())
        assert all(torch.equal(value, state[name]) for name, value in teacher.state_dict().items())
        assert not any("norm" in name for name in session.state_dict()["network"])

    @pytest.mark.parametrize("weights", [None, [1.0, 3.0] * 5], ids=["even", "class weights"])
    def test_parts_of_a_batch_agree_with_the_whole(self, weights):
        torch.manual_seed(0)
        teacher = Teacher().double()
        ends = []
        for accumulate in (1, 3):
            settings = {**PLAIN, "accumulate": accumulate, "mixup": 0.0, "drop_last": False}
            session = taught(Recipe(epochs=2, lr=0.1, distillation=TAUGHT, **settings), teacher, weights=weights)
            rows = [metrics.values for metrics in session.run() if metrics.values]
            ends.append((session.network.state_dict(), rows))
        torch.testing.assert_close(dict(ends[0][0]), dict(ends[1][0]))
        assert [row["loss"] for row in ends[0][1]] == pytest.approx([row["loss"] for row in ends[1][1]])

    def test_without_a_share_it_is_the_training_of_labels_alone(self):
        ends = []
        for recipe in (Recipe(epochs=1, distillation=replace(TAUGHT, alpha=0.0), **PLAIN), Recipe(epochs=1, **PLAIN)):
            session = taught(recipe, Teacher())
            finish(session)
            ends.append(session.network.state_dict())
        assert not differences(*ends)

    def test_a_continued_training_ends_as_an_undisturbed_one(self):
        recipe = Recipe(epochs=2, distillation=TAUGHT, **(PLAIN | {"batch_size": 8}))
        torch.manual_seed(0)
        teacher = Teacher()
        whole = taught(recipe, teacher)
        finish(whole)
        first = taught(recipe, teacher)
        for _ in itertools.islice(first.run(), 3):
            pass
        second = taught(recipe, teacher)
        second.load_state_dict(restored(saved(first)))
        finish(second)
        assert not differences(second.state_dict(), whole.state_dict())

    @pytest.mark.parametrize(
        ("teacher", "message"),
        [
            (
                Teacher(classes=7),
                r"^the teacher somebody returns \(16, 7\) where the network returns \(16, 10\): it has",
            ),
            (Teacher(channels=3), r"^the teacher somebody does not take batches of \(16, 1, 8, 8\): "),
            (nn.Identity(), r"^the teacher somebody returns \(16, 1, 8, 8\) where the network returns \(16, 10\)"),
        ],
    )
    def test_a_teacher_that_does_not_fit_is_refused_before_training(self, teacher, message):
        session = taught(Recipe(epochs=1, distillation=TAUGHT, **PLAIN), teacher)
        with pytest.raises(ConfigurationError, match=message) as raised:
            session.rehearse()
        assert len(str(raised.value)) < 300 and "\n" not in str(raised.value)

    def test_a_teacher_is_needed(self):
        with pytest.raises(ConfigurationError, match="distillation needs the network of its teacher"):
            taught(Recipe(epochs=1, distillation=TAUGHT, **PLAIN), None)

    def test_what_has_no_classes_is_refused(self):
        work = replace(work_of({}), given=Regression().on(values()))
        with pytest.raises(ConfigurationError, match="distillation compares logits of classes, and Regression has"):
            TrainingSession(nn.Flatten(), Recipe(epochs=1, distillation=TAUGHT, **PLAIN), work, teacher=Teacher())


class Auxiliary(nn.Module):
    """A user's network, which returns more in training: nothing, and what an auxiliary classifier says."""

    def __init__(self):
        super().__init__()
        self.body, self.aux, self.head = nn.Conv2d(1, 4, 3), nn.Linear(4, 10), nn.Linear(4, 10)

    def forward(self, x):
        x = self.body(x).relu().mean((2, 3))
        return (self.head(x), None, self.aux(x)) if self.training else self.head(x)


@pytest.mark.parametrize("learns", [True, False])
def test_auxiliary_classifiers_of_a_users_network_learn_where_they_may(learns):
    recipe = Recipe(epochs=1, lr=0.1, clip=0.0, weight_decay=0.0, auxiliary=learns, auxiliary_weight=0.4, **PLAIN)
    with seeded(0, "network"):
        network, other = Auxiliary(), Auxiliary()
    other.load_state_dict(network.state_dict())
    session = TrainingSession(network, recipe, work_of({}))
    x, y = first_batch(session)
    logits, _, further = other(x)
    loss = F.cross_entropy(logits, y)
    (loss + 0.4 * learns * F.cross_entropy(further, y)).backward()
    next(session.run())
    torch.optim.SGD(other.parameters(), lr=0.1, momentum=0.9).step()
    assert_equal_networks(session, other)
    assert float(session.averages.sums[0]) == pytest.approx(16 * loss.item())  # rows say what the network loses


@pytest.mark.parametrize("strategy", ["DARTS-second-order", "GDAS", "SPOS", "TuNAS"])
def test_networks_with_auxiliary_classifiers_are_searched(strategy):
    with seeded(0, "network"):
        space = AnyNetwork(Auxiliary(), input_size=(1, 8, 8), multiple=1)
    found = ramify.search(space, STRATEGIES[strategy], DATA, threads=1, device="cpu", progress=False)
    assert found.architecture in space
