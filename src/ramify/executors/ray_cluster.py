"""Jobs on a Ray cluster (Moritz et al., Ray: A Distributed Framework for Emerging AI Applications, OSDI 2018).

Every worker is an actor. What it needs lies once in the cluster's object store and is fetched by each of them; a job
is small. Ray restarts nothing and repeats nothing here: the ledger does, so that every job is recorded once.
"""

# No postponed annotations: the command line reads the types of the fields.

import contextlib
import os
import pickle
import platform
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ramify import __version__, imports
from ramify.errors import ConfigurationError, MissingExtraError, RunError
from ramify.executors.base import (
    Deadline,
    Done,
    Executor,
    Ledger,
    Outcome,
    Setup,
    Work,
    Workers,
    WorkersElsewhere,
    attempt,
    log,
)
from ramify.interruption import request

LOCAL = "local"
"""The address of a cluster that is started here."""


@dataclass(frozen=True, kw_only=True)
class RayCluster(WorkersElsewhere, Executor):
    """Workers on the machines of a Ray cluster. One that dies is replaced; a machine that is lost is done without.

    All machines need the same versions of Ramify, PyTorch, Ray and Python.

    Args:
        address: Of the cluster, as `ray start` prints it, or `local` for a new one of this machine alone; when None
            what the environment variable RAY_ADDRESS says, the cluster that runs on this machine, or else a new one.
        workers: How many; when None as many as the cluster has room for. Each takes `threads_per_evaluation`
            processors, and on GPUs a GPU of its own.
        patience: Seconds without a single worker after which the search gives up.
    """

    short = "ray"

    address: str | None = None
    workers: int | None = None
    patience: float = 120.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.workers is not None and self.workers < 1:
            raise ConfigurationError(f"`workers` must be at least 1, got {self.workers}")
        if not self.patience > 0:
            raise ConfigurationError(f"`patience` must be above 0 seconds, got {self.patience}")

    def check(self, device: torch.device) -> None:
        """Connect to the cluster.

        Raises:
            MissingExtraError: If Ray is not installed.
            ConfigurationError: If there is no cluster at the address, or it has no GPU where one is needed.
        """
        self._room(_connected(self.address), device)

    def _room(self, ray: Any, device: torch.device | None) -> tuple[int, dict[str, float]]:
        """Return how many workers there can be, and what each takes."""
        takes: dict[str, float] = {"num_cpus": self.threads, "num_gpus": 0}
        there = ray.cluster_resources()
        room = int(there.get("CPU", 0) // self.threads)
        if device is not None and device.type == "cuda":
            takes["num_gpus"] = 1
            room = min(room, int(there.get("GPU", 0)))
        if room < 1:
            raise ConfigurationError(
                f"the Ray cluster has {there.get('CPU', 0):g} processors and {there.get('GPU', 0):g} GPUs, a worker "
                f"needs {takes['num_cpus']} and {takes['num_gpus']}"
            )
        return self.workers or room, takes

    def start(
        self,
        begin: Callable[..., Work],
        pack: Callable[[], Sequence[Any]],
        *,
        here: Work | None = None,
        device: torch.device | None = None,
    ) -> Workers:
        """Return the workers; they start at once."""
        ray = _connected(self.address)
        workers, takes = self._room(ray, device)
        try:
            setup = ray.put(ray.cloudpickle.dumps(Setup(begin, tuple(pack()), self.threads)))
        except (TypeError, AttributeError, ValueError, pickle.PicklingError) as error:
            raise ConfigurationError(
                f"what jobs need cannot be sent to the cluster ({' '.join(str(error).split())[:200]}); run them in "
                "this process"
            ) from None
        actor = ray.remote(_Server).options(**takes, max_restarts=0, max_task_retries=0)
        return _Actors(ray, setup, actor, workers, self)


_ours = False
"""Whether the connection to the cluster was made here, and so ends here."""


def _connected(address: str | None) -> Any:
    """Return the package `ray`, connected."""
    global _ours
    try:
        import ray
    except ModuleNotFoundError:
        raise MissingExtraError("ray", "ray", "the executor RayCluster") from None
    if ray.is_initialized():
        return ray
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to anybody
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    main = threading.current_thread() is threading.main_thread()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)} if main else {}
    try:
        _connect(ray, address)
    except (ConnectionError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigurationError(
            f"there is no Ray cluster at {address!r} ({reason}); `ray start --head` starts one and prints its address"
        ) from None
    finally:
        for number, handler in handlers.items():  # Ray sets its own, and a run wants to stop at a safe point
            signal.signal(number, handler)
    _ours = True
    return ray


def _connect(ray: Any, address: str | None) -> None:
    """Connect to the cluster at the address, else to the one that runs here, else start one that nobody else sees."""
    quiet = {"log_to_driver": False, "configure_logging": False}
    wanted = address or os.environ.get("RAY_ADDRESS") or "auto"
    if wanted != LOCAL:
        try:
            ray.init(address=wanted, **quiet)
            return
        except ConnectionError:
            if wanted != "auto":
                raise
    # What Ray does of its own accord on systems that ask about every open port: all of it on the loopback address.
    os.environ[ray._private.ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR] = "0"
    ray._private.ray_constants.ENABLE_RAY_CLUSTER = False
    ray.init(address=LOCAL, include_dashboard=False, **quiet)


class _Server:
    """What runs in a process of the cluster.

    Args:
        path: Where the process that starts the workers finds modules, for those that are no installed package.
        imported: What that process has imported for its user.
    """

    work: Work

    def __init__(self, path: Sequence[str], imported: Sequence[imports.Imported]) -> None:
        self.imported = imported
        sys.path += [entry for entry in path if entry not in sys.path]

    def prepare(self, packed: bytes) -> "_Greeting":
        """Get ready and return how that ended, with all that must be known of this worker."""
        import ray

        signal.signal(signal.SIGINT, signal.SIG_IGN)

        def begun(packed: bytes) -> Work:
            imports.repeat(self.imported)  # before anything of the user's is unpickled
            setup: Setup = pickle.loads(packed)  # noqa: S301 -- of the process that starts the workers
            return setup.work()

        prepared = attempt(begun, packed)
        if not prepared.error:
            self.work = prepared.value
        outcome = Outcome(error=prepared.error, details=prepared.details)
        return _Greeting(outcome, _versions(), _processor(), ray.get_runtime_context().get_node_id(), os.getpid())

    def do(self, job: Any) -> Outcome:
        return attempt(self.work, job)


@dataclass(frozen=True)
class _Greeting:
    """What a worker says when it is ready, or cannot be.

    Args:
        outcome: How getting ready ended.
        versions: That must agree with those here.
        processor: What else decides the bits.
        node: Of the cluster, where it runs.
        process: Its number there.
    """

    outcome: Outcome
    versions: dict[str, str]
    processor: str
    node: str
    process: int


def _end_process(number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(number, signal.SIGKILL)


def _versions() -> dict[str, str]:
    return {"Ramify": __version__, "PyTorch": str(torch.__version__)}


def _processor() -> str:
    """Return what decides, beside settings and versions, which bits an operation gives."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name(0)
    return f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"


@dataclass(eq=False)
class _Worker:
    """An actor, seen from here."""

    number: int
    actor: Any
    deadline: Deadline
    ready: bool = False
    job: int | None = None
    greeting: _Greeting | None = None


class _Actors(Workers):
    def __init__(self, ray: Any, setup: Any, actor: Any, workers: int, settings: RayCluster) -> None:
        self.ray, self.setup, self.actor, self.settings = ray, setup, actor, settings
        self.ledger = Ledger(settings.retries)
        self.ahead = 2 * workers
        self._count = workers
        self._workers: list[_Worker] = []
        self._expected: dict[Any, _Worker] = {}
        self._done: deque[Done] = deque()
        self._started = self._stillborn = 0
        self._processors: set[str] = set()
        for _ in range(workers):
            self._start()

    @property
    def ready(self) -> int:  # type: ignore[override]
        return sum(worker.ready for worker in self._workers)

    def submit(self, number: int, job: Any) -> None:
        self.ledger.add(number, job)
        self._assign()

    def next(self) -> Done:
        since = time.monotonic()
        while not self._done:
            if not self.ledger:
                raise ValueError("there is no job to wait for")
            self._assign()
            with request.ends_wait():
                answered, _ = self.ray.wait(list(self._expected), num_returns=1, timeout=1.0)
            for answer in answered:
                self._hear(answer)
            for worker in [worker for worker in self._workers if worker.deadline.left <= 0]:
                self._end(worker)
            if any(worker.ready for worker in self._workers):
                since = time.monotonic()
            elif time.monotonic() - since > self.settings.patience:
                raise RunError(
                    f"the Ray cluster has given no worker for {self.settings.patience:g} s; `ray status` says what is "
                    "free, and the same command continues"
                )
        return self._done.popleft()

    def _start(self) -> None:
        self._started += 1
        worker = _Worker(
            self._started, self.actor.remote(list(sys.path), imports.traveling()), Deadline(self.settings.timeout)
        )
        self._workers.append(worker)
        self._expected[worker.actor.prepare.remote(self.setup)] = worker

    def _assign(self) -> None:
        ready = [worker for worker in self._workers if worker.ready]
        for worker in ready:
            if worker.job is None:
                job = self.ledger.take(worker.number, others=len(ready) > 1)
                if job is not None:
                    worker.job = job[0]
                    worker.deadline.begin()
                    self._expected[worker.actor.do.remote(job[1])] = worker

    def _hear(self, answer: Any) -> None:
        from ray.exceptions import RayError, RayTaskError

        worker = self._expected.pop(answer)
        try:
            outcome = self.ray.get(answer)
        except RayTaskError as error:  # what was sent, or what came back, could not be read
            reason = " ".join(str(error.cause).split())[:200]
            if not worker.ready:
                raise RunError(f"no worker can be set up: {reason}") from None
            outcome = Outcome(error=reason)
        except RayError as error:
            self._bury(worker, type(error).__name__)
            return
        worker.deadline.clear()
        if not worker.ready:
            self._greet(worker, outcome)
        elif worker.job is not None:
            number, worker.job = worker.job, None
            self._settle(number, outcome, worker)

    def _greet(self, worker: _Worker, greeting: _Greeting) -> None:
        for name, here in _versions().items():
            if greeting.versions[name] != here:
                raise RunError(
                    f"a worker has {name} {greeting.versions[name]}, and here is {here}; they must be the same"
                )
        if greeting.outcome.error:
            error = RunError(f"no worker can be set up: {greeting.outcome.error}")
            if greeting.outcome.details:
                error.add_note(greeting.outcome.details)
            raise error
        worker.greeting, processor = greeting, greeting.processor
        if self._processors and processor not in self._processors:
            log.warning(
                "workers compute on %s: such a result is repeatable to the bit only where every job lands on the same",
                " and on ".join(sorted({*self._processors, processor})),
            )
        self._processors.add(processor)
        worker.ready, self._stillborn = True, 0

    def _settle(self, number: int, outcome: Outcome, worker: _Worker) -> None:
        done = self.ledger.settle(number, outcome, worker.number)
        if done is not None:
            self._done.append(done)

    def _end(self, worker: _Worker) -> None:
        """End a worker that does not answer. A stopped process hears nothing of Ray, and would keep its processors."""
        self._expected = {answer: other for answer, other in self._expected.items() if other is not worker}
        if worker.greeting is not None:
            from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

            there = NodeAffinitySchedulingStrategy(worker.greeting.node, soft=False)
            ending = self.ray.remote(_end_process).options(num_cpus=0, scheduling_strategy=there, max_retries=0)
            self.ray.wait([ending.remote(worker.greeting.process)], timeout=10.0)
        self._bury(worker, worker.deadline.missed)

    def _bury(self, worker: _Worker, how: str) -> None:
        """Give the job of a worker that died to another, and ask for a new one; the cluster may have no room for it."""
        self._workers.remove(worker)
        self.ray.kill(worker.actor)  # if it can only not be reached, nobody will listen to it
        if worker.job is not None:
            self._settle(worker.job, Outcome(error=f"its worker has died ({how})", died=True), worker)
        elif not worker.ready:
            self._stillborn += 1
            if self._stillborn > self.settings.retries * self._count:
                raise RunError(f"workers die before they are ready ({how}), perhaps for lack of memory")
            log.warning("a worker has died before it was ready (%s); another one is started", how)
        self._start()

    def close(self) -> None:
        global _ours
        for worker in self._workers:
            self.ray.kill(worker.actor)
        self._workers.clear()
        self._expected.clear()
        if _ours:
            self.ray.shutdown()
            _ours = False
