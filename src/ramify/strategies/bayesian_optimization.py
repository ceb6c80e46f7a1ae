"""Bayesian optimization with a Gaussian process on the candidates that architectures use.

The surrogate is a Gaussian process whose kernel is exp(−h / ℓ), where h counts the candidates (edge and operation) in
which two architectures differ: the simplest of the kernels that Ru et al. (Interpretable Neural Architecture Search via
Bayesian Optimization with Weisfeiler-Lehman Kernels, ICLR 2021) compare. Length and noise are those of the highest
marginal likelihood. It sees scores as normal quantiles of their ranks, so that a few networks that learn nothing do
not bend it. The rest is as in BANANAS (White et al., AAAI 2021): the model chooses among mutations of the best
architectures so far and uniform draws, by independent Thompson sampling, which draws a value at each of them alone.

Several objectives are modeled one by one. Every proposal draws weights and takes the least weighted Chebyshev distance
to the best value of each (Knowles, ParEGO, IEEE TEC 2006).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ramify.architecture import Architecture
from ramify.errors import ConfigurationError
from ramify.spaces import Space
from ramify.strategies.ask_tell import AskTell, Trial, Trials
from ramify.strategies.encoding import Encoding

_LENGTHS = (1 / 6, 1 / 3, 2 / 3, 4 / 3, 8 / 3)
"""Lengths ℓ that are tried, times the number of candidates that a member uses."""
_NOISES = (0.01, 0.03, 0.1, 0.3)
"""Shares of noise in the variance that are tried."""


@dataclass(frozen=True, kw_only=True)
class BayesianOptimization(AskTell):
    """Evaluate the member that a Gaussian process, fitted to the trials so far, predicts to be best.

    Args:
        startup: Architectures that are drawn uniformly before the first model.
        candidates: Architectures among which the model chooses, half of them mutations.
        parents: How many of the best architectures are mutated.
        refit: Trials after which length and noise of the kernel are chosen anew; a twentieth of those that the model
            knows, where that is more.
        memory: Trials that the model knows when these are chosen: beyond, the better half of this number and the latest
            others. A trial costs the same from there on; on NAS-Bench-201, more gave no better fronts.
    """

    source = "Ru et al., Interpretable NAS via Bayesian Optimization with Weisfeiler-Lehman Kernels, ICLR 2021"
    takes_several = True

    startup: int = 10
    candidates: int = 300
    parents: int = 20
    refit: int = 10
    memory: int = 300

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, least in (("startup", 2), ("candidates", 2), ("parents", 1), ("refit", 1), ("memory", 10)):
            if getattr(self, name) < least:
                raise ConfigurationError(f"`{name}` must be at least {least}, got {getattr(self, name)}")

    def ready(self, trials: Trials) -> bool:
        """Return whether the random start is still going on, or as usual."""
        return trials.asked < self.startup or super().ready(trials)

    def ask(self, space: Space, trials: Trials, rng: Random) -> Architecture:
        """Return the most promising of the candidates that were not evaluated."""
        measured = trials.fold("measured", lambda: _Measured(Encoding(space), self.memory), _Measured.add)
        if trials.asked < self.startup or len(measured) < 2:
            return space.sample(rng)
        draw = np.random.default_rng(rng.getrandbits(64))
        candidates = self._candidates(measured, trials.pending, draw)
        if not len(candidates):  # everything in reach is known
            return space.sample(rng)
        features, models = measured.models(self.refit)
        apart = differing(features, torch.from_numpy(measured.encoding.features(candidates)))
        missing = []
        for weight, model in zip(draw.dirichlet([1.0] * len(models)), models, strict=True):
            mean, deviation = model.predict(apart)
            drawn = mean + deviation * torch.from_numpy(draw.standard_normal(len(mean)))
            missing.append(weight * (model.targets.max() - drawn))
        distances = torch.stack(missing)
        chosen = (distances.amax(dim=0) + 0.05 * distances.sum(dim=0)).argmin()
        return measured.encoding.architecture(candidates[int(chosen)])

    def _candidates(
        self, measured: "_Measured", pending: Sequence[Architecture], draw: np.random.Generator
    ) -> np.ndarray:
        """Return different members (N, D) that were not asked for: mutations, every other one twice, and draws."""
        seen = measured.seen
        asked = {measured.encoding.indices(arch).tobytes() for arch in pending}
        parents = measured.parents(self.parents)
        mutated = measured.encoding.mutate(parents[draw.integers(0, len(parents), self.candidates // 2)], draw)
        mutated[::2] = measured.encoding.mutate(mutated[::2], draw)
        pool = np.concatenate([mutated, measured.encoding.sample(self.candidates - len(mutated), draw)])
        rows = enumerate(map(np.ndarray.tobytes, pool))
        new = {row: at for at, row in rows if row not in seen and row not in asked}
        return pool[list(new.values())]


class _Measured:
    """The different members that were evaluated, as arrays."""

    def __init__(self, encoding: Encoding, memory: int) -> None:
        self.encoding, self.memory = encoding, memory
        self.seen: set[bytes] = set()
        self._indices, self._values, self._ahead = _Rows(np.int64), _Rows(np.float64), _Rows(np.int64)
        self._count = 0
        self._kept = np.empty(0, np.int64)
        self._covariances: list[Covariance] = []

    def __len__(self) -> int:
        return len(self._indices)

    def add(self, trial: Trial) -> "_Measured":
        """Take a trial into account; a repetition says nothing new, and a failure that it need not be asked again."""
        indices = self.encoding.indices(trial.architecture)
        if indices.tobytes() in self.seen:
            return self
        self.seen.add(indices.tobytes())
        if not trial.failed:
            self._indices.add(indices)
            self._values.add(trial.values)
            if len(trial.values) > 1:
                self._rank(np.array(trial.values))
        return self

    def _rank(self, latest: np.ndarray) -> None:
        """Count the latest member among those that are as good as others everywhere, and these for itself."""
        values = self._values.array
        self._ahead.add((values <= latest).all(axis=1).sum())
        self._ahead.array[:-1] += (values[:-1] >= latest).all(axis=1)

    def parents(self, count: int) -> np.ndarray:
        """Return the best members (N, D); of several objectives the whole front, filled up to `count` by the next."""
        values = self._values.array
        if values.shape[1] == 1:
            return self._indices.array[first(values[:, 0], count)]
        # By the number of members that are as good everywhere, itself included: 1 on the front.
        ahead = self._ahead.array
        return self._indices.array[first(ahead, max(count, int((ahead == 1).sum())))]

    def models(self, refit: int) -> tuple[Tensor, list["GaussianProcess"]]:
        """Return the features (N, F) of the members that the models of the objectives know, and these.

        When kernels are chosen, and members forgotten, follows from the number of members, and what came since is added
        one after the other: models do not depend on how often they were asked for.
        """
        count = self._count
        while (later := count + max(refit, min(count, self.memory) // 20)) <= len(self):
            count = later
        if count > self._count or not self._covariances:
            self._count, self._kept = count, self._remembered(max(2, count))
            self._covariances = best_covariances(*self._known())
        while self._kept[-1] + 1 < len(self):
            self._kept = np.append(self._kept, self._kept[-1] + 1)
            features = self._features()
            apart = differing(features[:-1], features[-1:])[:, 0]
            for covariance in dict.fromkeys(self._covariances):
                covariance.add(apart)
        features, targets = self._known()
        return features, [GaussianProcess(*both) for both in zip(self._covariances, targets, strict=True)]

    def _known(self) -> tuple[Tensor, list[Tensor]]:
        """Return features (N, F) and targets (N,) of the members that are kept."""
        values = torch.from_numpy(-self._values.array[self._kept])
        return self._features(), [normal_scores(column) for column in values.T]

    def _features(self) -> Tensor:
        return torch.from_numpy(self.encoding.features(self._indices.array[self._kept]))

    def _remembered(self, count: int) -> np.ndarray:
        """Return the places of the first `count` members in ascending order; of too many the best and the latest."""
        if count <= self.memory:
            return np.arange(count)
        best = self._best(count, self.memory // 2)
        others = np.ones(count, dtype=bool)
        others[best] = False
        latest = np.flatnonzero(others)[len(best) - self.memory :]
        return np.sort(np.concatenate([best, latest]))

    def _best(self, count: int, wanted: int) -> np.ndarray:
        """Return the places of the best of the first `count` members."""
        values = self._values.array
        if values.shape[1] == 1:
            return first(values[:count, 0], wanted)
        later = (values[count:, None] <= values[:count]).all(axis=2).sum(axis=0)
        return first(self._ahead.array[:count] - later, wanted)


class _Rows:
    """Rows of numbers that grow in number, in one array."""

    def __init__(self, kind: type) -> None:
        self._kind, self._count = kind, 0
        self._room: np.ndarray = np.empty(0, kind)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, at: int) -> np.ndarray:
        return self.array[at]

    @property
    def array(self) -> np.ndarray:
        """A view of the rows (N, …)."""
        return self._room[: self._count]

    def add(self, row: Any) -> None:
        """Add a row, of the shape of those before."""
        row = np.asarray(row, self._kind)
        if self._count == len(self._room):
            room = np.empty((max(64, 2 * self._count), *row.shape), self._kind)
            room[: self._count] = self._room.reshape(self._count, *row.shape)
            self._room = room
        self._room[self._count] = row
        self._count += 1


def first(keys: np.ndarray, count: int) -> np.ndarray:
    """Return the places of the `count` smallest keys (N,) in ascending order, the first of equals first."""
    if count < len(keys):
        within = np.flatnonzero(keys <= np.partition(keys, count - 1)[count - 1])
        return within[np.argsort(keys[within], kind="stable")[:count]]
    return np.argsort(keys, kind="stable")


class Covariance:
    """The covariance of members with noise, as a share of a process's variance; models of several targets share it.

    Args:
        kernel: exp(−h / ℓ) of the members among each other, float64 (N, N).
        length: ℓ.
        noise: Variance of the noise.
    """

    def __init__(self, kernel: Tensor, length: float, noise: float) -> None:
        self.length, self.noise = length, noise
        noisy = kernel.clone()
        noisy.diagonal().add_(noise)
        self._factor = torch.linalg.cholesky(noisy)

    def solve(self, right: Tensor) -> Tensor:
        """Return L⁻¹ times a matrix (N, M), where L is the Cholesky factor."""
        return torch.linalg.solve_triangular(self._factor, right, upper=False)

    def add(self, apart: Tensor) -> None:
        """Take in a member that is so far apart from the others, h (N,): L grows by a row."""
        row = self.solve(similarity(apart, self.length)[:, None])[:, 0]
        size = len(row)
        factor = row.new_zeros(size + 1, size + 1)
        factor[:size, :size] = self._factor
        factor[size, :size] = row
        factor[size, size] = (1 + self.noise - row @ row).sqrt()
        self._factor = factor

    @property
    def half_log_determinant(self) -> float:
        """The logarithm of the determinant of L."""
        return self._factor.diagonal().log().sum().item()


class GaussianProcess:
    """A Gaussian process with constant mean; mean and variance maximize the likelihood.

    Args:
        covariance: That of the members.
        targets: What is modeled, float64 (N,).
    """

    def __init__(self, covariance: Covariance, targets: Tensor) -> None:
        self.covariance, self.targets = covariance, targets
        ones, values = covariance.solve(torch.stack([torch.ones_like(targets), targets], dim=1)).T
        self.mean = (ones @ values / (ones @ ones)).item()
        self._rest = values - self.mean * ones
        self.variance = max((self._rest @ self._rest).item() / len(targets), 1e-12)

    @property
    def log_likelihood(self) -> float:
        """The log-likelihood of the targets, up to a constant."""
        return -len(self.targets) / 2 * math.log(self.variance) - self.covariance.half_log_determinant

    def predict(self, apart: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation (M,) of the process, without noise, at other members.

        Args:
            apart: How far these are from the known members, h (N, M).
        """
        solved = self.covariance.solve(similarity(apart, self.covariance.length))
        mean = self.mean + self._rest @ solved
        return mean, (self.variance * (1 - solved.square().sum(dim=0)).clamp_min(1e-12)).sqrt()


def differing(a: Tensor, b: Tensor) -> Tensor:
    """Return in how many candidates members (N, F) and (M, F) differ, a replaced one counted once: h, (N, M)."""
    used = a.square().sum(dim=1)[:, None] / 2 + b.square().sum(dim=1) / 2
    return used.addmm_(a, b.T, alpha=-1)  # whole numbers and halves: exact in any order


def similarity(apart: Tensor, length: float) -> Tensor:
    """Return the kernel exp(−h / ℓ) of members that are so far apart, h (N, M)."""
    return apart.div(-length).exp_()


def best_covariances(features: Tensor, targets: Sequence[Tensor]) -> list[Covariance]:
    """Return for each of the targets (N,) of members (N, F) the covariance of highest likelihood on a grid."""
    used, apart = features.sum(dim=1).mean().item(), differing(features, features)
    best: list[tuple[float, Covariance | None]] = [(-math.inf, None)] * len(targets)
    for length in (used * length for length in _LENGTHS):
        kernel = similarity(apart, length)
        for noise in _NOISES:
            covariance = Covariance(kernel, length, noise)
            for at, target in enumerate(targets):
                likelihood = GaussianProcess(covariance, target).log_likelihood
                if likelihood > best[at][0]:
                    best[at] = likelihood, covariance
    return [covariance for _, covariance in best if covariance is not None]


def normal_scores(values: Tensor) -> Tensor:
    """Return the normal quantiles of the ranks of values (N,); ties share their mean rank."""
    _, where, counts = values.unique(return_inverse=True, return_counts=True)
    middle = counts.cumsum(dim=0) - counts / 2
    return torch.special.ndtri((middle / len(values)).to(values.dtype))[where]
