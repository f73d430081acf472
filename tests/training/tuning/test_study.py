import datetime

import pytest
from optuna.trial import TrialState

from safelight.errors import ConfigError
from training.tuning.space import FloatRange
from training.tuning.study import REASON, RUN_ID, SURPLUS, ask, holding, make_pruner, mend, open_storage, open_study

SPACE = {"x": FloatRange(0.0, 1.0)}


@pytest.fixture
def opened(tmp_path):
    """(storage, study)."""
    storage = open_storage(f"sqlite:///{tmp_path / 'new' / 'study.db'}", 1, 60)
    return storage, open_study(storage, "toy", {"steps": 3}, make_pruner("none", 0, 0, 1), maximise=True)


def begin(opened, target=9):
    return ask(*opened, target, SPACE, seed=0, startup_trials=4)


def test_a_study_is_gone_on_with_under_the_same_conditions_only(opened):
    storage, _ = opened
    pruner = make_pruner("median", 1, 1, 1)
    open_study(storage, "toy", {"steps": 3}, pruner, maximise=True)
    with pytest.raises(ConfigError, match="Study toy was begun with another data, steps"):
        open_study(storage, "toy", {"steps": 4, "data": "x"}, pruner, maximise=True)


def test_places_are_given_out_once(opened):
    assert [begin(opened, 2).number, begin(opened, 2).number] == [0, 1]
    assert begin(opened, 2) is None


def test_a_trial_that_came_too_late_gives_its_place_back(opened):
    _, study = opened
    first = begin(opened)
    late = study.ask()  # as another process does in the moment between counting and asking
    late.set_user_attr(SURPLUS, True)
    study.tell(late, state=TrialState.FAIL)
    assert [trial.number for trial in holding(study.get_trials())] == [first.number]


def test_only_killed_trials_are_replaced(opened):
    _, study = opened
    killed, failed = begin(opened), begin(opened)
    failed.set_user_attr(REASON, "diverged")
    for trial in (killed, failed):
        study.tell(trial, state=TrialState.FAIL)
    for _ in range(2):  # safe to repeat
        mend(study, 60)
    assert len(study.get_trials()) == 3
    again = begin(opened)
    assert again.params == killed.params and begin(opened).params != killed.params


def test_a_trial_killed_before_its_first_heartbeat_is_found(opened):
    _, study = opened
    unseen, seen = study.ask(), study.ask()
    seen.set_user_attr(RUN_ID, "run")
    age = (datetime.datetime.now() - unseen.datetime_start).total_seconds()
    mend(study, grace_s=int(age) + 60)
    assert [t.state for t in study.get_trials()] == [TrialState.RUNNING] * 2
    mend(study, grace_s=-1)
    assert [t.state for t in study.get_trials()] == [TrialState.FAIL, TrialState.RUNNING, TrialState.WAITING]


@pytest.mark.parametrize("url", ["nonsense", "postgresql://me:secret@127.0.0.1:1/x", "sqlite:////proc/none/x.db"])
def test_a_database_that_cannot_be_opened_is_an_error_without_its_address(url):
    with pytest.raises(ConfigError, match=r"tune\.storage cannot be opened") as refused:
        open_storage(url, 1, 2)
    assert "secret" not in str(refused.value)


def test_settings_that_make_no_sense_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="heartbeat_s"):
        open_storage(f"sqlite:///{tmp_path / 'x.db'}", 5, 5)
    with pytest.raises(ConfigError, match="median, hyperband or none, got 'best'"):
        make_pruner("best", 1, 1, 1)
