"""The evaluate stage on a tiny reader that was trained and exported by the stages before it."""

import csv
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from pipelines.reader import evaluate
from pipelines.reader.reading import Exported, asking
from pipelines.reader.tasks import task_of
from pipelines.stage import plain
from safelight.errors import DataError
from safelight.reader import golden
from safelight.reader.manifest import DECODER, Calibration
from tests.pipelines.reader import measured
from training.fitting.cache import PictureCache
from training.vlm.families import load_adapter, open_reader
from training.vlm.prepared import Pictures, read_split


def report(root):
    return json.loads((root / "metrics/reader-bars.json").read_text())


def out(root):
    return root / "outputs/reader/bars/evaluate"


def test_the_reader_is_trained(trained):
    assert (trained / "outputs/reader/bars/train/adapter/adapter_model.safetensors").is_file()


def test_the_reader_is_exported(exported):
    told = Exported.read(exported / "outputs/reader/bars/export")
    assert told.architecture.image_side == 32 and told.int8 == "decoder.int8.onnx"


def test_it_reads_what_it_learnt(evaluated):
    found = report(evaluated)
    held, free = found["test"]["constrained"], found["test"]["unconstrained"]
    assert held["pictures"] == free["pictures"] == 12 and held["valid"]["value"] == 1
    assert held["exact"]["value"] >= 0.4 > found["baselines"]["majority"]["test"]["exact"]["value"]
    assert free["valid"]["value"] >= 0.75 and held["fields"]["colour"]["exact"]["value"] >= 0.6
    assert set(held["fields"]) == {"colour", "bars"} and set(held["fields"]["bars"]) == {"exact", "items"}
    assert found["hard"]["constrained"]["pictures"] == 6 and found["hard"]["unconstrained"]["pictures"] == 3
    assert found["validation"]["constrained"]["pictures"] == 36


def test_it_stands_beside_its_base_and_a_blind_guess(evaluated):
    found = report(evaluated)["baselines"]
    assert found["untuned"]["constrained"]["valid"]["value"] == 1 and found["untuned"]["constrained"]["pictures"] == 2
    assert found["untuned"]["unconstrained"]["valid"]["value"] == 0  # a network of chance writes no JSON
    # blue and [1] are what JSON sorts first of equally many; 2 of 12 test pictures are both
    assert found["majority"]["test"]["exact"]["value"] == pytest.approx(1 / 6, abs=1e-6)
    assert found["majority"]["test"]["fields"]["bars"]["exact"]["value"] == 0.5


def test_targets_are_met_or_not(evaluated):
    found = report(evaluated)
    told, held = found["targets"], found["test"]["constrained"]["fields"]
    assert told["fields"]["colour"] == {"at_least": 0.4, **held["colour"]["exact"], "met": True}
    assert told["fields"]["bars"]["met"] == (held["bars"]["exact"]["value"] == 1)
    assert told["met"] == (told["fields"]["bars"]["met"] and told["valid_unconstrained"]["met"])


def test_confidence_is_calibrated_on_validation(evaluated):
    found = report(evaluated)["calibration"]
    by = Calibration.model_validate(json.loads((out(evaluated) / "calibration.json").read_text()))
    assert (by.scale, by.offset) == (found["scale"], found["offset"]) and found["fitted_on"] == 36
    right = report(evaluated)["validation"]["constrained"]["exact"]["value"]
    assert found["fitted"] == (0 < right < 1) and ("after" in found["test"]) == found["fitted"]
    if found["fitted"]:
        assert found["validation"]["after"]["brier"]["value"] <= found["validation"]["before"]["brier"]["value"] + 0.02
    rows = json.loads((out(evaluated) / "reliability.json").read_text())
    assert sum(row["right"]["of"] for row in rows["test"]["before"]) == 12


def test_speed_is_told_with_what_it_was_measured_on(evaluated):
    speed = report(evaluated)["speed"]
    held, free = speed["constrained"], speed["unconstrained"]
    assert held["tokens_per_second"] > 0 and held["chosen_per_picture"] < free["chosen_per_picture"]
    assert speed["rows"] == 4 and speed["threads"] == 1 and speed["processor"]


def test_golden_readings_hold_for_graphs_that_are_opened_anew(evaluated):
    found = json.loads((out(evaluated) / "golden.json").read_text())
    expected = golden.GoldenReadings.model_validate(found[DECODER])
    cfg = measured.configuration(evaluated)
    exported = Exported.read(evaluated / "outputs/reader/bars/export")
    with asking(exported, DECODER, rows=2, threads=2) as ask:
        own = ask.adapter(task_of(plain(cfg.task)), exported.matrices())
        other = ask.adapter(task_of(plain(cfg.task)), None)

        def read(adapter):
            def answer(picture):
                one = ask.engine.read(picture, adapter, left_s=lambda: np.inf)
                return one.text, one.log_probability

            return answer

        golden.check(expected, read(own), 32)
        with pytest.raises(golden.ManifestInvalid):
            golden.check(expected, read(other), 32)


def test_the_engine_says_what_torch_says(evaluated):
    cfg = measured.configuration(evaluated)
    task = task_of(plain(cfg.task))
    records = read_split(evaluated / "processed/bars", "test", task)
    pictures = Pictures(records, 32, PictureCache(0))
    exported = Exported.read(evaluated / "outputs/reader/bars/export")
    with asking(exported, DECODER, rows=4, threads=1) as ask:
        found, spent = ask.read(ask.adapter(None, exported.matrices()), pictures.__getitem__, range(12))
    reader = load_adapter(
        open_reader(str(evaluated / "base"), "smolvlm", image_side=32), evaluated / "outputs/reader/bars/train/adapter"
    )
    theirs = reader.generate([pictures[n] for n in range(12)], task.prompt, exported.max_new_tokens)
    assert [one.text for one in found] == [one.text for one in theirs]
    assert spent.tokens == sum(len(one.token_ids) for one in theirs) and spent.pictures == 12


def test_errors_are_told_by_kind(evaluated):
    with (out(evaluated) / "errors.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert all(row["split"] in ("validation", "test", "hard") and int(row["answers"]) > 0 for row in rows)
    with (out(evaluated) / "confusion_bars.csv").open() as file:
        pairs = list(csv.DictReader(file))
    assert len(pairs) >= 18 and {"actual", "predicted"} == set(pairs[0])
    assert (out(evaluated) / "confusion_colour.png").is_file() and (out(evaluated) / "reliability.png").is_file()


def test_pictures_are_shown_unless_they_are_private(evaluated, tmp_path):
    with Image.open(out(evaluated) / "gallery/test.png") as sheet:
        assert sheet.width > 4 * 336 and np.asarray(sheet).std() > 10
    common = [f"paths.metrics={tmp_path}", "evaluation.pictures=3"]
    evaluate.main(measured.configuration(evaluated, "task.private=true", f"out.evaluate={tmp_path}/private", *common))
    assert not (tmp_path / "private/gallery").exists() and (tmp_path / "private/golden.json").is_file()
    assert json.loads((tmp_path / "reader-bars.json").read_text())["test"]["constrained"]["pictures"] == 3
    assert (
        not list((tmp_path / "private").rglob("*.jpg")) and "test_" not in (tmp_path / "private/errors.csv").read_text()
    )


def test_a_task_without_a_hard_split(evaluated, tmp_path):
    shutil.copytree(evaluated / "processed/bars", tmp_path / "processed/bars")
    (tmp_path / "processed/bars/hard.jsonl").unlink()
    given = (f"paths.processed={tmp_path}/processed", f"paths.metrics={tmp_path}", f"out.evaluate={tmp_path}/out")
    evaluate.main(measured.configuration(evaluated, *given, "evaluation.pictures=2"))
    found = json.loads((tmp_path / "reader-bars.json").read_text())
    assert "hard" not in found and "hard" not in found["baselines"]["majority"] and not found["calibration"]["fitted"]


def test_a_reader_that_was_not_exported(tmp_path):
    with pytest.raises(DataError, match="Run the export stage first"):
        Exported.read(tmp_path)
