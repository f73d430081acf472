import pytest
from mlflow.tracking import MlflowClient

from training.registry.runlog import RunLog
from training.registry.tracking import close_run, open_run

ROWS = [{"step": 1, "loss": 3.0}, {"step": 2, "loss": 2.0, "val_map50": 0.1}, {"step": 3, "loss": 1.0}]


@pytest.fixture
def run_id(uri):
    return open_run(uri, "detector", "mine", {})


def steps(uri, run_id, name):
    return [metric.step for metric in MlflowClient(uri).get_metric_history(run_id, name)]


def test_each_figure_is_logged_once_however_often_it_is_told(uri, run_id):
    log = RunLog(uri, run_id)
    log(ROWS[:2])
    log(ROWS)
    RunLog(uri, run_id)(ROWS)  # another process goes on with the run
    assert steps(uri, run_id, "loss") == [1, 2, 3] and steps(uri, run_id, "val_map50") == [2]


def test_settings_are_logged_flat_and_stay_what_they_were(uri, run_id):
    RunLog(uri, run_id).settings({"module": {"steps": 4}, "name": "x" * 900})
    RunLog(uri, run_id).settings({"module": {"steps": 5, "more": None}})
    found = MlflowClient(uri).get_run(run_id).data.params
    assert (found["module/steps"], found["module/more"], len(found["name"])) == ("4", "None", 500)


def test_a_run_is_reopened_unless_it_is_gone(uri, run_id):
    close_run(uri, run_id, failed=True)
    assert RunLog(uri, run_id).reopen()
    assert MlflowClient(uri).get_run(run_id).info.status == "RUNNING"
    MlflowClient(uri).delete_run(run_id)
    assert not RunLog(uri, run_id).reopen()
    assert not RunLog(uri, "0" * 32).reopen()
