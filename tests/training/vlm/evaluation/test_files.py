"""What an evaluation leaves: tables that can be read back, sheets that say right and wrong, memory and tables."""

import csv
import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from safelight.reader.manifest import Calibration
from tests.training.vlm.made_records import pixels
from training.evaluation.tables import markdown, put_table
from training.vlm.evaluation.files import Exhibit, file_name, write_errors, write_gallery, write_reliability
from training.vlm.evaluation.flavours import Flavour, Way, flavour_figures, table
from training.vlm.evaluation.memory import peak_bytes
from training.vlm.evaluation.reading import MISSING, Reading
from training.vlm.evaluation.sheet import _RIGHT, _WRONG, Shown, pieces, sheet
from training.vlm.evaluation.speed import Spent

THERE = {"keyway": "SC1", "cuts": [1, 2, 3]}
READINGS = {
    "validation": [Reading(THERE, THERE, -0.1)],
    "test": [
        Reading(THERE, THERE, -0.1),
        Reading(THERE, {"keyway": "SC4", "cuts": [1, 3]}, -1.0),
        Reading(THERE, None, -9.0),
    ],
}
FIELDS = ("keyway", "cuts")


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_errors_by_kind(tmp_path):
    write_errors(tmp_path, READINGS, FIELDS)
    assert read(tmp_path / "errors.csv") == [
        {"split": "test", "kind": "cuts: fewer items", "answers": "1"},
        {"split": "test", "kind": "keyway: another value", "answers": "1"},
        {"split": "test", "kind": "no answer of the task", "answers": "1"},
    ]
    pairs = [(row["actual"], row["predicted"]) for row in read(tmp_path / "confusion_cuts.csv")]
    assert pairs == [("1", "1"), ("1", "1"), ("2", "2"), ("2", "3"), ("3", "3"), ("3", "(nothing)")]
    with Image.open(tmp_path / "confusion_keyway.png") as chart:
        assert chart.width > 100


def test_reliability(tmp_path):
    by = Calibration(scale=2.0, offset=-0.5)
    write_reliability(tmp_path, READINGS, by, True)
    assert Calibration(**json.loads((tmp_path / "calibration.json").read_text())) == by
    rows = json.loads((tmp_path / "reliability.json").read_text())
    assert [row["confidence"] for row in rows["test"]["before"]] == pytest.approx([np.exp(-1), np.exp(-0.1)], abs=1e-4)
    assert [row["right"]["value"] for row in rows["test"]["before"]] == [0.0, 1.0]
    assert rows["test"]["after"] != rows["test"]["before"]
    fitted = (tmp_path / "reliability.png").read_bytes()
    write_reliability(tmp_path, READINGS, Calibration(), False)
    assert (tmp_path / "reliability.png").read_bytes() != fitted


def test_names_of_files():
    fields = ("Bitting Code", "bitting_code", "../../etc/passwd", "keyway", "x" * 99)
    assert [file_name(name, n, fields) for n, name in enumerate(fields)] == [
        "0",
        "1",
        "______etc_passwd",
        "keyway",
        "4",
    ]


def test_what_is_wrong_is_followed_by_what_is_there():
    _, wrong, _ = READINGS["test"]
    assert pieces(wrong, "keyway")[1:] == [("SC4 ", _WRONG), (" is SC1", "#1A1A1A")]
    assert pieces(wrong, "cuts")[1:] == [("1 ", _RIGHT), ("3 ", _WRONG), ("– ", _WRONG), (" is 1 2 3", "#1A1A1A")]
    assert pieces(Reading(THERE, THERE), "cuts")[1:] == [("1 ", _RIGHT), ("2 ", _RIGHT), ("3 ", _RIGHT)]
    assert pieces(READINGS["test"][2], "keyway")[1:] == [("no answer", _WRONG), (" is SC1", "#1A1A1A")]
    assert pieces(Reading({"a": []}, {"a": []}), "a")[1:] == [("[] ", _RIGHT)]
    assert pieces(Reading({"a": {"b": 1}}, {}), "a")[1:] == [("nothing ", _WRONG), (' is {"b": 1}', "#1A1A1A")]
    assert Reading({}, {}).field("a") == (MISSING, MISSING)


def test_a_sheet_has_room_for_all(tmp_path):
    shown = [Shown(pixels(n)[: 160 - 30 * n], one, 0.5) for n, one in enumerate(READINGS["test"])]
    made = sheet(shown * 2, FIELDS, "Six of them")
    assert made.dtype == np.uint8 and made.shape[1] == 4 * 350 + 14 and made.shape[0] > 2 * 336
    assert (made != 255).any(axis=2).mean() > 0.3
    for colour in ((0x00, 0x73, 0x5B), (0xD5, 0x5E, 0x00)):
        assert (made == colour).all(axis=2).any()
    long = Shown(pixels(0), Reading({"keyway": "x" * 500}, {"keyway": "y\n" * 50}), None)
    assert sheet([long], ("keyway",), "t" * 500).shape[1] == 350 + 14
    write_gallery(tmp_path / "gallery", {"some": Exhibit("Some", shown), "none": Exhibit("None", [])}, FIELDS)
    assert [path.name for path in (tmp_path / "gallery").iterdir()] == ["some.png"]


def test_tables_take_the_place_of_older_ones(tmp_path):
    rows = markdown([("a", "b"), ("1", "2")])
    assert rows == "| a | b |\n|---|---|\n| 1 | 2 |"
    document = tmp_path / "document.md"
    assert not put_table(document, "mark", rows)
    document.write_text("before\n<!-- mark -->\nold\n<!-- end -->\n<!-- other -->\nkept\n<!-- end -->\n")
    for _ in range(2):
        assert put_table(document, "mark", rows) and not put_table(document, "none", rows)
        assert document.read_text() == (
            f"before\n<!-- mark -->\n{rows}\n<!-- end -->\n<!-- other -->\nkept\n<!-- end -->\n"
        )


def test_the_table_of_flavours():
    way = Way(Spent(1, 0.5, 20, 20, 20), Spent(3, 0.75, 60, 20, 22), READINGS["test"])
    figures = flavour_figures(Flavour(2_000_000, 500_000_000, 1.0, 2.0, 2**30, {"plain": way}), FIELDS)
    assert figures["plain"]["exact"]["value"] == pytest.approx(1 / 3, abs=1e-6)
    text = table({"rows": 8, "flavours": {"onnx": figures, "int8": {"reason": "not accepted at export"}}})
    head, _, first, second = text.splitlines()
    assert "8 together: s/picture" in head and head.count("|") == first.count("|") == second.count("|")
    assert first == (
        "| ONNX, fp32 (engine) | plain | 2.0 MB + 500.0 MB | 1.0 + 2.0 s | 1024 MiB | 0.50 | 40 | 0.25 | 80 | "
        "0.33 (0.06 to 0.79) |"
    )
    assert "not accepted at export" in second


def test_peak_memory_is_that_of_the_process(tmp_path):
    code = (
        "from training.vlm.evaluation.memory import peak_bytes\n"
        "before = peak_bytes(); held = bytearray(200_000_000); del held; print(before, peak_bytes())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    assert 195_000_000 < after - before < 240_000_000 and before < 200_000_000
    assert peak_bytes(tmp_path / "none") > 2**20
