"""The contract of tasks: the library's keep it, a user's do, and every fault is named."""

import pytest

from ramify.errors import ConfigurationError
from ramify.spaces import NATSBenchSize
from ramify.tasks import Classification, Regression
from ramify.testing import ContractError, check_task
from tasks.toys import Hardest, Segmentation, Silent, Unnormed
from testing.faulty_tasks import FAULTS, Ordinal


@pytest.mark.parametrize(
    "task",
    [Classification, Regression, Classification(class_weights={"3": 2.0}), Regression(of="huber"), Ordinal],
    ids=str,
)
def test_a_good_task_in_one_line(task):
    check_task(task)


@pytest.mark.parametrize("task", [Segmentation, Hardest])
def test_a_task_with_a_head_over_stages_and_data_of_its_own(task):
    check_task(task, Unnormed)


def test_networks_of_another_space():
    check_task(Classification, NATSBenchSize(widths=(2, 3, 5)))


@pytest.mark.parametrize("kind", FAULTS, ids=lambda kind: kind.__name__)
def test_a_fault_is_named(kind):
    with pytest.raises(ContractError) as raised:
        check_task(kind)
    message = str(raised.value)
    assert message.startswith(f"{kind.__name__}: a task ") and "; mend it: " in message
    assert FAULTS[kind] in message


def test_a_loss_whose_weight_is_not_known_beforehand():
    with pytest.raises(ContractError, match="Silent: a task knows the weight of a loss before there is an output"):
        check_task(Silent, Unnormed)


def test_what_cannot_be_checked_is_refused():
    with pytest.raises(ConfigurationError, match="a task is a subclass of Task"):
        check_task(NATSBenchSize)
