"""The prepare stage of readers: one JSONL or given splits in, checked and parted records with their pictures out."""

import json
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from PIL import Image

from pipelines.reader.prepare import main, prepare
from pipelines.reader.tasks import task_of
from pipelines.stage import CONF, plain
from safelight.errors import ConfigError, DataError
from tests.training.vlm.made_records import SCHEMA, TASK, folder, lines, picture, record
from training.vlm.prepared import read_split


def values(tmp_path, records, *overrides):
    """The task `custom`, as somebody gives it on the command line."""
    given = (f"task.records={records}", f"task.schema={schema_file(tmp_path)}")
    return plain(configuration(tmp_path, *given, *overrides).task)


def schema_file(tmp_path):
    path = tmp_path / "schema.json"
    path.write_text(json.dumps(SCHEMA))
    return path


def configuration(tmp_path, *overrides):
    with initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
        return compose(
            "reader",
            [
                "task=custom",
                "task.name=blocks",
                f"paths.processed={tmp_path}/processed",
                f"paths.outputs={tmp_path}/outputs",
                *overrides,
            ],
        )


def stored(tmp_path, split):
    path = tmp_path / f"processed/blocks/{split}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


def contents(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_one_jsonl_is_parted_by_group(tmp_path, capsys):
    root = folder(tmp_path / "theirs", {"mine": range(40)})
    main(
        configuration(tmp_path, f"task.records={root}", f"task.schema={schema_file(tmp_path)}", "task.group=[/serial]")
    )
    said = " ".join(capsys.readouterr().out.split())
    assert "40 lines, 40 records, 0 set aside" in said
    splits = {split: stored(tmp_path, split) for split in ("train", "validation", "test")}
    assert sum(map(len, splits.values())) == 40
    serials = {split: {r["serial"] for r in own} for split, own in splits.items()}
    assert (
        not serials["train"] & (serials["test"] | serials["validation"]) and not serials["test"] & serials["validation"]
    )
    report = json.loads((tmp_path / "processed/blocks/report.json").read_text())
    assert (
        report["splits"]["train"]["groups"] == len(serials["train"]) and len(report["splits"]["test"]["sha256"]) == 64
    )
    assert report["splits"]["train"]["quality"]["width"] == {"least": 160, "median": 160, "most": 160}
    labelled = read_split(tmp_path / "processed/blocks", "train", TASK)
    assert len(labelled) == len(splits["train"]) and all(own.picture.is_file() for own in labelled)


def test_the_same_input_makes_the_same_bytes_and_origins_are_kept(tmp_path):
    root = folder(tmp_path / "theirs", {"mine": range(20)})
    prepare(values(tmp_path, root))
    before = contents(tmp_path / "processed/blocks")
    prepare(values(tmp_path, root))
    assert contents(tmp_path / "processed/blocks") == before
    for origin in map(json.loads, before["origins.jsonl"].decode().splitlines()):
        number = origin["line"] - 1
        assert before[origin["image_path"]] == (root / f"images/{number}.png").read_bytes()


def test_a_digest_is_of_what_is_read_not_of_how_it_is_stored(tmp_path):
    one = folder(tmp_path / "one", {"mine": range(12)})
    other = folder(tmp_path / "other", {"mine": range(12)})
    for number in range(12):
        picture(other / f"images/{number}.png", number, compress_level=0)
    three = folder(tmp_path / "three", {"mine": range(12)})
    lines(three / "mine.jsonl", [record(n, **({"colour": "blue"} if n == 5 else {})) for n in range(12)])
    a, b, c = (prepare(values(tmp_path, root))["splits"] for root in (one, other, three))
    digests = [{name: own["sha256"] for name, own in splits.items()} for splits in (a, b, c)]
    assert digests[0] == digests[1] != digests[2]


def test_given_splits_stay(tmp_path):
    root = folder(
        tmp_path / "theirs", {"train": range(9), "val": range(9, 12), "test": range(12, 15), "hard": range(15, 17)}
    )
    report = prepare(values(tmp_path, root))
    assert {name: own["records"] for name, own in report["splits"].items()} == {
        "train": 9,
        "validation": 3,
        "test": 3,
        "hard": 2,
    }
    assert [r["counts"] for r in stored(tmp_path, "hard")] == [record(n)["counts"] for n in (15, 16)]


def test_given_splits_that_leak_are_refused(tmp_path):
    root = folder(tmp_path / "theirs", {"train": range(9), "validation": range(9, 12), "test": range(12, 15)})
    with pytest.raises(DataError, match=r"groups of the split 'validation'.*task\.group"):
        prepare(values(tmp_path, root, "task.group=[/serial]"))  # s4 is in both
    with Image.open(root / "images/3.png") as image:
        image.resize((150, 150)).save(root / "images/13.png")  # a smaller copy of a training picture
    with pytest.raises(DataError, match=r"1 of 3 pictures of the split 'test'.*task\.max_leaked"):
        prepare(values(tmp_path, root))
    report = prepare(values(tmp_path, root, "task.max_leaked=0.4"))
    assert report["leaked"]["shared_pictures"]["test"] == 1 and report["duplicates"]["across"] == 1


def test_bad_lines_are_kept_with_their_reasons(tmp_path):
    root = folder(tmp_path / "theirs", {"mine": range(30)})
    with (root / "mine.jsonl").open("a") as file:
        file.write("nonsense\n")
    report = prepare(values(tmp_path, root))
    assert report["quarantined"] == 1 and report["reasons"] == {"json": 1}
    (bad,) = stored(tmp_path, "quarantine")
    assert (bad["file"], bad["line"], bad["text"], bad["reasons"][0]["kind"]) == ("mine.jsonl", 31, "nonsense", "json")


def test_too_many_are_refused_kept_beside_and_nothing_else_changes(tmp_path):
    root = folder(tmp_path / "theirs", {"mine": range(20)})
    prepare(values(tmp_path, root))
    before = contents(tmp_path / "processed/blocks")
    with (root / "mine.jsonl").open("a") as file:
        file.write("nonsense\n" * 5)
    with pytest.raises(DataError, match=r"5 of 25 lines.*blocks\.quarantine\.jsonl"):
        prepare(values(tmp_path, root))
    assert contents(tmp_path / "processed/blocks") == before
    beside = tmp_path / "processed/blocks.quarantine.jsonl"
    assert [json.loads(line)["line"] for line in beside.read_text().splitlines()] == [21, 22, 23, 24, 25]
    prepare(values(tmp_path, root, "task.max_quarantined=0.5"))
    assert not beside.exists()


def test_turned_pictures_are_stored_upright(tmp_path):
    root = folder(tmp_path / "theirs", {"mine": range(12)})
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = picture(root / "images/0.jpg", 77, exif=exif, quality=95)
    lines(root / "mine.jsonl", [record(0, image_path="images/0.jpg"), *map(record, range(1, 12))])
    assert turned.is_file() and prepare(values(tmp_path, root))["records"] == 12
    origins = {o["line"]: o["image_path"] for o in stored(tmp_path, "origins")}
    with Image.open(tmp_path / "processed/blocks" / origins[1]) as image:
        assert image.format == "PNG" and not image.getexif()


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("task.records=null", "task.records=FILE"),
        ("task.schema=null", "task.schema=FILE"),
        ("task.schema=/no/such.json", "task.schema"),
        ("task.schema={type: object}", "constrains nothing"),
        ("task.group=[/nothing]", "/colour"),
        ("task.group=[colour]", "task.group"),
        ("task.quality={min_blur: 1}", "task.quality: min_blur"),
        ("task.split.fractions.test=0", "task.split"),
        ("task.max_quarantined=3", "max_quarantined"),
        ("task.name=../x", "task.name"),
        ("task.image_side=7", "image_side"),
    ],
)
def test_what_cannot_be_is_said(tmp_path, override, said):
    root = folder(tmp_path / "theirs", {"mine": range(3)})
    with pytest.raises(ConfigError, match=said):
        prepare(values(tmp_path, root, override))


def test_files_that_are_no_splits(tmp_path):
    root = folder(tmp_path / "theirs", {"train": range(3), "monday": range(3, 5)})
    with pytest.raises(ConfigError, match="monday"):
        prepare(values(tmp_path, root))
    with pytest.raises(DataError, match="found none"):
        prepare(values(tmp_path, tmp_path))


def test_a_folder_that_the_stage_did_not_make_is_not_replaced(tmp_path):
    precious = tmp_path / "processed/blocks"
    precious.mkdir(parents=True)
    (precious / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match="did not make"):
        prepare(values(tmp_path, folder(tmp_path / "theirs", {"mine": range(9)})))
    assert (precious / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize("path", sorted((CONF / "task").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_task_of_conf(path):
    with initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
        task = plain(compose("reader", [f"task={path.stem}"]).task)
    if path.stem == "custom":
        return
    assert task_of(task).name == path.stem and Path(task["card"]).parts[0] == "data"
