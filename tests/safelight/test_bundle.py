import stat

import pytest

from safelight.bundle import (
    CHALLENGER,
    CHAMPION,
    MODEL,
    Champion,
    Manifest,
    content_version,
    read_bundle,
    read_challenger,
    read_champion,
    read_served,
    write_bundle,
    write_challenger,
    write_champion,
)
from safelight.drift import STATISTICS
from safelight.errors import BundleError, ManifestInvalid, SignatureInvalid
from safelight.signing import SIGNATURE, sign, signing_key


def manifest(**changes):
    values = {
        "name": "coco",
        "version": "v1",
        "task": "object-detection",
        "labels": ("person", "cat"),
        "input": {"name": "images", "dtype": "float32", "shape": ("batch", 3, 64, 64)},
        "outputs": (),
        "preprocess": {"mode": "letterbox", "input_size": 64},
        "thresholds": {"score": 0.3, "nms_iou": 0.5},
        "metrics": {},
        "parity": {},
        "data_digest": None,
        "git_commit": "0" * 40,
        "configuration": {},
        "licence": "MIT",
        "files": {},
    }
    return Manifest(**{**values, **changes})


@pytest.fixture
def key(tmp_path):
    private = tmp_path / "keys" / "signing.key"
    signing_key(private)
    return private


@pytest.fixture
def folder(tmp_path, key):
    folder = tmp_path / "bundles" / "coco" / "v1"
    digest = write_bundle(folder, manifest(), {MODEL: b"a graph"}, "# a card", key)
    write_champion(folder.parent, Champion(name="coco", version="v1", digest=digest))
    return folder


def public(key):
    return [key.with_suffix(".pub")]


def test_the_key_is_private_and_made_once(key):
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    before = key.read_bytes()
    signing_key(key)
    assert key.read_bytes() == before


def test_what_was_written_is_read(folder, key):
    bundle = read_served(folder.parent, public(key))
    assert bundle.model == b"a graph"
    assert bundle.manifest.labels == ("person", "cat")
    assert bundle.manifest.preprocessing().input_size == 64


@pytest.mark.parametrize("name", [MODEL, "manifest.json", "README.md", SIGNATURE])
def test_one_flipped_bit_is_refused(folder, key, name):
    data = bytearray((folder / name).read_bytes())
    for position in (0, len(data) // 2, len(data) - 1):
        flipped = bytearray(data)
        flipped[position] ^= 1
        (folder / name).write_bytes(flipped)
        with pytest.raises(BundleError):
            read_bundle(folder, public(key))


@pytest.mark.parametrize("name", ["extra.bin", ".gitignore", "nested/extra.bin"])
def test_a_file_more_is_refused(folder, key, name):
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("x")
    with pytest.raises(BundleError):
        read_bundle(folder, public(key))


@pytest.mark.parametrize("name", [MODEL, "manifest.json", SIGNATURE])
def test_a_file_less_is_refused(folder, key, name):
    (folder / name).unlink()
    with pytest.raises(BundleError):
        read_bundle(folder, public(key))


def test_a_link_is_refused(folder, key, tmp_path):
    (tmp_path / "elsewhere").write_bytes((folder / MODEL).read_bytes())
    (folder / MODEL).unlink()
    (folder / MODEL).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BundleError):
        read_bundle(folder, public(key))


def test_another_key_or_none_is_refused(folder, tmp_path):
    stranger = signing_key(tmp_path / "stranger" / "signing.key")
    for keys in ([stranger], []):
        with pytest.raises(SignatureInvalid):
            read_bundle(folder, keys)


def test_a_signed_manifest_that_lies_is_refused(folder, key):
    text = (folder / "manifest.json").read_text()
    for lie in (
        text.replace('"v1"', '"v2"'),
        text.replace("input_size", "side"),
        text.replace("schema_version", "x"),
        "{}",
    ):
        (folder / "manifest.json").write_text(lie)
        (folder / SIGNATURE).unlink()
        sign(folder, key)
        with pytest.raises(ManifestInvalid):
            read_bundle(folder, public(key))


def test_only_the_promoted_bundle_is_served(folder, key):
    write_champion(folder.parent, Champion(name="coco", version="v1", digest="0" * 64))
    with pytest.raises(ManifestInvalid, match="not the one that was promoted"):
        read_served(folder.parent, public(key))


@pytest.mark.parametrize("text", ["", "{}", '{"name": "coco", "version": "../../x", "digest": "%s"}' % ("0" * 64)])
def test_a_champion_that_is_malformed_is_refused(folder, key, text):
    (folder.parent / CHAMPION).write_text(text)
    with pytest.raises(ManifestInvalid):
        read_served(folder.parent, public(key))


def test_writing_again_replaces_and_leaves_nothing_behind(folder, key):
    digest = write_bundle(folder, manifest(), {MODEL: b"another graph"}, "# a card", key)
    assert read_bundle(folder, public(key)).digest == digest
    assert {p.name for p in folder.parent.iterdir()} == {"v1", CHAMPION}


def test_the_version_follows_from_the_contents():
    assert content_version(b"a", {"x": 1}) == content_version(b"a", {"x": 1})
    assert content_version(b"a", {"x": 1}) != content_version(b"a", {"x": 2})
    assert content_version(b"ab", b"c") != content_version(b"a", b"bc")


def test_paths_may_be_relative(folder, key, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert read_bundle(folder.relative_to(tmp_path), [p.relative_to(tmp_path) for p in public(key)]).model == b"a graph"


def test_a_threshold_of_an_unknown_class_is_refused():
    thresholds = {"score": 0.3, "nms_iou": 0.5, "per_class": {"cat": 0.2}}
    assert manifest(thresholds=thresholds).decision().per_class == {"cat": 0.2}
    with pytest.raises(ManifestInvalid, match="expected labels of the model, got 'dog'"):
        manifest(thresholds={**thresholds, "per_class": {"dog": 0.2}}).decision()


INT8 = {"int8": {"file": "model.int8.onnx", "gate": {"drop": 0.002}}, "dct": {"least_side": 64, "gate": {}}}


def test_graphs_of_variants_are_part_of_the_bundle(tmp_path, key):
    folder = tmp_path / "coco" / "v1"
    write_bundle(folder, manifest(variants=INT8), {MODEL: b"a graph", "model.int8.onnx": b"a small graph"}, "", key)
    bundle = read_bundle(folder, public(key))
    assert bundle.files == {MODEL: b"a graph", "model.int8.onnx": b"a small graph"}
    assert "model.int8.onnx" in bundle.manifest.files
    assert bundle.manifest.variants["dct"].least_side == 64
    (folder / "model.int8.onnx").write_bytes(b"another graph")
    with pytest.raises(SignatureInvalid):
        read_bundle(folder, public(key))


@pytest.mark.parametrize("graphs", [{}, {"model.int4.onnx": b""}, {"model.int8.onnx": b"", "model.x.onnx": b""}])
def test_graphs_are_those_of_the_variants(tmp_path, key, graphs):
    with pytest.raises(ManifestInvalid, match="Expected the files"):
        write_bundle(tmp_path / "v1", manifest(variants=INT8), {MODEL: b"a graph", **graphs}, "", key)


def test_a_signed_manifest_that_names_a_graph_it_does_not_hold_is_refused(folder, key):
    text = (folder / "manifest.json").read_text()
    changed = text.replace('"variants": {}', '"variants": {"int8": {"file": "model.int8.onnx", "gate": {}}}')
    assert changed != text
    (folder / "manifest.json").write_text(changed)
    sign(folder, key)
    with pytest.raises(ManifestInvalid, match=r"model\.int8\.onnx"):
        read_bundle(folder, public(key))


@pytest.mark.parametrize(
    "variant",
    [
        {"gate": {}},
        {"file": "model.int8.onnx", "least_side": 64, "gate": {}},
        {"file": "../model.int8.onnx", "gate": {}},
        {"file": "manifest.json", "gate": {}},
        {"least_side": 0, "gate": {}},
        {"least_side": 64},
    ],
)
def test_a_variant_is_a_graph_of_ours_or_a_least_side(variant):
    with pytest.raises(ValueError):
        manifest(variants={"int8": variant})


GOLDEN = {
    "seed": 0,
    "tolerance": {"score": 0.01, "box": 1},
    "samples": [{"drawing": 0, "answers": [{"label": 0, "score": 0.5, "box": [0, 0, 8, 8]}]}],
}
REFERENCE = {"histograms": dict.fromkeys(STATISTICS, (30,) * 10)}


def test_golden_samples_and_reference_travel_in_the_manifest(tmp_path, key):
    folder = tmp_path / "coco" / "v1"
    told = manifest(variants=INT8, golden={MODEL: GOLDEN, "model.int8.onnx": GOLDEN}, reference=REFERENCE)
    write_bundle(folder, told, {MODEL: b"a graph", "model.int8.onnx": b"a small graph"}, "", key)
    found = read_bundle(folder, public(key)).manifest
    assert (found.golden, found.reference) == (told.golden, told.reference)
    assert found.golden["model.int8.onnx"].samples[0].answers[0].box == (0, 0, 8, 8)


def test_a_manifest_without_them_says_nothing_of_them():
    assert not {"golden", "reference"} & set(manifest().model_dump(mode="json"))


@pytest.mark.parametrize("name", ["model.int8.onnx", "README.md", "/etc/passwd"])
def test_golden_samples_are_of_the_bundle_s_graphs(name):
    with pytest.raises(ValueError, match="golden: expected the graphs"):
        manifest(golden={name: GOLDEN})


def test_a_challenger_is_named_beside_the_champion_and_taken_away(folder, key):
    champion = read_champion(folder.parent)
    assert read_challenger(folder.parent) is None
    with pytest.raises(ManifestInvalid, match=CHALLENGER):
        read_served(folder.parent, public(key), "challenger")
    digest = write_bundle(folder.with_name("v2"), manifest(version="v2"), {MODEL: b"another graph"}, "", key)
    challenger = Champion(name="coco", version="v2", digest=digest)
    write_challenger(folder.parent, challenger)
    assert read_challenger(folder.parent) == challenger and read_champion(folder.parent) == champion
    assert read_served(folder.parent, public(key), "challenger").model == b"another graph"
    assert read_served(folder.parent, public(key)).model == b"a graph"
    write_challenger(folder.parent, challenger.model_copy(update={"digest": "0" * 64}))
    with pytest.raises(ManifestInvalid, match="not the one"):
        read_served(folder.parent, public(key), "challenger")
    for _ in range(2):
        write_challenger(folder.parent, None)
    assert {path.name for path in folder.parent.iterdir()} == {"v1", "v2", CHAMPION}


@pytest.mark.parametrize("text", ["", "{}", '{"name": "trees", "version": "v1", "digest": "%s"}' % ("0" * 64)])
def test_a_challenger_that_is_malformed_is_refused(folder, text):
    (folder.parent / CHALLENGER).write_text(text)
    with pytest.raises(ManifestInvalid):
        read_challenger(folder.parent)
