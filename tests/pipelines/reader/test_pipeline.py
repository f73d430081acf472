"""The readers' own dvc.yaml: what it runs, what it depends on, and that the detectors' pipeline is left alone."""

import subprocess
from pathlib import Path

import pytest
import yaml
from dvc.repo import Repo
from hydra import compose, initialize_config_dir

from pipelines.reader.run import READERS
from pipelines.run import DETECTORS, stages_of
from pipelines.slices import READS_OF_READERS, watched
from pipelines.stage import CONF

ROOT = Path(__file__).resolve().parents[3]
STAGES = yaml.safe_load((ROOT / READERS).read_text())["stages"]
ORDER = [
    "fetch",
    "configure",
    "draw",
    "prepare",
    "base",
    "train",
    "export",
    "evaluate",
    "flavours",
    "register",
    "promote",
    "package",
]


def names(entries):
    """Paths of deps or outs, whether or not they have options."""
    return [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]


def written(stage):
    return names(stage.get("outs", [])) + names(stage.get("metrics", []))


@pytest.fixture(scope="module")
def known():
    """What git has, and what somebody is about to add."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    files = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return set(files) | {str(parent) for file in files for parent in Path(file).parents}


def test_its_stages_run_one_after_the_other(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert list(STAGES) == ORDER
    ordered = [stage.name for stage in stages_of(READERS)]
    assert sorted(ordered) == sorted(ORDER)
    chain = ["prepare", "train", "export", "evaluate", "register", "promote", "package"]
    assert [name for name in ordered if name in chain] == chain
    assert ordered.index("base") < ordered.index("train") and ordered.index("draw") < ordered.index("prepare")


def test_the_detectors_pipeline_has_none_of_them_and_shares_no_output(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert not [stage for stage in stages_of(DETECTORS) if "reader" in stage.cmd]
    with Repo() as repo:
        outs = {out.fs_path: stage.dvcfile.relpath for stage in repo.index.stages for out in stage.outs}
    ours, theirs = ({path for path, file in outs.items() if file == name} for name in (READERS, DETECTORS))
    assert ours and theirs
    pairs = [(a, b) for a in ours for b in theirs if Path(a).is_relative_to(b) or Path(b).is_relative_to(a)]
    assert not pairs


@pytest.mark.parametrize("file", [DETECTORS, READERS])
def test_no_plot_is_a_bare_path(file):
    """`dvc exp run` looks into such a path whatever it runs, and ends with an error where it was never made or pulled."""
    plots = yaml.safe_load((ROOT / file).read_text())["plots"]
    assert plots and all(isinstance(plot, dict) for plot in plots)


@pytest.mark.parametrize("name", ORDER)
def test_a_stage_is_a_module_that_it_depends_on(name):
    stage = STAGES[name]
    assert stage["wdir"] == "../.." and f"pipelines/reader/{name}.py" in stage["deps"]
    assert stage["cmd"].split()[:3] == ["python", "-m", f"pipelines.reader.{name}"]


def test_whatever_a_stage_depends_on_is_in_git_or_another_stage_s(known):
    made = {path for stage in STAGES.values() for path in written(stage)}
    for name, stage in STAGES.items():
        for dep in names(stage["deps"]):
            ours = any(Path(dep).is_relative_to(path) for path in made)
            assert ours or dep in known, (name, dep)
            assert not any(Path(dep).is_relative_to(path) for path in written(stage)), (name, dep)


@pytest.mark.parametrize("name", sorted(READS_OF_READERS))
def test_a_stage_depends_on_its_part_of_the_configuration(name):
    stage = name.removeprefix("reader.")
    assert f"outputs/reader/keys/configure/{stage}.yaml" in STAGES[stage]["deps"]
    configured = {n for n in ORDER if any("/configure/" in dep for dep in names(STAGES[n]["deps"]))}
    assert configured == {one.removeprefix("reader.") for one in READS_OF_READERS}


def test_what_the_base_reads_of_conf_is_there():
    for entry in STAGES["base"]["params"]:
        ((file, keys),) = entry.items()
        values = yaml.safe_load((ROOT / file).read_text())
        assert not keys or set(keys) <= set(values), file
    with initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
        cfg = compose("reader_base")
    files = {next(iter(entry)) for entry in STAGES["base"]["params"]}
    assert {f"conf/task/{task}.yaml" for task in cfg.tasks} <= files


def composed(*overrides):
    with initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
        return compose("reader", overrides=list(overrides))


CASES = {
    "model.adaptation.rank=8": {"train", "register"},
    "task.about.summary=Other": {"register"},
    "model.card.licence=MIT": {"register"},
    "promotion.quality.margin=0.5": {"promote"},
    "task.card=another.md": {"promote"},
    "task.max_quarantined=0.5": {"prepare"},
    "task.drawing.seed=1": {"draw"},
    "export.pictures=8": {"export"},
    "evaluation.rows=4": {"evaluate"},
    "flavours.pictures=5": {"flavours"},
    "tracking.experiment=other": set(),
}


@pytest.mark.parametrize(("override", "stages"), CASES.items())
def test_a_value_concerns_the_stages_that_read_it_and_no_others(override, stages):
    before, after = composed(), composed(override)
    changed = {name for name in READS_OF_READERS if watched(before, name) != watched(after, name)}
    assert changed == {f"reader.{stage}" for stage in stages}


@pytest.mark.parametrize("name", sorted(READS_OF_READERS))
def test_every_listed_key_exists(name):
    known = composed()
    for key in READS_OF_READERS[name]:
        node = known
        for step in key.split("."):
            assert step in node, key
            node = node[step]
