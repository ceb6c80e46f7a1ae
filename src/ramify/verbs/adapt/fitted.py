"""Limits of an adaptation: what they come to, widths that are fine enough, and the strategy that keeps them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, cast

from ramify.architecture import Architecture
from ramify.costs import Costs, Inputs, Networks
from ramify.costs.filling import Filling
from ramify.costs.record import is_repeatable
from ramify.errors import ConfigurationError
from ramify.run import RunFolder
from ramify.run.opening import bound, loaded
from ramify.spaces import AnyNetwork
from ramify.strategies import SPOS, Strategy
from ramify.tasks import Task

if TYPE_CHECKING:
    from lightning_fabric import Fabric

TOLERANCE = 0.02
"""Share of the tightest limit that may be left over."""

TRAINED = 0.75
"""Share of the tightest limit that members use at least which are trained."""

GRIDS: tuple[dict[str, Any], ...] = (
    {},
    {"widths": tuple(n / 8 for n in range(1, 9)), "multiple": 4},
    {"widths": tuple(n / 16 for n in range(1, 17)), "multiple": 1},
    {"widths": tuple(n / 64 for n in range(1, 65)), "multiple": 1},
)
"""Widths where none are named: the first of these in which enough members meet the limits, or else the last."""

VARIETY = 24
"""Members that are enough, of those that 32 uniform draws are moved to: with fewer there is little to search."""


@dataclass(frozen=True)
class Fitted:
    """A network whose members meet limits.

    Args:
        space: Of its members.
        task: Bound to its data.
        most: Cost → the most that is allowed.
        largest: The member that is the network.
        costs: Of members.
    """

    space: AnyNetwork
    task: Task
    most: Mapping[str, float]
    largest: Architecture
    costs: Costs


def fitted_to(
    network: Any,
    elastic: Mapping[str, Any],
    limits: Mapping[str, float],
    *,
    data: Any,
    fabric: Fabric,
    task: Task | None = None,
    folder: RunFolder | None = None,
) -> Fitted:
    """Return a network with widths that are fine enough for its limits.

    Args:
        network: As `adapt` takes it.
        elastic: Arguments of `AnyNetwork`.
        limits: As they were given.
        data: What is learned from.
        fabric: Of the run.
        task: What is learned.
        folder: Of the run, which may be one that is continued.

    Raises:
        ConfigurationError: If no member meets them, with the range of what members cost.
    """
    if isinstance(network, AnyNetwork) and elastic:
        raise ConfigurationError(f"an AnyNetwork has its own {', '.join(elastic)}; leave them out")
    if data is not None and not isinstance(data, Task):
        targets = getattr(data, "targets", "classes") if task is None else task.targets
        data = loaded(data, fabric, quiet=True, targets=targets)
    size = (task if data is None else data).input_size  # type: ignore[union-attr]
    grids = GRIDS if "widths" not in elastic and not isinstance(network, AnyNetwork) else ({},)
    fitted: Fitted | None = None
    for number, grid in enumerate(grids, start=1):
        space = network
        if not isinstance(network, AnyNetwork):
            space = AnyNetwork(network, **{"input_size": size, "order": "given", **elastic, **grid})
        if len(space.knobs) < len(space.decisions):
            raise ConfigurationError(
                f"{space.title} has choice points, so there is no network yet that could be adapted; `search` decides "
                "them"
            )
        learned = bound(task, data, fabric, space, quiet=number > 1)
        networks = Networks(space, Inputs(learned.shape, learned.input_size), None, device=fabric.device)
        costs = Costs(networks, list(limits))
        largest = space.architecture([max(decision.choices) for decision in space.decisions])
        most = _absolute(limits, costs(largest), {} if folder is None else _measured_before(folder))
        filling = Filling(space, costs, most, 1 - TOLERANCE if all(map(is_repeatable, most)) else 0)
        try:
            _check_range(space, costs, most, largest)
            filling.check()
        except ConfigurationError:
            if number == len(grids) and fitted is None:
                raise
            continue
        fitted = Fitted(space, learned, most, largest, costs)
        if not filling.share or filling.fills(largest) or filling.variety() >= VARIETY:
            break
    assert fitted is not None
    return fitted


def _absolute(
    limits: Mapping[str, float], whole: Mapping[str, float], measured: Mapping[str, float]
) -> dict[str, float]:
    """Return limits with shares of what the whole network costs as costs.

    Args:
        limits: As they were given.
        whole: What the network costs.
        measured: The limits of a run that is continued, which hold where a cost is measured on a device.
    """
    most = {name: limit * whole[name] if limit <= 1 else float(limit) for name, limit in limits.items()}
    return {name: limit if is_repeatable(name) else measured.get(name, limit) for name, limit in most.items()}


def _measured_before(folder: RunFolder) -> Mapping[str, float]:
    """Return the limits of the search of a run that is continued, none of a new one."""
    searched = RunFolder(folder.path / "search")
    if not (searched.path / "config.yaml").exists():
        return {}
    limits: Mapping[str, float] = searched.section("strategy").get("init_args", {}).get("limits", {})
    return limits


def _check_range(space: AnyNetwork, costs: Costs, most: Mapping[str, float], largest: Architecture) -> None:
    """Raise `ConfigurationError` if a limit on what is counted is out of reach."""
    counted = [name for name in most if is_repeatable(name)]
    if not counted:
        return
    smallest = space.architecture([min(decision.choices) for decision in space.decisions])
    low, high = costs(smallest), costs(largest)
    for name in counted:
        if not low[name] <= most[name] <= high[name]:
            raise ConfigurationError(
                f"limits.{name} {most[name]:,.10g}: members of {space.title} have {low[name]:,.10g} to "
                f"{high[name]:,.10g} {name}"
            )


def limited(strategy: Strategy, fitted: Fitted) -> Strategy:
    """Return a strategy whose results are within limits and use them, as far as it can.

    The random members of a sandwich are drawn near the tightest limit.

    Raises:
        ConfigurationError: If it knows no limits, or has some.
    """
    settings, name = {item.name for item in fields(cast(Any, strategy))}, type(strategy).__name__
    if "limits" not in settings:
        raise ConfigurationError(f"{name} knows no limits, so it cannot adapt a network; take SPOS, or leave it out")
    if cast(Any, strategy).limits:
        raise ConfigurationError(f"{name} has limits of its own: name them as the `limits` of the adaptation")
    changes: dict[str, Any] = {"limits": dict(fitted.most)}
    if all(map(is_repeatable, fitted.most)):
        whole = fitted.costs(fitted.largest)
        tightest = min(fitted.most, key=lambda name: fitted.most[name] / whole[name])
        changes |= {"fill": 1 - TOLERANCE} if "fill" in settings else {}
        if isinstance(strategy, SPOS) and strategy.paths == "sandwich" and not strategy.bins:
            most = fitted.most[tightest]
            changes |= {"bins": (TRAINED * most, most), "bins_of": tightest}
    return cast(Strategy, replace(cast(Any, strategy), **changes))
