"""The draw stage: a folder that prepare takes as it is."""

import json

import pytest
from hydra import compose, initialize_config_dir

from pipelines.reader.draw import main
from pipelines.reader.prepare import prepare
from pipelines.slices import part, watched
from pipelines.stage import CONF, plain


def configuration(tmp_path, *overrides):
    counts = {"train": 12, "validation": 3, "test": 3, "hard": 3}
    with initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
        return compose(
            "reader",
            [
                "task=meters",
                f"paths.raw={tmp_path}/raw",
                f"paths.processed={tmp_path}/processed",
                f"paths.outputs={tmp_path}/outputs",
                *(f"task.drawing.splits.{name}.count={count}" for name, count in counts.items()),
                *(f"task.drawing.splits.{name}.sha256=null" for name in counts),
                *overrides,
            ],
        )


def test_meters_are_drawn_and_prepared(tmp_path, capsys):
    cfg = configuration(tmp_path)
    main(cfg)
    drawn = json.loads((tmp_path / "raw/meters/drawn.json").read_text())
    said = capsys.readouterr().out
    assert all(digest in said for digest in drawn["sha256"].values())
    report = prepare(plain(part(cfg, "reader.prepare").task))
    assert {name: own["records"] for name, own in report["splits"].items()} == {
        "train": 12,
        "validation": 3,
        "test": 3,
        "hard": 3,
    }
    assert report["quarantined"] == 0 and not any(report["leaked"]["shared_groups"].values())
    before = (tmp_path / "raw/meters/drawn.json").read_bytes()
    main(cfg)
    assert (tmp_path / "raw/meters/drawn.json").read_bytes() == before


def test_tasks_that_are_not_drawn(tmp_path, capsys):
    main(configuration(tmp_path, "task.drawing=null"))
    assert "nothing to do" in capsys.readouterr().out and not (tmp_path / "raw").exists()


def test_another_folder_is_not_replaced(tmp_path):
    (tmp_path / "raw/meters").mkdir(parents=True)
    (tmp_path / "raw/meters/mine.jsonl").write_text("{}")
    with pytest.raises(SystemExit, match="did not make"):
        main(configuration(tmp_path))
    with pytest.raises(SystemExit, match="cannot be compared"):
        main(
            configuration(
                tmp_path, "task.records=" + str(tmp_path / "new"), f"task.drawing.splits.test.sha256={'0' * 64}"
            )
        )
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("override", "stages"),
    [
        ("task.drawing.seed=5", {"draw"}),
        ("task.max_leaked=0.5", {"prepare"}),
        ("task.prompt=Other", {"prepare"}),
        ("task.card=other.md", set()),
        ("task.records=elsewhere", {"draw", "prepare"}),
    ],
)
def test_a_value_concerns_the_stages_that_read_it(tmp_path, override, stages):
    before, after = configuration(tmp_path), configuration(tmp_path, override)
    differ = {n for n in ("draw", "prepare") if watched(before, f"reader.{n}") != watched(after, f"reader.{n}")}
    assert differ == stages
