"""The prepare stage on somebody's folder, as its command runs it."""

import json
import shutil

import pytest
from datasets import load_from_disk
from hydra import compose, initialize_config_dir

from pipelines import prepare
from pipelines.models import labels
from pipelines.stage import CONF
from tests.training.data import made


def configuration(folder, *overrides, data="folder"):
    given = [f"data={data}", f"paths.processed={folder}/processed", f"paths.outputs={folder}/outputs", "name=mine"]
    with initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
        return compose(config_name="train", overrides=[*given, *overrides])


def run(cfg):
    prepare.main.__wrapped__(cfg)


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_folder_of_somebody_becomes_splits_a_report_and_a_card(tmp_path, capsys):
    cfg = configuration(tmp_path, f"data.path={made.yolo_flat(tmp_path / 'theirs', 20)}")
    run(cfg)
    folder = tmp_path / "processed/mine"
    assert sorted(p.name for p in folder.iterdir()) == ["card.md", "report.html", "report.json", "test", "train", "val"]
    report = json.loads((folder / "report.json").read_text())
    assert {k: len(v["scenes"]) for k, v in report["splits"].items()} == {"train": 16, "val": 2, "test": 2}
    assert all(min(split["boxes_by_class"].values()) >= 1 for split in report["splits"].values())
    assert labels(cfg) == ["cat", "dog"]
    assert b"image/jpeg" not in (folder / "report.html").read_bytes()  # private, until its card says otherwise
    row = load_from_disk(str(folder / "train"))[0]
    assert row["objects"]["bbox"][0] == pytest.approx([8, 12, 32, 18], abs=1e-3)
    assert "20 records, 0 quarantined" in capsys.readouterr().out
    first = contents(folder)
    run(cfg)
    assert contents(folder) == first  # byte for byte


@pytest.mark.parametrize("make", [made.voc, made.coco, made.coco_splits, made.yolo, made.vockit])
def test_every_format_is_prepared(tmp_path, make):
    root = made.picture(tmp_path / "theirs/extra.png", 99).parent if make is made.coco else tmp_path / "theirs"
    run(configuration(tmp_path, f"data.path={make(root)}", "data.private=false"))
    report = json.loads((tmp_path / "processed/mine/report.json").read_text())
    assert set(report["splits"]) == {"train", "val", "test"}
    assert all(split["scenes"] for split in report["splits"].values())
    assert b"image/jpeg" in (tmp_path / "processed/mine/report.html").read_bytes()


def test_a_refused_data_set_leaves_what_was_there(tmp_path):
    root = made.yolo_flat(tmp_path / "theirs", 6)
    run(configuration(tmp_path, f"data.path={root}"))
    before = contents(tmp_path / "processed")
    for path in (root / "labels").iterdir():
        path.write_text("0 0.5 0.5 7 7\n")
    with pytest.raises(SystemExit, match="6 of 6 records are bad"):
        run(configuration(tmp_path, f"data.path={root}"))
    with pytest.raises(SystemExit, match="at least one good box"):
        run(configuration(tmp_path, f"data.path={root}", "data.max_quarantined=1"))
    shutil.rmtree(root / "labels")
    with pytest.raises(SystemExit, match="No known annotation format"):
        run(configuration(tmp_path, f"data.path={root}"))
    assert contents(tmp_path / "processed") == before


def test_a_folder_that_the_stage_did_not_make_is_not_replaced(tmp_path):
    root = made.voc(tmp_path / "theirs")
    precious = tmp_path / "processed/mine"
    precious.mkdir(parents=True)
    (precious / "thesis.txt").write_text("years of work")
    with pytest.raises(SystemExit, match="did not make"):
        run(configuration(tmp_path, f"data.path={root}"))
    assert (precious / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("data.path=null", "data.path=FOLDER"),
        ("name='../raw'", "name: expected letters"),
        ("data.format=csv", "expected one of auto"),
        ("data.split.use=mine", "data.split: expected use"),
        ("data.split.fractions.val=0", "shares between 0 and 1"),
        ("data.max_overhang=-1", "max_overhang"),
        ("data.columns.format=yx", "data.columns: format"),
    ],
)
def test_what_cannot_be_is_said(tmp_path, override, said):
    root = made.voc(tmp_path / "theirs")
    with pytest.raises(SystemExit, match=said):
        run(configuration(tmp_path, f"data.path={root}", override))


def test_a_hub_data_set_is_named_by_commit(tmp_path):
    with pytest.raises(SystemExit, match=r"data\.id=OWNER"):
        run(configuration(tmp_path, data="hub"))
    with pytest.raises(SystemExit, match="40 hex digits"):
        run(configuration(tmp_path, "data.id=owner/name", "data.revision=main", data="hub"))


def test_scenes_that_the_configuration_names(tmp_path):
    """The layout of conf/data/tree_crowns.yaml, without its pictures."""
    made.picture(tmp_path / "raw/a.png", 0).with_suffix(".xml").write_text(made.xml(("Tree", *made.BOX)))
    made.picture(tmp_path / "raw/b.png", 1).with_suffix(".xml").write_text(made.xml(("Dead", *made.BOX)))
    splits = "{train:[{scene:a,region:[0,0,41,48]}],val:[{scene:b}],test:[{scene:b}]}"
    overrides = (f"data.folder={tmp_path}/raw", f"data.splits={splits}", f"data.processed={tmp_path}/processed/trees")
    run(configuration(tmp_path, *overrides, data="tree_crowns"))
    folder = tmp_path / "processed/trees"
    assert not (folder / "card.md").exists()
    report = json.loads((folder / "report.json").read_text())
    assert report["labels"] == ["tree"] and report["splits"]["train"]["scenes"] == ["a"]
    assert load_from_disk(str(folder / "train"))[0]["image"].size == (41, 48)
