"""Studies with toy trials, real processes and real kills."""

import functools
import shutil
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import active_children

import pytest
from mlflow.tracking import MlflowClient
from optuna.trial import TrialState

from tests.training.registry.postgresql_server import PostgresqlServer
from tests.training.tuning import jobs
from tests.training.tuning.search import search, tracking
from training.tuning.crew import StudyFailed
from training.tuning.study import REASON, holding, replaced_by
from training.tuning.table import best_of, state_of


@pytest.fixture(scope="session")
def mlflow_database(tmp_path_factory):
    """An empty one. To make it takes seconds, to copy it none."""
    folder = tmp_path_factory.mktemp("mlflow")
    MlflowClient(tracking(folder)).search_experiments()
    return folder / "mlflow.db"


@pytest.fixture
def tracked(tmp_path, mlflow_database):
    """A folder with a database for MLflow in it."""
    shutil.copy(mlflow_database, tmp_path)
    return tmp_path


def runs(folder):
    """Status and tags of every run: the study's own by `parent`, trials by number."""
    client = MlflowClient(tracking(folder))
    experiment = client.get_experiment_by_name("tests")
    found = client.search_runs([experiment.experiment_id])
    return {run.data.tags.get("trial", "parent"): run for run in found}


def states(study):
    return [state_of(trial) for trial in study.get_trials(deepcopy=False)]


def test_as_many_trials_as_asked_for_and_not_again(tracked):
    study = search(tracked, jobs.parabola, 5, 2)
    assert states(study) == ["complete"] * 5
    assert states(search(tracked, jobs.parabola, 5)) == ["complete"] * 5
    assert states(search(tracked, jobs.parabola, 7)) == ["complete"] * 7
    numbers = {trial.params["x"] for trial in study.get_trials()}
    assert len(numbers) == 7  # a study taken up again does not draw the same twice
    found = runs(tracked)
    assert set(found) == {"parent", *map(str, range(7))}  # one parent, found again
    assert {run.info.status for run in found.values()} == {"FINISHED"}
    parent = found["parent"].info.run_id
    for trial in study.get_trials():
        run = found[str(trial.number)]
        assert run.data.tags["mlflow.parentRunId"] == parent
        assert run.data.metrics["value"] == pytest.approx(trial.value)
        assert float(run.data.params["x"]) == trial.params["x"]


def test_the_same_seed_draws_the_same_whether_interrupted_or_not(tmp_path):
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
    whole = search(tmp_path / "whole", jobs.parabola, 6, seed=3, tracked=False)
    search(tmp_path / "parts", jobs.parabola, 3, seed=3, tracked=False)
    parts = search(tmp_path / "parts", jobs.parabola, 6, seed=3, tracked=False)
    assert [t.params for t in whole.get_trials()] == [t.params for t in parts.get_trials()]
    assert best_of(whole.get_trials()).number == max(whole.get_trials(), key=lambda t: t.value).number


def test_a_diverging_trial_fails_and_the_study_goes_on(tracked):
    study = search(tracked, jobs.diverging, 6)
    assert set(states(study)) == {"complete", "failed"}
    failed = [trial for trial in study.get_trials() if trial.state == TrialState.FAIL]
    assert all("finite loss" in trial.user_attrs[REASON] for trial in failed)
    found = runs(tracked)
    assert {found[str(trial.number)].info.status for trial in failed} == {"FAILED"}
    assert found["parent"].info.status == "FINISHED"
    assert "TrainingDiverged" in (tracked / f"trial-{failed[0].number}" / "log.txt").read_text()


@pytest.mark.parametrize(("job", "reason"), [(jobs.broken, "RuntimeError"), (jobs.not_a_number, "the value is nan")])
def test_a_study_that_only_fails_is_given_up(tmp_path, job, reason):
    with pytest.raises(StudyFailed, match=f"3 trials failed and none succeeded.*The last: {reason}"):
        search(tmp_path, job, 10, tracked=False)


def test_a_killed_worker_is_replaced_once(tracked):
    study = search(tracked, functools.partial(jobs.killed_once, marker=tracked / "marker"), 3)
    assert states(study) == ["killed", "complete", "complete", "complete"]
    first, again = study.get_trials()[:2]
    assert replaced_by(again) == [0] and again.params == first.params
    found = runs(tracked)
    assert [found[str(number)].info.status for number in range(4)] == ["KILLED", "FINISHED", "FINISHED", "FINISHED"]
    assert found["1"].data.tags["retry_of"] == "0"


def test_killed_twice_is_enough(tmp_path):
    study = search(tmp_path, jobs.killed_always, 2, tracked=False)
    assert states(study) == ["killed"] * 4
    assert len(holding(study.get_trials())) == 2


def test_a_hopeless_trial_is_pruned(tracked):
    study = search(tracked, jobs.descending, 4, pruner="median")
    assert states(study) == ["complete", "complete", "pruned", "pruned"]
    found = runs(tracked)
    assert found["3"].info.status == "FINISHED" and found["3"].data.tags["state"] == "PRUNED"
    assert "value" not in found["3"].data.metrics


def test_an_interrupted_search_leaves_nobody_and_is_taken_up_again(tracked):  # killed: tests/pipelines/test_tune.py
    def interrupt(_):
        raise KeyboardInterrupt

    job = functools.partial(jobs.first_alone, gate=tracked / "gate")
    with pytest.raises(KeyboardInterrupt):
        search(tracked, job, 4, 2, told=interrupt)
    assert not active_children()
    assert {name: run.info.status for name, run in runs(tracked).items()} == {
        "parent": "FAILED",
        "0": "FINISHED",
        "1": "KILLED",
    }
    (tracked / "gate").touch()
    study = search(tracked, job, 4, 2)
    assert states(study) == ["complete", "killed", "complete", "complete", "complete"]
    assert replaced_by(study.get_trials()[2]) == [1]
    assert {run.info.status for name, run in runs(tracked).items() if name != "1"} == {"FINISHED"}


def test_two_searches_share_a_study_and_run_no_trial_too_many(tmp_path):
    def go():
        return search(tmp_path, jobs.parabola, 9, 2, grace_s=60, tracked=False)

    search(tmp_path, jobs.parabola, 1, tracked=False)  # the database is there
    with ThreadPoolExecutor(2) as pool:
        studies = [future.result() for future in [pool.submit(go), pool.submit(go)]]
    for study in studies:
        assert states(study).count("complete") == 9
        assert set(states(study)) <= {"complete", "surplus"}


@pytest.mark.postgresql
def test_a_database_server_keeps_studies_too(tmp_path):
    server = PostgresqlServer()
    try:
        job = functools.partial(jobs.killed_once, marker=tmp_path / "marker")
        search(tmp_path, job, 2, 2, tracked=False, address=server.address)
        study = search(tmp_path, jobs.parabola, 4, tracked=False, address=server.address)
        assert sorted(states(study)) == ["complete"] * 4 + ["killed"]
    finally:
        server.stop()
