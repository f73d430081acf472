"""MLflow's side of a study: one run for the study, found again when it is taken up again, and below it one for each trial.

Knows nothing of how trials are run. Runs end FINISHED (complete or pruned: the tag `state` says which), FAILED, or KILLED.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from optuna.trial import FrozenTrial, TrialState

from training.tuning.study import REASON

PARENT = "mlflow.parentRunId"
STUDY = "study"
TRIAL = "trial"

_ENDINGS = {TrialState.COMPLETE: "FINISHED", TrialState.PRUNED: "FINISHED", TrialState.FAIL: "FAILED"}


class StudyRuns:
    """The runs of one study.

    experiment: MLflow's; artifacts: where a new one keeps its files. study: the run's name and tag. tags: further ones of
    every run. figure: what the trials' values are
    called.
    """

    def __init__(
        self,
        tracking_uri: str,
        experiment: str,
        study: str,
        tags: Mapping[str, str],
        figure: str,
        artifacts: str | None = None,
    ) -> None:
        self._client = MlflowClient(tracking_uri)
        found = self._client.get_experiment_by_name(experiment)
        self._experiment = found.experiment_id if found else self._client.create_experiment(experiment, artifacts)
        self._study, self._tags, self._figure = study, {**tags, STUDY: study}, figure
        self._parent = self._open()

    def begin(self, trial: FrozenTrial) -> str:
        """A run for a trial, with its parameters. Returns its id."""
        again = {"retry_of": str(trial.system_attrs["failed_trial"])} if "failed_trial" in trial.system_attrs else {}
        tags = {**self._tags, PARENT: self._parent, TRIAL: str(trial.number), **again}
        name = f"{self._study}-{trial.number}"
        run_id = str(self._client.create_run(self._experiment, run_name=name, tags=tags).info.run_id)
        for key, value in trial.params.items():
            self._client.log_param(run_id, key, value)
        return run_id

    def end(self, run_id: str, trial: FrozenTrial, killed: bool) -> None:
        """The run is over, as the trial is."""
        self._client.set_tag(run_id, "state", "KILLED" if killed else trial.state.name)
        if REASON in trial.user_attrs:
            self._client.set_tag(run_id, REASON, trial.user_attrs[REASON])
        if trial.state == TrialState.COMPLETE and trial.value is not None:
            self._client.log_metric(run_id, self._figure, trial.value, step=max(trial.intermediate_values, default=0))
        self._client.set_terminated(run_id, "KILLED" if killed else _ENDINGS[trial.state])

    def settle(self, trials: list[FrozenTrial]) -> None:
        """End the runs whose trials run no more: whoever should have ended them was killed."""
        by_number = {str(trial.number): trial for trial in trials}
        for run in self._running():
            trial = by_number.get(run.data.tags.get(TRIAL, ""))
            if trial is None or trial.state != TrialState.RUNNING:
                killed = trial is None or (trial.state == TrialState.FAIL and REASON not in trial.user_attrs)
                self._client.set_tag(
                    run.info.run_id, "state", "KILLED" if killed or trial is None else trial.state.name
                )
                self._client.set_terminated(
                    run.info.run_id, "KILLED" if killed or trial is None else _ENDINGS[trial.state]
                )

    def close(self, status: str, best: FrozenTrial | None, pictures: list[Path]) -> None:
        """End the study's run. status: FINISHED, FAILED or KILLED. best: its value and number are logged. pictures: kept
        with the run."""
        if best is not None and best.value is not None:
            self._client.log_metric(self._parent, self._figure, best.value, step=best.number)
            self._client.set_tag(self._parent, "best_trial", str(best.number))
        for picture in pictures:
            self._client.log_artifact(self._parent, str(picture))
        self._client.set_terminated(self._parent, status)

    def _open(self) -> str:
        """The study's run: the one it has, going on, or a new one."""
        runs = self._search(f"tags.{STUDY} = '{self._study}' and tags.kind = 'study'")
        if runs:
            parent = str(runs[0].info.run_id)
            self._client.update_run(parent, status="RUNNING")
            return parent
        tags = {**self._tags, "kind": "study"}
        return str(self._client.create_run(self._experiment, run_name=self._study, tags=tags).info.run_id)

    def _running(self) -> list[Run]:
        return self._search(f"tags.`{PARENT}` = '{self._parent}' and attributes.status = 'RUNNING'")

    def _search(self, condition: str) -> list[Run]:
        found: list[Run] = []
        token: str | None = ""
        while token is not None:
            page = self._client.search_runs([self._experiment], condition, page_token=token or None)
            found += page
            token = page.token or None
        return found
