"""What came of a run, in plain sentences: each computed from its files by one function."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from ramify.report.elements import amount, copyable, percent, spaced
from ramify.report.folder import RunFolder, number
from ramify.report.intervals import newcombe, wilson
from ramify.report.nextsteps import next_steps
from ramify.report.phrases import SHARES
from ramify.report.standing import Standing
from ramify.report.story import MixingHistory, Trial, edge_entropies, last_change
from ramify.run.records import levels_of
from ramify.wording import duration

Row = Mapping[str, Any]

_NEAR = 0.05
"""Weights that are nearer to each other are called alike."""
_LATE = 0.9
"""The share of a search after which a change is late."""
_SKIPS = 0.5
"""The share of skip connections above which a derived cell is called collapsed."""
_GROWTH = 4 / 3
"""Growth of the Hessian's largest eigenvalue at which Zela et al. (2020) stop a search: 1 / 0.75."""
_GAP = 0.05
"""What a derivation may cost, in accuracy."""


@dataclass(frozen=True)
class Statement:
    """A sentence.

    Args:
        text: What it says.
        doubt: Whether it speaks against the result.
    """

    text: str
    doubt: bool = False


def verdict(
    run: RunFolder, mixing: MixingHistory | None, trials: Sequence[Trial], standing: Standing | None = None
) -> str:
    """Return the verdict as HTML, nothing where there is nothing to say."""
    final = run.retrain or run
    search = run.rows("search")
    statements = {
        "State": [unfinished(run)],
        "Result": [
            accuracy(final.evaluation),
            *metrics(final.evaluation),
            training(final),
            best_trial(trials),
            shrunk(run.result),
            tuned(run.result),
            adapted(run.result),
        ],
        "Beside": [beside_baseline(final), beside_members(standing)],
        "Decision": [
            undecided(run.result),
            *disconnected(run.result),
            entropy(mixing),
            changed(search),
            closest(mixing),
            last_best(trials, run.result),
            skips(search),
            curvature(search),
            gap(search),
        ],
        "Cost": [*times(run), network(final), latency(final)],
    }
    rows = []
    for label, found in statements.items():
        lines = "".join(f"<p{' class=doubt' * one.doubt}>{escape(one.text)}</p>" for one in found if one is not None)
        if lines:
            rows.append(f"<dt>{label}</dt><dd>{lines}</dd>")
    steps = [
        f"<p>{escape(what)}</p>{copyable(f'next-{at}', command)}"
        for at, (what, command) in enumerate(next_steps(run, late=_is_late(search)))
    ]
    if steps:
        rows.append(f"<dt>Next</dt><dd><p>In this folder:</p>{''.join(steps)}</dd>")
    return f'<dl class="verdict">{"".join(rows)}</dl>' if rows else ""


# How far it is


def unfinished(run: RunFolder) -> Statement | None:
    """Say how far an unfinished run is."""
    if run.result:
        return None
    begun = [(label, one) for label, one in stages_of(run) if one.history]
    label, at = begun[-1] if begun and levels_of(run.config) else ("", run)
    last = at.history[-1] if at.history else {}
    step, steps = number(last.get("step")), number(last.get("steps"))
    if step is None:
        return Statement("This run has not got anywhere yet.", True) if not run.evaluation else None
    far = f"step {step:,.0f}" + (f" of {steps:,.0f} ({100 * step / steps:.0f} %)" if steps else "")
    who = f"the {label}" if label else "it"
    return Statement(f"This run is unfinished: {who} has recorded {far}. What follows is how it stands.", True)


# What it reaches


def accuracy(evaluation: Row) -> Statement | None:
    """Say how many images are classified correctly, with the interval that so many images leave."""
    found = counted(evaluation)
    if found is None:
        return None
    right, images = found
    low, high = wilson(right, images)
    split = evaluation.get("split", "test")
    return Statement(
        f"Of {images:,.0f} images of the {split} split, {_percent(right / images)} are classified correctly. With so "
        f"many images that may be anything from {_percent(low)} to {_percent(high)} (95 % interval of Wilson)."
    )


def metrics(evaluation: Row) -> Iterator[Statement]:
    """Say the first metric of a task other than classification."""
    known = {"images", "loss", "params", "macs", "latency_ms", "memory"}
    named = ((name, number(value)) for name, value in evaluation.items() if name not in known)
    first = next(((name, value) for name, value in named if value is not None), None)
    images = number(evaluation.get("images"))
    if first is not None and "top1" not in evaluation:
        of = f" ({images:,.0f} inputs)" if images else ""
        name, value = first
        told = _percent(value) if name in SHARES else f"{value:.4g}"
        called = SHARES.get(name, spaced(name))
        yield Statement(f"{called} on the {evaluation.get('split', 'test')} split: {told}{of}.")


def training(run: RunFolder) -> Statement | None:
    """Say what is known of a network that was not evaluated: its accuracy while it learned."""
    if run.evaluation or not run.result:
        return None
    last: Row = next((row for row in reversed(run.history) if row.get("phase") == "train"), {})
    for key, where in (("validation_accuracy", "on images held out from training"), ("accuracy", "on its own images")):
        if (value := number(last.get(key))) is not None:
            told = f"Its accuracy at the end of training is {_percent(value)} {where}"
            return Statement(f"{told}; it has not been measured on test images.", key == "accuracy")
    if (value := number(run.result.get("supernet_accuracy"))) is not None:
        return Statement(
            f"With the weights of the search, the architecture found has an accuracy of {_percent(value)}: that says "
            "little of what it reaches once it is trained."
        )
    return None


def best_trial(trials: Sequence[Trial]) -> Statement | None:
    """Say the best score of a search by trials, and the middle one."""
    if not trials:
        return None
    scores = sorted(trial.score for trial in trials)
    middle = (scores[(len(scores) - 1) // 2] + scores[len(scores) // 2]) / 2
    return Statement(f"The best of {len(trials):,} trials scores {scores[-1]:.5g}, the middle one {middle:.5g}.")


def shrunk(result: Row) -> Statement | None:
    """Say how much of a space is left."""
    members, before = number(result.get("members")), number(result.get("members_before"))
    if members is None or not before:
        return None
    return Statement(f"{_count(members)} of {_count(before)} members are left.")


def tuned(result: Row) -> Statement | None:
    """Say what a tuning reached, and how that compares with the best rival at the same cost."""
    reached = result.get("reached")
    loss, cost = number(result.get("validation_loss")), number(result.get("cost"))
    if not isinstance(reached, Mapping) or loss is None or cost is None:
        return None
    rivals = {
        name: found
        for name, one in reached.items()
        if isinstance(one, Mapping) and (found := number(one.get("at_equal_cost"))) is not None
    }
    told = f"The validation loss is {loss:.5g} after {cost:,.0f} passes."
    if not rivals:
        return Statement(told)
    name = min(rivals, key=lambda rival: rivals[rival])
    better = loss < rivals[name]
    return Statement(f"{told} The best rival, {name}, had {rivals[name]:.5g} at the same cost.", not better)


def adapted(result: Row) -> Statement | None:
    """Say what an adapted network has left of the score and of the costs of the original."""
    before, after = result.get("original"), result.get("adapted")
    if not isinstance(before, Mapping) or not isinstance(after, Mapping):
        return None
    score = next((str(key) for key in before if key not in ("macs", "params")), "")
    told = []
    for key, name in ((score, SHARES.get(score, spaced(score))), ("macs", "multiply-adds"), ("params", "parameters")):
        one, other = number(before.get(key)), number(after.get(key))
        if one is not None and other is not None:
            shown = [_percent(x) if key in SHARES else f"{x:.4g}" if key == score else _count(x) for x in (one, other)]
            told.append(f"{shown[1]} {name[:1].lower()}{name[1:]} instead of {shown[0]}")
    return Statement(f"The adapted network has {', '.join(told)}.") if told else None


# What stands beside it


def beside_baseline(run: RunFolder) -> Statement | None:
    """Say whether a network is better than what was trained beside it, or whether that may be chance."""
    beside = run.baseline
    own, other = counted(run.evaluation), counted(beside.evaluation) if beside else None
    if own is None or other is None or beside is None:
        return None
    difference = own[0] / own[1] - other[0] / other[1]
    low, high = newcombe(*own, *other)
    told = f"{100 * abs(difference):.2f} points [{100 * low:+.2f}, {100 * high:+.2f}]"
    reached = f"What was trained beside it by the same recipe has {_percent(other[0] / other[1])}"
    if low > 0:
        return Statement(f"{reached}: the network found is better by {told}.")
    if high < 0:
        return Statement(f"{reached}: the network found is WORSE by {told}.", True)
    return Statement(f"{reached}: the difference of {told} may be chance.", True)


def beside_members(standing: Standing | None) -> Statement | None:
    """Say where a table places what was found among all of its members."""
    if standing is None:
        return None
    return Statement(
        f"The table knows {standing.members:,} architectures: {100 * standing.below:.2f} % of them are worse than the "
        f"one found, which has {standing.value:.5g} ({standing.column}). The best has {standing.best:.5g}, a random "
        f"one {standing.mean:.5g} in the mean.",
        standing.below < 0.5,
    )


# Whether the search decided


def undecided(result: Row) -> Statement | None:
    """Say what a search itself says against its decision."""
    told = result.get("undecided")
    return Statement(f"Undecided: {told}.", True) if told else None


def disconnected(result: Row) -> Iterator[Statement]:
    """Say through which graphs nothing passes."""
    cut = result.get("disconnected")
    if isinstance(cut, list) and cut:
        names = " and ".join(map(str, cut))
        yield Statement(f"No information passes {names}: `none` cuts every path.", True)


def entropy(mixing: MixingHistory | None) -> Statement | None:
    """Say how undecided the edges were at the beginning and at the end: the mean over all of them."""
    if mixing is None:
        return None
    ends = [mean_entropy(mixing, at) for at in (0, -1)]
    first, last = ends
    if first is None or last is None:
        return None
    told = f"from {first:.2f} to {last:.2f}" if f"{first:.2f}" != f"{last:.2f}" else f"at {last:.2f}"
    verb = "went" if " to " in told else "stayed"
    return Statement(f"The entropy of the edges {verb} {told} (1: undecided, 0: decided).", last > 0.9)


def mean_entropy(mixing: MixingHistory, at: int) -> float | None:
    """Return the mean entropy of all edges that have a choice, at a position."""
    entropies = [entropy for choice in mixing.choices for entropy in edge_entropies(choice.frames[at])]
    return sum(entropies) / len(entropies) if entropies else None


def changed(rows: Sequence[Row]) -> Statement | None:
    """Say when the derived architecture last changed."""
    change = last_change(rows)
    if change is None or len(rows) < 2:
        return None
    key = "epoch" if number(change.get("epoch")) is not None else "step"
    at, end = number(change.get(key)), number(rows[-1].get(key))
    if at is None or end is None:
        return None
    return Statement(
        f"The derived architecture last changed at {key} {at:g} of {end:g}"
        + (": the search might go on changing it." if _is_late(rows) else "."),
        _is_late(rows),
    )


def _is_late(rows: Sequence[Row]) -> bool:
    """Return whether the derived architecture changed in the last tenth of the search."""
    change = last_change(rows)
    return change is not None and len(rows) > 1 and rows.index(change) > _LATE * (len(rows) - 1)


def closest(mixing: MixingHistory | None) -> Statement | None:
    """Say on how many edges the two heaviest operations are alike, and which two are nearest to each other."""
    if mixing is None:
        return None
    pairs = []
    for choice in mixing.choices:
        for edge, weights in zip(choice.edges, choice.frames[-1], strict=True):
            ranked = sorted(
                ((weight, op) for weight, op in zip(weights, choice.operations, strict=True) if weight is not None),
                key=lambda pair: -pair[0],
            )
            if len(ranked) > 1 and ranked[0][0] > 0:
                (first, one), (second, other) = ranked[:2]
                pairs.append((first - second, f"{choice.name} {edge}: {one} {first:.3f}, {other} {second:.3f}"))
    if not pairs:
        return None
    near = sum(distance < _NEAR for distance, _ in pairs)
    distance, where = min(pairs)
    told = f"On {near} of {len(pairs)} edges the two heaviest operations are less than {_NEAR} apart"
    return Statement(f"{told}; the nearest by {distance:.3f} ({where}).", 2 * near > len(pairs))


def last_best(trials: Sequence[Trial], result: Row) -> Statement | None:
    """Say at which trial the best was found, and by how much it leads."""
    if len(trials) < 2 or result.get("objectives"):
        return None
    best = max(trials, key=lambda trial: (trial.score, -trial.number))
    at = trials.index(best) + 1
    others = [trial.score for trial in trials if trial.notation != best.notation]
    lead = f", {best.score - max(others):.4g} before the next best architecture" if others else ""
    late = at > _LATE * len(trials)
    more = "; more trials might still find a better one" if late else ""
    return Statement(f"The best was found in trial {at:,} of {len(trials):,}{lead}{more}.", late)


def skips(rows: Sequence[Row]) -> Statement | None:
    """Say how many operations of the derived normal cell are skip connections."""
    value = number(rows[-1].get("skip_share")) if rows else None
    if value is None:
        return None
    return Statement(
        f"{100 * value:.0f} % of the operations of the derived cell are skip connections"
        + (": it has collapsed." if value > _SKIPS else "."),
        value > _SKIPS,
    )


def curvature(rows: Sequence[Row]) -> Statement | None:
    """Say how much the largest eigenvalue of the Hessian has grown since it was smallest."""
    values = [found for row in rows if (found := number(row.get("hessian_eigenvalue"))) is not None]
    if len(values) < 2 or min(values) <= 0:
        return None
    growth = values[-1] / min(values)
    return Statement(
        f"The largest eigenvalue of the Hessian is {growth:.2f} times as large as at its smallest"
        + (": a sign of collapse." if growth > _GROWTH else "."),
        growth > _GROWTH,
    )


def gap(rows: Sequence[Row]) -> Statement | None:
    """Say what the derivation costs."""
    value = number(rows[-1].get("discretization_gap")) if rows else None
    if value is None:
        return None
    return Statement(
        f"Without retraining, the derived network has {100 * abs(value):.1f} points {'less' if value >= 0 else 'more'} "
        "accuracy than the mixture.",
        value > _GAP,
    )


# What it cost


def times(run: RunFolder) -> Iterator[Statement]:
    """Say how long everything took, and on what machine."""
    machine = run.provenance.get("machine")
    told = machine if isinstance(machine, Mapping) else {}
    gpus = told.get("gpus")
    names = [str(each) for each in gpus] if isinstance(gpus, list) else []
    cpu = ", ".join([f"{told[key]}" for key in ("processor", "cpu") if told.get(key)][:1])
    on = "cpu" if str(run.config.get("device")) == "cpu" else ""
    where = " + ".join(names[:2]) if names and not on else cpu
    parts = []
    for label, one in stages_of(run):
        if (seconds := seconds_of(one)) is not None:
            verb = "took" if one.result else "has taken"
            parts.append(f"the {label} {verb} {' '.join(duration(seconds))}")
    spent = run.result.get("spent")
    spent = spent if isinstance(spent, Mapping) else {}
    known = {key: found for key in ("evaluations", "epochs") if (found := number(spent.get(key))) is not None}
    if parts:
        listed = " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1])))
        yield Statement(f"{listed[:1].upper()}{listed[1:]}{f' on {where}' if where else ''}.")
    if known:
        yield Statement(f"It spent {', '.join(f'{value:,.0f} {name}' for name, value in known.items())}.")


def stages_of(run: RunFolder) -> Iterator[tuple[str, RunFolder]]:
    """Yield what a run consists of, in the order of the work, with a name for it."""
    if run.original is not None:
        yield "training of the original", run.original
    for name, level in run.levels.items():
        yield name if name == "search" else f"level {name}", level
    if not levels_of(run.config):
        yield "search" if run.config.get("strategy") else "run", run
    if run.retrain is not None:
        yield "retraining", run.retrain


def seconds_of(run: RunFolder) -> float | None:
    """Return how long a run took; of one with levels, how long these did."""
    found = (number(source.get("seconds")) for source in (run.result, *reversed(run.history)))
    seconds = next((seconds for seconds in found if seconds is not None), None)
    inner = [one for level in run.levels.values() if (one := seconds_of(level)) is not None]
    return sum(inner) if seconds is None and inner else seconds


def network(run: RunFolder) -> Statement | None:
    """Say how large the network is."""
    sources = (run.evaluation, run.result)
    found = {
        key: next((value for source in sources if (value := number(source.get(key))) is not None), None)
        for key in ("params", "macs")
    }
    names = {"params": "parameters", "macs": "multiply-adds for an input"}
    told = [f"{_count(value)} {names[key]}" for key, value in found.items() if value is not None]
    return Statement(f"The network has {' and '.join(told)}.") if told else None


def latency(run: RunFolder) -> Statement | None:
    """Say how long one input takes, and under which conditions that was measured."""
    value = number(run.evaluation.get("latency_ms"))
    return None if value is None else Statement(f"One input takes {value:.3g} ms{conditions(run)}.")


def conditions(run: RunFolder) -> str:
    """Return the conditions of a latency in words."""
    parts = [str(run.evaluation[key]) for key in ("device", "precision") if run.evaluation.get(key)]
    return f", alone in its batch ({', '.join(parts)}; the median of 20 passes)" if parts else ""


def counted(evaluation: Row) -> tuple[float, float] | None:
    """Return how many images were classified correctly, and how many there are."""
    share, images = number(evaluation.get("top1")), number(evaluation.get("images"))
    if share is None or images is None or images < 1 or not 0 <= share <= 1:
        return None
    return round(share * images), images


def _percent(share: float) -> str:
    return " ".join(percent(share))


def _count(value: float) -> str:
    return "".join(amount(value)) if value < 1e12 else f"{value:.2e}"
