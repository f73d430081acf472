"""register and promote of readers, from exported graphs to the alias, against a real MLflow on an SQLite file."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from mlflow.tracking import MlflowClient
from safetensors.numpy import load_file

from pipelines import challenge
from pipelines.package import lay_out
from pipelines.promote import overrides
from pipelines.reader import bases, promote, register
from pipelines.stage import CONF
from safelight.bundle import read_bundle, read_challenger, read_champion, read_served
from safelight.errors import SignatureInvalid
from safelight.reader.manifest import ADAPTER, BaseManifest, ReaderManifest
from serving.models.loading import catalogue_of
from serving.settings import load_settings
from tests.pipelines.reader.released import (
    BASE,
    NAME,
    OUT,
    PARITY,
    configured,
    metrics,
    of_bases,
    write_data,
    write_outputs,
)
from tests.serving.reader import tiny

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny.base(tmp_path_factory.mktemp("base"))


class Project:
    """The stages in the working directory, and what they leave."""

    def __init__(self, uri, root, base):
        self.uri, self.root, self.base, self.client = uri, root, base, MlflowClient(uri)
        self.home = root / "bundles" / NAME
        self.key = root / ".safelight/signing.pub"

    def register(self, *settings, **written):
        write_outputs(self.root, self.base, **written)
        register.main(configured(self.uri, *settings))
        return json.loads((self.root / OUT / "register/candidate.json").read_text())["version"]

    def promote(self, *settings):
        promote.main(configured(self.uri, *overrides(list(settings))))

    def served(self):
        """The version in champion.json, which the alias, a verified bundle and its base agree on."""
        version = read_champion(self.home).version
        alias = self.client.get_model_version_by_alias(NAME, "champion")
        assert alias.tags["bundle_version"] == version
        manifest = read_served(self.home, [self.key], kind=ReaderManifest).manifest
        folder = self.root / "bundles" / manifest.base.name / manifest.base.version
        found = read_bundle(folder, [self.key], BaseManifest)
        manifest.check_base(found.manifest, found.digest)
        return version

    def bases(self):
        return sorted(path.name for path in (self.root / "bundles" / BASE).iterdir())

    def decision(self):
        return json.loads((self.root / "metrics/promotion" / f"{NAME}.json").read_text())


@pytest.fixture
def project(empty_registry, in_tmp, base):
    shutil.copy(empty_registry, in_tmp / "mlflow.db")
    write_data(in_tmp)
    for command in ("init -q", "-c user.name=t -c user.email=t@localhost commit -q --allow-empty -m start"):
        subprocess.run(["git", *command.split()], check=True)  # a manifest wants a commit
    return Project(f"sqlite:///{in_tmp}/mlflow.db", in_tmp, base)


def test_what_is_registered_is_the_adapter_alone(project, in_tmp):
    import mlflow

    version = project.register()
    entry = project.client.get_model_version_by_alias(NAME, "candidate")
    bundle = read_bundle(in_tmp / OUT / "register" / version, [project.key], ReaderManifest)
    pinned = bundle.manifest.base
    assert {key: entry.tags[f"base_{key}"] for key in ("name", "version", "digest")} == pinned.model_dump()
    assert project.client.get_run(entry.run_id).data.params["base_digest"] == pinned.digest
    mlflow.set_tracking_uri(project.uri)
    logged = mlflow.artifacts.download_artifacts(f"models:/{NAME}/{entry.version}", dst_path=str(in_tmp / "logged"))
    files = {path.name for path in (in_tmp / "logged").rglob("*") if path.is_file()} - {"registered_model_meta"}
    assert files == {ADAPTER, "manifest.json", "README.md", "MLmodel"}
    found = load_file(f"{logged}/{ADAPTER}")
    assert found and all(name.startswith("lora.") for name in found)
    assert mlflow.models.get_model_info(f"models:/{NAME}/{entry.version}").flavors["safelight_adapter"]["base"] == (
        pinned.model_dump()
    )
    everything = sum(path.stat().st_size for path in (in_tmp / "mlruns").rglob("*") if path.is_file())
    assert everything < 6 * (in_tmp / OUT / "export" / ADAPTER).stat().st_size  # no graph is among it
    assert not list((in_tmp / "mlruns").rglob("*.onnx"))
    assert not (in_tmp / "bundles").exists() or not any((in_tmp / "bundles").glob("*/*/manifest.json"))


def test_the_cards_say_what_it_knows_and_what_misuse_there_is(project, in_tmp):
    version = project.register()
    card = (in_tmp / OUT / "register" / version / "README.md").read_text()
    for said in (
        "knows only drawn keys",
        "## Misuse",
        "one's own keys",
        "| test / constrained / exact | 0.930 (0.910 to 0.950) | 300 |",
    ):
        assert said in card, said
    assert "100 of 100" in card and "16 of 16" in card
    (folder,) = (in_tmp / OUT / "register/bases" / BASE).iterdir()
    assert "## Limits" in (folder / "README.md").read_text()


def test_a_promoted_reader_is_served(project):
    version = project.register()
    project.promote()
    assert project.served() == version and len(project.bases()) == 1
    assert all(gate["passed"] for gate in project.decision()["gates"].values())
    settings = load_settings(ROOT, {}).model_copy(
        update={"bundles": project.root / "bundles", "public_keys": (project.key,)}
    )
    catalogue = catalogue_of(settings)
    try:
        catalogue.load()  # there is no detector: the reader, and its golden readings, are looked at at once
        assert catalogue.reader(NAME).manifest.version == version
    finally:
        catalogue.close()


def test_the_same_export_again_keeps_bundles_and_digests(project, in_tmp):
    version = project.register()
    before = {path: path.read_bytes() for path in (in_tmp / OUT / "register").rglob("model.sig")}
    assert project.register() == version
    assert {path: path.read_bytes() for path in (in_tmp / OUT / "register").rglob("model.sig")} == before
    assert len(project.client.search_model_versions(f"name='{NAME}'")) == 1


def test_another_adapter_shares_the_base_even_where_its_cheaper_decoder_went(project):
    project.register(int8=True)
    project.promote()
    first = project.bases()
    second = project.register(seed=2)  # whose gate refused 8 bits
    project.promote()
    assert project.served() == second and project.bases() == first
    project.promote("--rollback")
    assert project.served() != second


@pytest.mark.parametrize(
    ("measured", "settings", "said"),
    [
        (metrics(met=False), (), r"targets: fields/keyway is 0.950 \(expected 0.98\)"),
        (metrics(exact=0.91), (), r"quality: test/constrained/exact/value 0.910 against 0.930"),
        (metrics(), ("promotion.parity.pictures=101",), r"parity: 100 pictures were compared \(at least 101\)"),
        (metrics(), ("task.card=data/none.md",), "data card: expected a data card"),
        (metrics(), ("promotion.latency.picture_s=1e-9",), r"latency: .* s a picture"),
        ({"task": NAME}, (), "there are no figures on test records"),
    ],
)
def test_a_candidate_that_falls_short_is_refused_and_the_champion_stays(project, measured, settings, said):
    first = project.register()
    project.promote()
    project.register(seed=2, measured=measured)
    with pytest.raises(SystemExit, match=said):
        project.promote(*settings)
    assert project.served() == first
    project.promote(*settings, "promotion.refused=keep")
    assert project.decision()["decision"] == "refused" and project.served() == first


def test_figures_of_other_records_are_not_compared(project, in_tmp):
    project.register()
    project.promote()
    write_data(in_tmp, test_digest="f" * 64)
    second = project.register(seed=2, measured=metrics(exact=0.5))
    with pytest.raises(SystemExit, match="not measured on the same test records"):
        project.promote()
    project.promote("promotion.accept_unmeasured=true")
    assert project.served() == second


def test_targets_may_be_told_and_bind_nobody(project):
    version = project.register(measured=metrics(met=False))
    project.promote("promotion.targets=false")
    assert project.served() == version
    assert "binds nobody" in project.decision()["gates"]["targets"]["said"]


def test_graphs_that_differ_from_torch_are_refused(project, in_tmp):
    write_outputs(in_tmp, project.base)
    (in_tmp / OUT / "export/parity.json").write_text(json.dumps({**PARITY, "equal": 99}))
    register.main(configured(project.uri))
    with pytest.raises(SystemExit, match="parity: 99 of 100 pictures"):
        project.promote()
    assert not (project.home / "champion.json").exists()


def test_a_licence_must_be_told(project):
    project.register("task.about.licence=' '")
    with pytest.raises(SystemExit, match="there is no licence"):
        project.promote()


def test_nothing_moves_without_the_base(project, in_tmp):
    project.register()
    shutil.rmtree(in_tmp / OUT / "register/bases")
    with pytest.raises(SystemExit, match=f"Expected the base {BASE}"):
        project.promote()
    assert not (project.home / "champion.json").exists()


def test_a_base_that_was_changed_is_not_even_run(project, in_tmp):
    project.register()
    (graph,) = (in_tmp / OUT / "register/bases").rglob("vision.onnx")
    graph.write_bytes(graph.read_bytes() + b"x")
    with pytest.raises(SystemExit, match=r"manifest: .*a file has changed"):
        project.promote()


def test_one_cannot_return_to_a_champion_whose_base_has_gone(project, in_tmp):
    project.register()
    project.promote()
    project.register(seed=2)
    project.promote()
    shutil.rmtree(in_tmp / "bundles" / BASE)
    with pytest.raises(SystemExit, match=f"Expected the base {BASE} .* that {NAME} .* adapts in its folder"):
        project.promote("--rollback")


def other_base(base):
    """The same architecture with other weights."""
    import onnx
    from onnx import numpy_helper

    model = onnx.load_from_string(base.files["embedding.onnx"])
    weights = max(model.graph.initializer, key=lambda one: len(one.raw_data))
    weights.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weights) * 1.01, weights.name))
    return tiny.Base(
        base.network,
        base.tokenizer,
        base.architecture,
        {**base.files, "embedding.onnx": model.SerializeToString()},
        base.tokens,
    )


def test_bases_go_only_when_they_are_told_to_and_nobody_needs_them(project, capsys):
    project.register()
    project.promote()
    (first,) = project.bases()
    project.base = other_base(project.base)
    project.register(seed=2)
    project.promote()
    (second,) = set(project.bases()) - {first}
    bases.main(of_bases())
    said = capsys.readouterr().out
    assert f"{BASE} {first}: to return to a champion before of keys" in said and f"{BASE} {second}: keys" in said
    assert len(project.bases()) == 2
    with pytest.raises(SystemExit, match=f"{BASE} {second} is needed by keys"):
        bases.main(of_bases(f"remove='{second}'"))
    bases.main(of_bases("remove=unused"))  # one may still want to return to the first
    assert len(project.bases()) == 2
    bases.main(of_bases(f"remove='{first}'"))
    assert project.bases() == [second] and project.served()
    with pytest.raises(SystemExit, match="has no base of version abc"):
        bases.main(of_bases("remove=abc"))


def test_a_reader_is_tried_beside_the_champion_on_its_own_base(project, in_tmp):
    first = project.register()
    project.promote()
    project.base = other_base(project.base)
    second = project.register(seed=2)
    with initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
        cfg = compose("challenge", [f"tracking.uri={project.uri}", f"name={NAME}", "version=candidate"])
    challenge.main(cfg)
    assert read_challenger(project.home).version == second and project.served() == first
    assert len(project.bases()) == 2
    lay_out(in_tmp / "bundles", NAME, in_tmp / "bento", project.key)
    assert len(list((in_tmp / "bento" / BASE).iterdir())) == 2


def test_what_was_not_registered_cannot_be_promoted(project):
    with pytest.raises(SystemExit, match="Run the stages before"):
        project.promote()


def test_a_bento_has_readers_with_their_bases_and_nothing_that_does_not_verify(project, in_tmp):
    version = project.register()
    project.promote()
    folder = in_tmp / "bundles"
    assert lay_out(folder, NAME, in_tmp / "bento", project.key) == version
    (base,) = project.bases()
    held = sorted(str(path.relative_to(in_tmp / "bento")) for path in (in_tmp / "bento").glob("*/*"))
    assert held == sorted([f"{NAME}/{version}", f"{NAME}/champion.json", f"{BASE}/{base}"])
    graph = in_tmp / "bento" / BASE / base / "decoder.onnx"
    assert graph.samefile(folder / BASE / base / "decoder.onnx")  # no copy of most of a gigabyte
    damaged = folder / BASE / base / "tokenizer.json"
    text = damaged.read_text()
    damaged.unlink()
    damaged.write_text(text + " ")
    with pytest.raises(SignatureInvalid):
        lay_out(folder, NAME, in_tmp / "another", project.key)
