"""The bundles of a reader and of its base: written, signed, read, and refused when they do not belong together."""

import hashlib

import pytest
from pydantic import ValidationError

from safelight.bundle import Champion, Manifest, read_bundle, read_served, write_bundle, write_champion
from safelight.errors import BundleError, ManifestInvalid, SignatureInvalid
from safelight.manifest import Described
from safelight.reader.manifest import (
    ADAPTER,
    DECODER,
    EMBEDDING,
    TOKENIZER,
    VISION,
    BaseManifest,
    ReaderManifest,
)
from safelight.signing import sign, signing_key
from tests.safelight.test_bundle import manifest as detector

INT8 = "decoder.int8.onnx"
COMMON = {
    "version": "v1",
    "metrics": {},
    "parity": {},
    "data_digest": None,
    "git_commit": "0" * 40,
    "configuration": {},
    "licence": "Apache-2.0",
    "files": {},
}
ARCHITECTURE = {
    "family": "smolvlm",
    "layers": 2,
    "kv_heads": 1,
    "head_dim": 8,
    "hidden": 16,
    "vocabulary": 100,
    "positions": 64,
    "image_side": 32,
    "image_tokens": 4,
    "image_token_id": 99,
    "eos_token_ids": (2,),
    "adapted": {"text_model.layers.0.self_attn.q_proj": (16, 16)},
}
SCHEMA = {"type": "object", "properties": {"brand": {"enum": ["Schlage"]}}}
FILES = {VISION: b"sees", EMBEDDING: b"knows", DECODER: b"says", TOKENIZER: b"{}"}


def base(**changes):
    values = {"name": "offline-135m", "task": "vision-language-base", "architecture": ARCHITECTURE, **COMMON}
    return BaseManifest.model_validate({**values, **changes})


def reader(**changes):
    values = {
        "name": "keys",
        "task": "image-to-json",
        "base": {"name": "offline-135m", "version": "v1", "digest": "0" * 64},
        "rank": 4,
        "json_schema": SCHEMA,
        "prompt": "Read the key.",
        "prompt_ids": (1, 5, 99, 99, 99, 99, 6),
        "max_new_tokens": 40,
        **COMMON,
    }
    return ReaderManifest.model_validate({**values, **changes})


@pytest.fixture
def key(tmp_path):
    signing_key(tmp_path / "signing.key")
    return tmp_path / "signing.key"


@pytest.fixture
def folder(tmp_path, key):
    """A base with a variant, one of its files given by its path, and a champion."""
    (tmp_path / "large").write_bytes(b"says")
    folder = tmp_path / "offline-135m" / "v1"
    told = base(variants={"int8": {"file": INT8, "gate": {"equal": 1.0}}})
    digest = write_bundle(folder, told, {**FILES, DECODER: tmp_path / "large", INT8: b"mumbles"}, "# A card", key)
    write_champion(folder.parent, Champion(name="offline-135m", version="v1", digest=digest))
    return folder


def public(key):
    return [key.with_suffix(".pub")]


def test_a_base_is_read_with_the_files_that_are_asked_for(folder, key):
    whole = read_served(folder.parent, public(key), kind=BaseManifest)
    assert whole.files == {**FILES, INT8: b"mumbles"}
    assert whole.manifest.architecture.adapted == {"text_model.layers.0.self_attn.q_proj": (16, 16)}
    assert whole.manifest.files[DECODER] == hashlib.sha256(b"says").hexdigest()
    few = read_served(
        folder.parent, public(key), kind=BaseManifest, files=lambda told: {TOKENIZER, told.variants["int8"].file}
    )
    assert few.files == {TOKENIZER: b"{}", INT8: b"mumbles"} and few.digest == whole.digest
    assert read_bundle(folder, public(key), BaseManifest, lambda told: ()).files == {}


def test_a_reader_is_read(tmp_path, key):
    digest = write_bundle(tmp_path / "keys" / "v1", reader(), {ADAPTER: b"matrices"}, "# A card", key)
    found = read_bundle(tmp_path / "keys" / "v1", public(key), ReaderManifest)
    assert (found.files, found.digest) == ({ADAPTER: b"matrices"}, digest)
    assert found.manifest.model_copy(update={"files": {}}) == reader()


def test_what_is_asked_for_must_be_there(folder, key):
    with pytest.raises(ManifestInvalid, match=r"model\.onnx"):
        read_bundle(folder, public(key), BaseManifest, lambda told: {"model.onnx"})


@pytest.mark.parametrize("kind", [Manifest, ReaderManifest])
def test_a_bundle_of_another_task_is_refused(folder, key, kind):
    with pytest.raises(ManifestInvalid, match="got one of another"):
        read_bundle(folder, public(key), kind)


def test_any_task_may_be_taken(folder, tmp_path, key):
    assert isinstance(read_bundle(folder, public(key), Described).manifest, BaseManifest)
    write_bundle(tmp_path / "coco" / "v1", detector(), {"model.onnx": b"a graph"}, "# A card", key)
    assert isinstance(read_bundle(tmp_path / "coco" / "v1", public(key), Described).manifest, Manifest)
    with pytest.raises(ManifestInvalid, match="object-detection"):
        read_bundle(folder, public(key))


@pytest.mark.parametrize("name", [VISION, DECODER, INT8, TOKENIZER, "README.md"])
def test_a_file_that_was_not_asked_for_is_checked_all_the_same(folder, key, name):
    """Signed by who may sign, and yet not what the manifest says: the signature alone does not make it good."""
    (folder / name).write_bytes(b"another")
    with pytest.raises(SignatureInvalid):
        read_bundle(folder, public(key), BaseManifest, lambda told: ())
    sign(folder, key)
    with pytest.raises(ManifestInvalid, match=f"{name} does not have the digest"):
        read_bundle(folder, public(key), BaseManifest, lambda told: ())


@pytest.mark.parametrize("files", [{}, FILES, {**FILES, INT8: b"", "more": b""}, {**FILES, "decoder.int4.onnx": b""}])
def test_what_the_manifest_lists_is_what_is_given(tmp_path, key, files):
    with pytest.raises(ManifestInvalid, match="Expected the files"):
        write_bundle(tmp_path / "v1", base(variants={"int8": {"file": INT8, "gate": {}}}), files, "", key)


def test_a_large_file_is_not_held_in_memory(tmp_path, key):
    import tracemalloc

    size = 64 * 2**20
    with (tmp_path / "large").open("wb") as file:
        file.truncate(size)
    folder = tmp_path / "base" / "v1"
    tracemalloc.start()
    write_bundle(folder, base(), {**FILES, DECODER: tmp_path / "large"}, "", key)
    read_bundle(folder, public(key), BaseManifest, lambda told: {TOKENIZER})
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < size / 2


def test_a_reader_fits_its_base_alone():
    told = reader()
    told.check_base(base(), "0" * 64)
    for other, digest in ((base(), "1" * 64), (base(version="v2"), "0" * 64), (base(name="other"), "0" * 64)):
        with pytest.raises(ManifestInvalid, match="got another one"):
            told.check_base(other, digest)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompt_ids": (1, 99, 99, 99)}, "4 image tokens, it has 3"),
        ({"prompt_ids": (100, 99, 99, 99, 99)}, "below 100"),
        ({"max_new_tokens": 58}, "64 positions"),
    ],
)
def test_a_prompt_that_the_base_cannot_be_asked_is_refused(changes, message):
    with pytest.raises(ManifestInvalid, match=message):
        reader(**changes).check_base(base(), "0" * 64)


@pytest.mark.parametrize(
    "changes",
    [
        {"image_token_id": 100},
        {"eos_token_ids": (100,)},
        {"eos_token_ids": ()},
        {"layers": 0},
        {"adapted": {"q": (0, 1)}},
        {"family": "Smol VLM"},
        {"more": 1},
    ],
)
def test_an_architecture_that_cannot_be_is_refused(changes):
    with pytest.raises(ValidationError):
        base(architecture={**ARCHITECTURE, **changes})


@pytest.mark.parametrize(
    "changes",
    [
        {"json_schema": {"type": "array"}},
        {"json_schema": {"type": "object"}},
        {"prompt_ids": (-1,)},
        {"rank": 0},
        {"calibration": {"scale": float("nan")}},
        {"calibration": {"scale": 1, "slope": 1}},
        {"base": {"name": "b", "version": "../v", "digest": "0" * 64}},
        {"task": "object-detection"},
    ],
)
def test_a_reader_that_cannot_be_is_refused(changes):
    with pytest.raises(ValidationError):
        reader(**changes)


@pytest.mark.parametrize("file", ["model.int8.onnx", "../decoder.int8.onnx", "decoder.onnx", "vision.onnx"])
def test_a_variant_is_a_decoder(file):
    with pytest.raises(ValidationError):
        base(variants={"int8": {"file": file, "gate": {}}})


def test_a_task_that_nobody_knows_is_refused(folder, key):
    text = (folder / "manifest.json").read_text()
    for lie in (text.replace("vision-language-base", "flow"), text.replace('"task"', '"chore"'), "[]", ""):
        (folder / "manifest.json").write_text(lie)
        sign(folder, key)
        with pytest.raises(BundleError):
            read_bundle(folder, public(key), Described)
