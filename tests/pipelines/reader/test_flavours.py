"""The flavours stage on a tiny reader: each form of it in a process of its own."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.reader import flavours
from pipelines.reader.flavour import Order
from pipelines.reader.flavours import FlavourFailed, Sizes
from tests.pipelines.reader import measured
from tests.pipelines.reader.conftest import DOCUMENT
from training.fitting.cache import PictureCache
from training.vlm.families import load_adapter, open_reader
from training.vlm.prepared import Pictures, read_split

WAYS = {"adapter": ["plain"], "merged": ["plain"], "onnx": ["plain", "constrained"], "int8": ["plain", "constrained"]}


def found(root):
    return json.loads((root / "metrics/reader-bars-flavours.json").read_text())


def test_the_reader_is_exported(exported):
    assert (exported / "outputs/reader/bars/export/report.json").is_file()


def test_every_flavour_is_measured(flavoured):
    told = found(flavoured)
    assert (told["pictures"], told["timed"], told["rows"], told["threads"]) == (4, 1, 2, 1)
    assert list(told["flavours"]) == sorted(WAYS)
    for kind, ways in WAYS.items():
        one = told["flavours"][kind]
        assert [way for way in ("plain", "constrained") if way in one] == ways
        assert one["load_s"] > 0 and one["peak_bytes"] > 2**20 and one["bytes"]["own"] > 0
        for way in ways:
            assert one[way]["alone"]["pictures"] == 1 and one[way]["together"]["pictures"] == 4
            assert one[way]["together"]["tokens_per_second"] > 0 and one[way]["exact"]["of"] == 4


def test_exact_flavours_answer_alike(flavoured):
    """Torch with the adapter, torch merged, and the graphs say the same; so does what the schema holds to."""
    of = found(flavoured)["flavours"]
    assert of["adapter"]["plain"]["exact"] == of["merged"]["plain"]["exact"] == of["onnx"]["plain"]["exact"]
    tokens = [of[kind]["plain"]["together"]["tokens_per_picture"] for kind in ("adapter", "merged", "onnx")]
    assert tokens[0] == tokens[1] == tokens[2]
    assert of["onnx"]["constrained"]["valid"]["value"] == 1
    assert of["onnx"]["constrained"]["together"]["chosen_per_picture"] < tokens[0]


def test_graphs_are_served_without_torch(flavoured):
    of = found(flavoured)["flavours"]
    assert of["onnx"]["peak_bytes"] < of["merged"]["peak_bytes"] and of["onnx"]["libraries_s"] > 0
    code = "import sys, pipelines.reader.flavour, pipelines.reader.reading; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_sizes_are_those_of_the_files(flavoured):
    of, home = found(flavoured)["flavours"], flavoured / "outputs/reader/bars"
    assert of["merged"]["bytes"]["shared"] == 0
    assert of["onnx"]["bytes"]["own"] == (home / "export/adapter.safetensors").stat().st_size
    assert of["int8"]["bytes"]["shared"] != of["onnx"]["bytes"]["shared"]
    assert of["adapter"]["bytes"]["shared"] == sum(path.stat().st_size for path in (flavoured / "base").iterdir())


def test_the_merged_network_is_a_checkpoint_of_its_own(flavoured):
    folder = flavoured / "outputs/reader/bars/flavours/merged"
    task = flavours.task_of(flavours.plain(measured.configuration(flavoured).task))
    records = read_split(flavoured / "processed/bars", "test", task)[:3]
    pictures = Pictures(records, 32, PictureCache(0))
    whole = open_reader(str(folder), "smolvlm", image_side=32)
    two = load_adapter(
        open_reader(str(flavoured / "base"), "smolvlm", image_side=32), flavoured / "outputs/reader/bars/train/adapter"
    )
    said = [[a.text for a in r.generate([pictures[n] for n in range(3)], task.prompt, 40)] for r in (whole, two)]
    assert said[0] == said[1]


def test_the_document_has_the_table(flavoured):
    document = (flavoured / "flavours.md").read_text()
    table = (flavoured / "outputs/reader/bars/flavours/table.md").read_text()
    assert document == DOCUMENT.replace("old\n", table) and document.count("| ONNX") == 4
    assert "old" not in document
    assert {path.name for path in (flavoured / "outputs/reader/bars/flavours").iterdir()} == {"merged", "table.md"}


def test_a_process_that_ends_badly_is_a_sentence(tmp_path):
    order = Order("merged", str(tmp_path / "none.npz"), {}, 8, 2, 1, 1)
    with pytest.raises(FlavourFailed, match="merged"):
        flavours.measured(order, Sizes(1, 0), None, [], tmp_path)
    assert dataclasses.replace(order, rows=3).rows == 3


def test_the_document_of_the_example_has_marks():
    text = Path("docs/reader/flavours.md").read_text()
    assert f"<!-- {flavours.mark('keys')} -->\n" in text
