"""The problems of the reference family `hoag`, from the words of their cases."""

import json
from pathlib import Path

import torch

from ramify.hypergradient import HyperParameter, Losses

FILE = Path(__file__).parents[1] / "data" / "hoag.json"
CASES = json.loads(FILE.read_text())


def formula():
    """Return A (30, 8), b, A_v (20, 8), b_v."""

    def table(rows, f):
        return f(torch.arange(rows * 8, dtype=torch.float64)).view(rows, 8)

    train = table(30, lambda i: torch.sin(1.3 * i + 0.7) + 0.5 * torch.cos(7.7 * i + 0.1))
    valid = table(20, lambda i: torch.sin(2.1 * i + 0.3) + 0.5 * torch.cos(5.3 * i + 0.6))
    w = torch.cos(torch.arange(8, dtype=torch.float64) + 0.5)
    b = train @ w + torch.sin(11.3 * torch.arange(30, dtype=torch.float64) + 0.2)
    b_valid = valid @ w + torch.sin(13.7 * torch.arange(20, dtype=torch.float64) + 0.9)
    return train, b, valid, b_valid


def digits():
    from sklearn.datasets import load_digits

    data = load_digits()
    return torch.tensor(data.data[:200] / 16), torch.tensor(data.target[:200])


def cancer():
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer()
    x = data.data[:200]
    return torch.tensor((x - x.mean(0)) / x.std(0)), torch.tensor(2.0 * (data.target[:200] == 1) - 1)


def halves(x, y):
    return x[:100], y[:100].double(), x[100:], y[100:].double()


PROBLEMS = {  # name: data, loss, groups of features
    "ridge-formula-1": (formula, "ridge", 1),
    "ridge-formula-8": (formula, "ridge", 8),
    "ridge-digits": (lambda: halves(*digits()), "ridge", 1),
    "ridge-digits-halves": (lambda: halves(*digits()), "ridge", 2),
    "logistic-cancer": (lambda: halves(*cancer()), "logistic", 1),
    "logistic-cancer-thirds": (lambda: halves(*cancer()), "logistic", 3),
    "logistic-digits": (lambda: halves(digits()[0], torch.where(digits()[1] >= 5, 1.0, -1.0)), "logistic", 1),
}


def losses_of(name, start):
    """Return the losses of a problem, at hyper-parameters `start` and weights of zero."""
    value = HyperParameter(torch.tensor(start, dtype=torch.float64))
    if name == "toy":
        a = b = torch.tensor([1.0, 2.0], dtype=torch.float64)
        x = torch.zeros(2, dtype=torch.float64, requires_grad=True)

        def inner(at):
            return ((a * at[0] - b).square().sum() + value.exp() * at[0].square().sum()) / 2

        return Losses([x], [value], inner, lambda at: (at[0].sum() - 1).square() / 2)
    data, kind, groups = PROBLEMS[name]
    train, b, valid, b_valid = data()
    features = train.shape[1]
    group = torch.arange(features) * groups // features
    x = torch.zeros(features, dtype=torch.float64, requires_grad=True)

    def lost(at, a, b):
        out = a @ at[0]
        return (out - b).square().sum() / 2 if kind == "ridge" else torch.nn.functional.softplus(-b * out).sum()

    def inner(at):
        return lost(at, train, b) + (value.exp()[group] * at[0].square()).sum() / 2

    return Losses([x], [value], inner, lambda at: lost(at, valid, b_valid))
