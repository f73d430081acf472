"""The processes that run a study's trials, and the one that holds the study.

Knows nothing of what a trial does. Only this process speaks to the database, so that SQLite is enough for any number of
workers on one machine. Several such processes, on one machine or many, may hold one study in a database server; together
they run as many trials as were asked for, no more.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Protocol

from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from safelight.errors import SafelightError
from training.tuning.space import Space
from training.tuning.study import REASON, RUN_ID, ask, beat, begun, mend
from training.tuning.worker import Ended, Job, Reported, Task, work

_POLL_S = 0.5
_ENDING_S = 10.0


class StudyFailed(SafelightError):
    """Every trial so far failed by itself: the next ones would, too."""

    title = "The study was given up"


class Book(Protocol):
    """Where the runs of trials are kept."""

    def begin(self, trial: FrozenTrial) -> str:
        """A new run for a trial; returns its id."""

    def end(self, run_id: str, trial: FrozenTrial, killed: bool) -> None:
        """The run is over."""

    def settle(self, trials: list[FrozenTrial]) -> None:
        """End the runs whose trials run no more."""


@dataclass(frozen=True)
class Plan:
    """target: how many trials there are to be in all. workers: processes at a time. threads: of torch, each. seed,
    startup_trials: of the sampler. folder: where trials have their folders. max_failures: so many failures without a
    success end the study. heartbeat_s, grace_s: see `open_storage`. preload: modules that workers need."""

    target: int
    workers: int
    threads: int
    seed: int
    startup_trials: int
    folder: Path
    max_failures: int
    heartbeat_s: int
    grace_s: int
    preload: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Worker:
    process: BaseProcess
    pipe: Connection
    trial: Trial
    run_id: str


def trial_folder(folder: Path, number: int) -> Path:
    """Where a trial keeps its files."""
    return folder / f"trial-{number}"


class Crew:
    """storage, study: see study.py. space: what varies. job: what a trial does. told: hears of each trial that ended."""

    def __init__(
        self,
        storage: RDBStorage,
        study: Study,
        space: Space,
        job: Job,
        book: Book,
        plan: Plan,
        told: Callable[[FrozenTrial], None],
    ) -> None:
        self._storage, self._study, self._space, self._job = storage, study, space, job
        self._book, self._plan, self._told = book, plan, told
        self._context = get_context("forkserver")  # imports once, then a process a trial in milliseconds
        self._context.set_forkserver_preload([__name__, *plan.preload])
        self._workers: list[_Worker] = []

    def run(self) -> None:
        """Run what is missing to `target` trials, wait for those that others run, and take over those that nobody runs.

        Raises StudyFailed. However it ends, no worker is left, and a trial that was cut off counts as killed.
        """
        cared = -float("inf")
        try:
            while True:
                if time.monotonic() - cared >= self._plan.heartbeat_s / 2:
                    self._care()
                    cared = time.monotonic()
                while len(self._workers) < self._plan.workers and self._start():
                    pass
                if not self._workers and self._over():
                    return
                if self._listen():
                    cared = -float("inf")
        finally:
            self._stop()
            self._book.settle(self._study.get_trials(deepcopy=False))

    def _care(self) -> None:
        """Heartbeats for our trials, and an end for those of which nothing is heard."""
        for worker in self._workers:
            beat(self._storage, self._study, worker.trial.number)
        mend(self._study, self._plan.grace_s)
        self._book.settle(self._study.get_trials(deepcopy=False))

    def _over(self) -> bool:
        trials = self._study.get_trials(deepcopy=False)
        running = any(trial.state == TrialState.RUNNING for trial in trials)
        if not running:  # what was killed last may want its place taken
            mend(self._study, self._plan.grace_s)
        return not running and len(begun(self._study.get_trials(deepcopy=False))) >= self._plan.target

    def _start(self) -> bool:
        """A worker for the next trial; False when there is none to start."""
        plan = self._plan
        trial = ask(self._storage, self._study, plan.target, self._space, plan.seed, plan.startup_trials)
        if trial is None:
            return False
        run_id = self._book.begin(self._frozen(trial.number))
        trial.set_user_attr(RUN_ID, run_id)
        here, there = self._context.Pipe()
        task = Task(trial.number, trial.params, trial_folder(plan.folder, trial.number), run_id, plan.threads)
        process = self._context.Process(target=work, args=(there, self._job, task), name=f"trial-{trial.number}")
        process.start()
        there.close()
        self._workers.append(_Worker(process, here, trial, run_id))
        return True

    def _listen(self) -> bool:
        """Wait a moment for what workers say; whether one of them was killed."""
        pipes = {worker.pipe: worker for worker in self._workers}
        if not pipes:
            time.sleep(_POLL_S)
        killed = False
        for pipe in wait(list(pipes), _POLL_S) if pipes else []:
            worker = pipes[pipe]  # type: ignore[index]
            try:
                said = worker.pipe.recv()
                if isinstance(said, Reported):
                    worker.trial.report(said.value, said.step)
                    worker.pipe.send(not worker.trial.should_prune())
                else:
                    self._end(worker, said)
            except (EOFError, BrokenPipeError, ConnectionResetError, UpdateFinishedTrialError):
                killed = True  # by somebody, or given up by another process that did not hear of it in time
                self._end(worker, None)
        return killed

    def _end(self, worker: _Worker, said: Ended | None) -> None:
        """Write down how a trial ended; None: its process was killed."""
        if said is not None and said.reason is not None:
            worker.trial.set_user_attr(REASON, said.reason)
        self._workers.remove(worker)
        state = {None: TrialState.FAIL, "failed": TrialState.FAIL, "pruned": TrialState.PRUNED}.get(
            said.state if said else None, TrialState.COMPLETE
        )
        values = said.value if said is not None and state == TrialState.COMPLETE else None
        self._study.tell(worker.trial.number, values, state, skip_if_finished=True)
        if said is None:
            worker.process.kill()
        _wait_for(worker.process)
        worker.pipe.close()
        ended = self._frozen(worker.trial.number)
        self._book.end(worker.run_id, ended, killed=said is None)
        self._told(ended)
        self._check_failures()

    def _check_failures(self) -> None:
        ended = [trial for trial in self._study.get_trials(deepcopy=False) if trial.state.is_finished()]
        failed = [trial for trial in ended if trial.state == TrialState.FAIL and REASON in trial.user_attrs]
        good = [trial for trial in ended if trial.state != TrialState.FAIL]
        if not good and len(failed) >= self._plan.max_failures:
            raise StudyFailed(
                f"{len(failed)} trials failed and none succeeded. Their logs are in {self._plan.folder}. "
                f"The last: {failed[-1].user_attrs[REASON]}"
            )

    def _frozen(self, number: int) -> FrozenTrial:
        return self._study.get_trials(deepcopy=False)[number]

    def _stop(self) -> None:
        """End whoever still works; their trials count as killed."""
        for worker in self._workers:
            worker.process.terminate()
        for worker in list(self._workers):
            self._workers.remove(worker)
            _wait_for(worker.process)
            self._study.tell(worker.trial.number, state=TrialState.FAIL, skip_if_finished=True)
            self._book.end(worker.run_id, self._frozen(worker.trial.number), killed=True)


def _wait_for(process: BaseProcess) -> None:
    """Until it is gone, which it has a while to see to itself."""
    process.join(_ENDING_S)
    if process.is_alive():
        process.kill()
        process.join()
