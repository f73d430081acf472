"""The export stage of readers: a base and its adapter in, graphs that read as torch does out."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from pipelines.reader.export import _Made, compare, int8, main, pictures
from pipelines.reader.tasks import task_of
from pipelines.stage import CONF, plain
from safelight.errors import ParityError
from safelight.reader.manifest import ADAPTER, DECODER, EMBEDDING, TOKENIZER, VISION, Architecture
from tests.training.vlm.export.taught import KIND, opened, taught, write_base
from tests.training.vlm.made_records import SCHEMA, folder
from training.fitting.cache import PictureCache
from training.vlm.export.int8 import INT8, Int8
from training.vlm.export.parity import Question
from training.vlm.families import Adaptation, adapt, load_adapter
from training.vlm.prepared import Pictures, read_split

PROMPT = "Read the key. Answer in JSON."


def configuration(root, *overrides):
    (root / "schema.json").write_text(json.dumps(SCHEMA))
    with initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
        return compose(
            "reader",
            [
                "task=custom",
                "task.name=blocks",
                f"task.prompt='{PROMPT}'",
                f"task.schema={root}/schema.json",
                f"task.image_side={KIND.side}",
                f"model.reader.source={root}/base",
                f"model.reader.image_side={KIND.side}",
                f"paths.processed={root}/processed",
                f"paths.outputs={root}/outputs",
                "module.max_new_tokens=24",
                "export.pictures=10",
                "export.repeats=1",
                "export.int8.least_equal=0.3",  # two answers, and pictures that were never seen
                *overrides,
            ],
        )


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """The stage, run on a taught adapter and twelve records."""
    root = tmp_path_factory.mktemp("stage")
    write_base(root / "base", root / "checkpoint")
    cfg = configuration(root)
    folder(root / "processed/blocks", {"test": range(12)})
    taught(opened(root / "base")).save_adapter(root / "outputs/reader/blocks/train/adapter")
    main(cfg)
    return root, cfg


@pytest.fixture
def out(done):
    return done[0] / "outputs/reader/blocks/export"


def test_all_of_it_is_written(out):
    files = {VISION, EMBEDDING, DECODER, INT8, ADAPTER, TOKENIZER, "parity.json", "report.json"}
    assert {path.name for path in out.iterdir()} == files
    parity = json.loads((out / "parity.json").read_text())
    assert parity["pictures"] == parity["equal"] == 10 and parity["first_difference"] is None
    report = json.loads((out / "report.json").read_text())
    told = Architecture.model_validate(report["architecture"])
    assert report["prompt_ids"].count(told.image_token_id) == told.image_tokens == KIND.image_tokens
    assert report["rank"] == 4 and report["int8"]["outcome"] == "accepted"
    assert report["int8"]["gate"]["pictures"] == 10 and report["int8"]["gate"]["equal"] >= 0.3
    assert set(report["step_ms"]) == {"past", "repeats", DECODER, INT8}
    assert report["graphs"][DECODER]["bytes"] == (out / DECODER).stat().st_size


def test_the_tokenizer_is_the_base_s(done, out):
    reader = opened(done[0] / "base")
    text = '{"keyway":"SC1"} <image>'
    found = Tokenizer.from_file(str(out / TOKENIZER))
    assert found.encode(text, add_special_tokens=False).ids == reader.tokenizer.encode(text, add_special_tokens=False)


@pytest.fixture
def made(done, out, tmp_path):
    """A copy of what the stage wrote, and what the graphs are asked."""
    root, cfg = done
    copied = tmp_path / "export"
    shutil.copytree(out, copied)
    reader = load_adapter(opened(root / "base"), root / "outputs/reader/blocks/train/adapter")
    told = json.loads((out / "report.json").read_text())["architecture"]
    asked = Question(PROMPT, told["image_token_id"], tuple(told["eos_token_ids"]), 24)
    return reader, _Made(copied, load_file(copied / ADAPTER), pictures(cfg), reader.prompt_ids(PROMPT), asked)


def test_graphs_that_read_otherwise_are_not_kept(made):
    reader, given = made
    off = {name: value * np.float32(0.2) for name, value in given.matrices.items()}
    written = [given.folder / name for name in (VISION, DECODER, ADAPTER)]
    with pytest.raises(ParityError, match="parts at token"):
        compare(reader, replace(given, matrices=off), written)
    assert not any(path.exists() for path in written)
    told = json.loads((given.folder / "parity.json").read_text())
    assert told["equal"] < told["pictures"] and told["first_difference"]["margin"] > 0


def test_a_decoder_in_8_bits_that_does_not_pass_is_not_kept(made):
    _, given = made
    untaught = {name: np.zeros_like(value) for name, value in given.matrices.items()}  # logits that lie close together
    found = int8(replace(given, matrices=untaught), Int8(True, 10, 1.0))
    assert found["outcome"] == "refused" and found["gate"]["equal"] < 1 and "file" not in found
    assert not (given.folder / INT8).exists()


def test_a_decoder_in_8_bits_need_not_be_tried(made):
    _, given = made
    assert int8(given, Int8(False, 4, 1.0)) == {"outcome": "not offered", "reason": "switched off"}
    assert not (given.folder / INT8).exists()


def test_an_adapter_that_matrices_cannot_say_ends_the_stage(done, tmp_path):
    root, _ = done
    shutil.copytree(root / "base", tmp_path / "base")
    folder(tmp_path / "processed/blocks", {"test": range(2)})
    reader = adapt(opened(tmp_path / "base"), Adaptation(kind="dora", rank=2, alpha=4))
    reader.save_adapter(tmp_path / "outputs/reader/blocks/train/adapter")
    with pytest.raises(SystemExit, match=r"DoRA.*Merge it"):
        main(configuration(tmp_path))
    assert not list((tmp_path / "outputs/reader/blocks/export").glob("*.onnx"))


def test_layers_that_nobody_has_are_refused(done, tmp_path):
    root, _ = done
    shutil.copytree(root / "base", tmp_path / "base")
    with pytest.raises(SystemExit, match="none called gates"):
        main(configuration(tmp_path, "export.modules=[gates]"))


def test_pictures_are_the_first_of_the_test_split(done):
    root, cfg = done
    records = read_split(root / "processed/blocks", "test", task_of(plain(cfg.task)))
    expected = Pictures(records, KIND.side, PictureCache(0))
    found = pictures(cfg)
    assert len(found) == 10 and all((a == expected[i]).all() for i, a in enumerate(found))
