"""A Ray cluster of two nodes on this machine: a population is evaluated, and what is lost on the way is done again."""

import logging
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
import torch
from small_evaluators import Erring
from small_work import Adder

from listening import only_loopback
from ramify.cli import main
from ramify.errors import ConfigurationError, MissingExtraError, RunError
from ramify.evaluators import InheritedWeights
from ramify.executors import RayCluster, ray_cluster
from ramify.strategies import RandomSearch, RegularizedEvolution
from small_runs import SPACES, differences, finish, restored, saved, work_of

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def ray():
    return pytest.importorskip("ray")


@pytest.fixture(scope="module")
def cluster(ray):
    from ray.cluster_utils import Cluster

    started = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    started.add_node(num_cpus=1)
    ray.init(address=started.address, log_to_driver=False, configure_logging=False)
    yield started
    ray.shutdown()
    started.shutdown()


def session_of(strategy, executor=None, seed=0):
    space, layout = SPACES["nasbench201"]
    return strategy.session(space, work_of(layout, executor=executor, seed=seed))


def deadly(folder, seed=0, **settings):
    """Return an evaluator that kills its worker at one member and fails at another, and where the former is noted."""
    drawn = session_of(RandomSearch(evaluations=20, evaluator=Erring(folder=str(folder))), seed=seed)
    finish(drawn)
    notations = list(dict.fromkeys(drawn.space.format(trial.architecture) for trial in drawn.trials))
    (folder / "evaluated").unlink()
    mark = folder / f"{notations[3].replace('|', '_')}-0"
    evaluator = Erring(folder=str(folder), deadly={notations[3]: 1}, raising=(notations[5],), **settings)
    return evaluator, mark, notations[5]


def assert_the_same(strategy, evaluator, mark, failing, executor, folder):
    """Assert that a search on the cluster is that of this process, with every evaluation in the record once."""
    mark.touch()  # nothing dies in this process
    here = session_of(strategy)
    expected = finish(here)
    mark.unlink()
    (folder / "evaluated").unlink()
    there = session_of(strategy, executor)
    assert finish(there) == expected
    assert not differences(restored(saved(there)), restored(saved(here)))
    assert mark.exists()
    return Counter(line.rpartition(" ")[0] for line in (folder / "evaluated").read_text().splitlines())


def test_a_population_is_evaluated_on_two_nodes_and_a_killed_worker_loses_nothing(cluster, tmp_path):
    executor = RayCluster(address=cluster.address)
    executor.check(CPU)
    assert {node["NodeManagerAddress"] != "" for node in ray_cluster._connected(None).nodes()} == {True}
    evaluator, mark, failing = deadly(tmp_path)
    strategy = RandomSearch(evaluations=20, evaluator=evaluator)
    counts = assert_the_same(strategy, evaluator, mark, failing, executor, tmp_path)
    assert {notation: n for notation, n in counts.items() if n > 1} == {failing: 3}
    weights = RegularizedEvolution(evaluations=6, population=3, evaluator=InheritedWeights(epochs=1, batch_size=16))
    here, there = session_of(weights), session_of(weights, executor)
    assert finish(here) == finish(there)
    with pytest.raises(
        ConfigurationError, match=r"the Ray cluster has 2 processors and 0 GPUs, a worker needs 3 and 0"
    ):
        RayCluster(threads_per_evaluation=3).check(CPU)
    with pytest.raises(ConfigurationError, match="a worker needs 1 and 1"):
        RayCluster().check(torch.device("cuda"))


@pytest.mark.slow
def test_a_stopped_worker_costs_its_time_limit_and_nothing_else(cluster, tmp_path, caplog):
    jobs = [1, "stopped 1 SIGSTOP", 2]
    executor = RayCluster(address=cluster.address, workers=2, timeout=3.0)
    with (
        caplog.at_level(logging.WARNING, "ramify.executors"),
        executor.start(Adder, lambda: (100, str(tmp_path))) as workers,
    ):
        for number, job in enumerate(jobs):
            workers.submit(number, job)
        found = {done.number: done for done in (workers.next() for _ in jobs)}
    assert [found[number].value["sum"] for number in range(3)] == [101, len(jobs[1]), 102]
    assert "job 1: its worker has died (no answer within 3 s); it is tried again" in caplog.text


ALONE = """
import os
from listening import addresses
from ramify.executors import RayCluster
from small_work import Adder
with RayCluster(address="local", workers=1).start(Adder, lambda: (1,)) as workers:
    workers.submit(0, 1)
    workers.next()
    print(*addresses({os.getpid()}), sep="\\n")
"""


@pytest.mark.slow
def test_a_cluster_of_our_own_listens_on_the_loopback_address_alone(ray):
    tests = Path(__file__).parents[1]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment["PYTHONPATH"] = os.pathsep.join([str(tests), str(tests / "executors"), *sys.path])
    ended = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, text=True, env=environment)
    found = set(ended.stdout.split())
    assert only_loopback(found), (found, ended.stderr[-1000:])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_node_removed_in_a_search_loses_nothing(ray, cluster, tmp_path, seed, caplog):
    node = cluster.add_node(num_cpus=2)
    cluster.wait_for_nodes()
    evaluator, mark, _ = deadly(tmp_path, slow=0.05)
    strategy = RandomSearch(evaluations=60, evaluator=evaluator)
    removed = []

    def remove():
        while not (tmp_path / "evaluated").exists() or len((tmp_path / "evaluated").read_text().splitlines()) < 10:
            time.sleep(0.01)
        time.sleep(0.1 * seed)
        cluster.remove_node(node, allow_graceful=seed == 0)
        removed.append(node)

    mark.touch()
    here = session_of(strategy)
    expected = finish(here)
    mark.unlink()
    (tmp_path / "evaluated").unlink()
    remover = threading.Thread(target=remove)
    remover.start()
    with caplog.at_level(logging.WARNING, "ramify.executors"):
        there = session_of(strategy, RayCluster(address=cluster.address, workers=4))
        rows = finish(there)
    remover.join()
    assert removed
    assert rows == expected
    assert not differences(restored(saved(there)), restored(saved(here)))
    assert "has died" in caplog.text


@pytest.mark.slow
def test_a_job_that_kills_every_worker_is_handed_back(cluster, tmp_path):
    executor = RayCluster(address=cluster.address, workers=2, retries=1)
    with executor.start(Adder, lambda: (100, str(tmp_path)), device=CPU) as workers:
        for number, job in enumerate([1, "always 9", 2, "raise"]):
            workers.submit(number, job)
        found = {done.number: done for done in (workers.next() for _ in range(4))}
    assert [found[0].value["sum"], found[2].value["sum"]] == [101, 102]
    assert found[1].died
    assert found[1].error.startswith("its worker has died (")
    assert found[1].error.endswith("(2 tries)")
    assert found[3].error == "ValueError: this job is wrong (2 tries)"


@pytest.mark.slow
def test_a_cluster_without_room_is_reported(ray, cluster):
    class Blocker:
        def is_there(self):
            return True

    executor = RayCluster(address=cluster.address, workers=1, patience=3)
    executor.check(CPU)
    taken = [ray.remote(Blocker).options(num_cpus=1).remote() for _ in range(int(ray.cluster_resources()["CPU"]))]
    assert all(ray.get([blocker.is_there.remote() for blocker in taken]))
    with executor.start(Adder, lambda: (1,), device=CPU) as workers:
        workers.submit(0, 1)
        with pytest.raises(RunError, match="the Ray cluster has given no worker for 3 s"):
            workers.next()


def test_without_ray_the_extra_is_named(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(
        MissingExtraError, match=r"the executor RayCluster needs the package `ray`: pip install 'ramify"
    ):
        RayCluster().check(CPU)
    words = ["search", "--space", "NASBench201", "--strategy", "RandomSearch", "--data", "digits", "--executor", "ray"]
    words += ["--network.channels", "4", "--network.cells", "1", "--out", str(tmp_path / "run")]
    assert main(words) == 2
    assert capsys.readouterr().err.endswith("needs the package `ray`: pip install 'ramify[ray]'\n")
    assert not (tmp_path / "run" / "config.yaml").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"workers": 0}, "`workers` must be at least 1, got 0"),
        ({"patience": 0}, "`patience` must be above 0 seconds, got 0"),
    ],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(ConfigurationError, match=message):
        RayCluster(**settings)


def test_no_cluster_at_the_address(monkeypatch):
    ray = pytest.importorskip("ray")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", _refuse)
    with pytest.raises(
        ConfigurationError, match=r"there is no Ray cluster at '192.0.2.1:1' \(nobody answers\); `ray sta"
    ):
        RayCluster(address="192.0.2.1:1").check(CPU)


def _refuse(**options):
    raise ConnectionError("nobody answers")
