"""The stage that trains a reader, on a tiny base and a toy task."""

import json

import pytest
import pytorch_lightning as pl
from hydra import compose, initialize_config_dir
from mlflow.tracking import MlflowClient
from omegaconf import OmegaConf

from pipelines.reader import configure, train
from pipelines.slices import READS_OF_READERS, part, watched
from pipelines.stage import CONF
from safelight.errors import ConfigError
from tests.training.vlm import toys
from tests.training.vlm.families import checkpoints
from training.registry.tracking import weights_tag
from training.vlm.families import load_adapter, open_reader
from training.vlm.families.adapters import ADAPTER

FILES = {"adapter/adaptation.json", "adapter/adapter_config.json", "adapter/adapter_model.safetensors"}


def composed(*overrides):
    with initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
        return compose("reader", ["task=custom", *overrides])


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reader")
    toys.write(folder / "bars")
    checkpoints.write("smolvlm", folder / "base")
    (folder / "schema.json").write_text(json.dumps(toys.SCHEMA))
    return folder


@pytest.fixture
def configured(made, tmp_path):
    """The configuration of a training of four steps in a folder of its own, which it is given with the name."""

    def configuration(name, *overrides):
        return composed(
            "task.name=bars",
            "task.prompt='Which bars?'",
            "task.image_side=32",
            f"task.schema={made / 'schema.json'}",
            f"task.processed={made / 'bars'}",
            f"model.reader.source={made / 'base'}",
            "model.reader.image_side=32",
            "model.learning_rate=0.03",
            "steps=4",
            "val_every=2",
            "log_every=1",
            "datamodule.val_records=6",
            f"paths.outputs={tmp_path / name}",
            f"tracking.uri=sqlite:///{tmp_path / 'mlflow.db'}",
            f"tracking.artifacts={tmp_path / 'artifacts'}",
            *overrides,
        )

    return configuration


def written(folder):
    out = folder / "reader" / "bars" / "train"
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}


class Interrupted(Exception):
    pass


class Interrupt(pl.Callback):
    def on_train_batch_start(self, trainer, *_):
        if trainer.global_step == 3:
            raise Interrupted


def test_a_training_writes_the_same_bytes_interrupted_or_not(configured, made, tmp_path, monkeypatch, capsys):
    train.main(configured("whole"))
    whole = written(tmp_path / "whole")
    assert set(whole) == {*FILES, "history.csv", "summary.json"}
    assert json.loads(whole["summary.json"])["steps"] == 4
    reader = load_adapter(open_reader(str(made / "base"), "smolvlm", image_side=32), adapter := _adapter(tmp_path))
    assert reader.generate([toys.picture("red", 1)], "Which bars?", 5)

    with monkeypatch.context() as patch:
        patch.setattr(train, "looking_into", lambda asked: [Interrupt()])
        with pytest.raises(Interrupted):
            train.main(configured("again"))
    assert not written(tmp_path / "again")
    train.main(configured("again"))
    assert "bars goes on where it was interrupted" in capsys.readouterr().out
    assert written(tmp_path / "again") == whole
    assert not list((tmp_path / "again" / "reader" / "bars" / "checkpoints").iterdir())

    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("safelight").experiment_id])
    assert [run.info.status for run in runs] == ["FINISHED", "FINISHED"]
    tag = weights_tag(adapter / ADAPTER)
    assert all(tag.items() <= run.data.tags.items() and run.data.tags["task"] == "bars" for run in runs)
    for run in runs:
        steps = [figure.step for figure in client.get_metric_history(run.info.run_id, "train_loss")]
        assert sorted(steps) == [1, 2, 3, 4]


def _adapter(folder):
    return folder / "whole" / "reader" / "bars" / "train" / "adapter"


def test_another_side_than_the_model_s_is_a_sentence(configured):
    with pytest.raises(ConfigError, match=r"task.image_side is 64 pixels and model.reader.image_side 32"):
        train.beginning(configured("a", "task.image_side=64"))


def test_what_decides_and_what_does_not_is_named_as_in_the_configuration(configured):
    cfg = part(configured("a"), "reader.train")
    for name in (*train.DECIDING, *train.DECIDING_TOO):
        assert name in cfg
    for name in train.NOT_DECIDING:
        parent, _, leaf = name.rpartition(".")
        assert leaf in OmegaConf.select(cfg, parent), name


def test_dvc_watches_for_each_stage_what_it_reads(configured, tmp_path):
    configure.main(configured("a"))
    files = {path.stem for path in (tmp_path / "a" / "reader" / "bars" / "configure").iterdir()}
    assert files == {name.removeprefix("reader.") for name in READS_OF_READERS}
    before = watched(configured("a"), "reader.train")
    for override in (
        "model.adaptation.rank=4",
        "model.learning_rate=0.01",
        "task.prompt=Other",
        "trainer.precision=32",
    ):
        assert watched(configured("a", override), "reader.train") != before
    for override in ("model.card.licence=MIT", "task.private=false", "tracking.experiment=other"):
        assert watched(configured("a", override), "reader.train") == before


@pytest.mark.parametrize("name", sorted(READS_OF_READERS))
def test_every_listed_key_exists(name):
    known = composed()
    for key in READS_OF_READERS[name]:
        node = known
        for step in key.split("."):
            assert step in node, key
            node = node[step]
