"""register and promote, from exported graphs to the alias, against a real MLflow on an SQLite file."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from pipelines import promote, register
from pipelines.promote import overrides
from pipelines.registry import settle
from pipelines.run import said_of
from safelight.bundle import read_champion, read_served
from safelight.errors import RegistryUnavailable
from tests.pipelines.promotion import NAME, configured, shifted, write_data, write_export
from tests.serving.graphs import colour_graph
from tests.serving.graphs import promote as put_in_place
from tests.serving.head_graphs import described, head_graph

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def uri(empty_registry, in_tmp):
    shutil.copy(empty_registry, in_tmp / "mlflow.db")
    write_data(in_tmp)
    for command in ("init -q", "-c user.name=t -c user.email=t@localhost commit -q --allow-empty -m start"):
        subprocess.run(["git", *command.split()], check=True)  # a manifest wants a commit
    return f"sqlite:///{in_tmp}/mlflow.db"


class Project:
    """The stages in the working directory, and what they leave."""

    def __init__(self, uri, root):
        self.uri, self.root, self.client = uri, root, MlflowClient(uri)
        self.home = root / "bundles" / NAME

    def register(self, graph, **written):
        write_export(self.root, graph, **written)
        register.main(configured(self.uri))
        return json.loads((self.root / "outputs/register" / NAME / "candidate.json").read_text())["version"]

    def promote(self, *settings):
        promote.main(configured(self.uri, *overrides(list(settings))))

    def served(self):
        """The version in champion.json, which the alias and a verified bundle agree on."""
        version = read_champion(self.home).version
        alias = self.client.get_model_version_by_alias(NAME, "champion")
        assert alias.tags["bundle_version"] == version
        assert read_served(self.home, [self.root / ".safelight/signing.pub"]).manifest.version == version
        return version

    def decision(self):
        return json.loads((self.root / "metrics/promotion" / f"{NAME}.json").read_text())

    def receipts(self):
        return [json.loads(path.read_text()) for path in sorted((self.home / "receipts").iterdir())]


@pytest.fixture
def project(uri, in_tmp):
    return Project(uri, in_tmp)


def test_register_sets_the_candidate_and_no_more(project, capsys):
    version = project.register(colour_graph())
    entry = project.client.get_model_version_by_alias(NAME, "candidate")
    assert entry.tags["bundle_version"] == version
    assert project.client.get_registered_model(NAME).aliases == {"candidate": entry.version}
    assert not (project.home / "champion.json").exists()
    assert project.client.get_run(entry.run_id).data.tags["kind"] == "registered"
    before = {p: p.read_bytes() for p in (project.root / "outputs/register").rglob("*") if p.is_file()}
    assert project.register(colour_graph()) == version
    assert before == {p: p.read_bytes() for p in (project.root / "outputs/register").rglob("*") if p.is_file()}
    assert "MLflow version 1 @candidate" in capsys.readouterr().out
    logged = [a.path for a in project.client.list_artifacts(entry.run_id, f"evaluation/{NAME}")]
    assert f"evaluation/{NAME}/picture.jpg" in logged


def test_pictures_of_private_data_are_not_logged(project):
    write_export(project.root, colour_graph())
    register.main(configured(project.uri, "data.private=true"))
    run = project.client.get_model_version_by_alias(NAME, "candidate").run_id
    assert [a.path for a in project.client.list_artifacts(run, "evaluation")] == ["evaluation/thresholds.json"]


def test_the_run_is_the_one_that_made_the_weights(project):
    import hashlib

    graph = colour_graph()
    weights = hashlib.sha256(hashlib.sha256(graph).digest()).hexdigest()
    experiment = project.client.create_experiment("safelight")
    runs = [project.client.create_run(experiment, tags={"weights_sha256": w}) for w in (weights, "0" * 64)]
    project.register(graph)
    entry = project.client.get_model_version_by_alias(NAME, "candidate")
    assert entry.run_id == runs[0].info.run_id


def test_an_accepted_and_a_refused_promotion_and_the_way_back(project, capsys):
    first = project.register(shifted(2))
    project.promote()
    assert project.served() == first and "the first" in capsys.readouterr().out
    better = project.register(colour_graph(), map50=0.1)  # test figures are worse, and in no gate
    project.promote()
    assert project.served() == better
    assert project.decision()["decision"] == "accepted"
    assert project.decision()["gates"]["quality"]["candidate"] == pytest.approx(1.0)
    assert project.decision()["test"]["candidate"]["value"] == 0.1
    assert said_of(project.decision()) == f"{better} was promoted over {first}"

    worse = project.register(shifted(6))
    capsys.readouterr()
    with pytest.raises(SystemExit, match=r"The promotion was refused: .*quality: mAP50 0\.000 against 1\.000.*allowed"):
        project.promote()
    assert project.served() == better
    assert "REFUSED  quality" in capsys.readouterr().out
    receipt = project.receipts()[-1]
    assert (receipt["decision"], receipt["version"], receipt["champion"]["version"]) == ("refused", worse, better)
    assert [gate["gate"] for gate in receipt["gates"] if not gate["passed"]] == ["quality"]
    entry = project.client.get_model_version_by_alias(NAME, "candidate")
    assert entry.tags["promotion"] == "refused"
    assert entry.tags["promotion_receipt"].endswith(f"-{worse}.json")

    assert said_of(project.decision()).startswith(f"{worse} was refused, {better} stays (quality: mAP50 0.000 against")

    project.promote("promotion.refused=keep")  # as the pipeline does: it goes on with the old one
    assert project.served() == better
    decision = json.dumps(project.decision(), sort_keys=True)
    project.promote("promotion.refused=keep")
    assert json.dumps(project.decision(), sort_keys=True) == decision  # what git keeps does not change by itself

    project.promote("--rollback")
    assert project.served() == first and "is the champion again" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="no champion before the present one"):
        project.promote("--rollback")


def test_the_pipeline_does_not_bring_back_what_was_rolled_back(project, capsys):
    first = project.register(shifted(2))
    project.promote()
    second = project.register(colour_graph())
    project.promote()
    project.promote("--rollback")
    project.promote("promotion.refused=keep")
    assert project.served() == first and "not rolled back: it was rolled back before" in capsys.readouterr().out
    project.promote(f"version={second}")
    assert project.served() == second


def test_the_champion_already_is_nothing_to_do(project, capsys):
    version = project.register(colour_graph())
    project.promote()
    decision = project.decision()
    project.promote()
    assert f"{version} is the champion already, nothing to do" in capsys.readouterr().out
    assert project.decision() == decision and len(project.receipts()) == 1


def test_other_labels_need_a_word_of_consent(project):
    project.register(colour_graph())
    project.promote()
    write_export(project.root, shifted(1))
    register.main(configured(project.uri, "data.labels=[person,dog]"))
    with pytest.raises(SystemExit, match="do not have the same labels"):
        project.promote()
    project.promote("promotion.accept_unmeasured=true")
    assert project.decision()["gates"]["quality"]["accepted_unmeasured"]


def test_too_few_pictures_tell_nothing(project):
    project.register(shifted(1))
    project.promote()
    project.register(colour_graph())
    with pytest.raises(SystemExit, match=r"8 plots tell nothing \(at least 9 do\)"):
        project.promote("promotion.quality.least_plots=9")


@pytest.mark.parametrize(
    ("settings", "gate", "said"),
    [
        (["promotion.latency.picture_s=1e-9"], "latency", r"s a picture \(allowed 1e-09 s\)"),
        (["data.card=data/none.md"], "data card", "expected a data card"),
        (["data.card=null"], "data card", "names no data card"),
        (["export.tolerance.score=1e-9"], "parity", r"scores of tensors 1e-07 \(allowed 1e-09\)"),
    ],
)
def test_a_first_champion_has_gates_too(project, settings, gate, said):
    project.register(colour_graph())
    with pytest.raises(SystemExit, match=f"{gate}: .*{said}"):
        project.promote(*settings)
    assert not (project.home / "champion.json").exists()
    with pytest.raises(SystemExit):  # there is nothing to keep, so the pipeline cannot go on
        project.promote(*settings, "promotion.refused=keep")


def test_a_bundle_that_was_changed_is_not_even_run(project):
    version = project.register(colour_graph())
    model = project.root / "outputs/register" / NAME / version / "model.onnx"
    model.write_bytes(shifted(1))
    with pytest.raises(SystemExit, match=r"manifest: .*a file has changed"):
        project.promote()
    assert not project.home.joinpath(version).exists()


def test_a_manifest_that_leaves_things_out_is_refused(project):
    write_export(project.root, colour_graph())
    (project.root / "metrics" / f"{NAME}.json").write_text('{"reason": null, "test": null, "val": null}')
    register.main(configured(project.uri, "about.licence=' '"))
    with pytest.raises(SystemExit, match=r"there is no licence; .*neither figures nor a reason"):
        project.promote()


def test_a_champion_that_no_longer_verifies_needs_a_word_of_consent(project):
    first = project.register(shifted(1))
    project.promote()
    (project.home / first / "README.md").write_text("another")
    second = project.register(colour_graph())
    with pytest.raises(SystemExit, match="the champion's bundle cannot be used"):
        project.promote()
    project.promote("promotion.accept_unmeasured=true")
    assert project.served() == second
    with pytest.raises(SystemExit, match=f"{first}, the champion before, cannot be served again"):
        project.promote("--rollback")
    assert project.served() == second


def test_another_server_gets_the_entry_from_the_bundle(project, empty_registry):
    version = project.register(colour_graph())
    project.promote()
    shutil.copy(empty_registry, project.root / "mlflow.db")  # a server that knows nothing
    project.client = MlflowClient(project.uri)
    second = project.register(shifted(0.5))
    project.promote()
    assert project.served() == second
    with pytest.raises(SystemExit, match=f"does not know {NAME} {version}"):
        project.promote("--rollback")


def test_a_team_that_has_a_champion_is_not_given_a_first_one(project):
    first = project.register(colour_graph())
    project.promote()
    shutil.rmtree(project.root / "bundles")
    second = project.register(shifted(3))
    with pytest.raises(SystemExit, match=f"in the registry @champion of {NAME} is version 1 .bundle {first}"):
        project.promote()
    project.promote("promotion.first=true")
    assert project.served() == second


def test_bundles_that_were_deleted_come_back_as_they_were(project):
    version = project.register(colour_graph())
    project.promote()
    shutil.rmtree(project.root / "bundles")
    project.promote()
    assert project.served() == version


def test_versions_and_mistakes_on_the_command_line(project):
    assert overrides(["a=b", "--rollback"]) == ["a=b", "promotion.rollback=true"]
    assert overrides(["version=12e456789012"]) == ["promotion.version='12e456789012'"]
    assert overrides(["version=a b"]) == ["version=a b"]  # not ours: Hydra refuses it
    with pytest.raises(SystemExit, match="Run the stages before"):
        project.promote()
    project.register(colour_graph())
    for settings, said in {
        ("version=abc",): "no bundle of version abc",
        ("--rollback", "version=abc"): "got both",
        ("promotion.refused=never",): "expected error or keep",
    }.items():
        with pytest.raises(SystemExit, match=said):
            project.promote(*settings)
    Path("outputs/register", NAME, "candidate.json").write_text("{}")
    with pytest.raises(SystemExit, match=r"well-formed candidate\.json"):
        project.promote()


def test_nothing_moves_while_mlflow_does_not_answer(project):
    version = project.register(colour_graph())
    project.promote()
    project.register(shifted(0.5))
    with pytest.raises(SystemExit, match="The model registry does not answer"):
        promote.main(configured("http://127.0.0.1:9"))
    assert project.served() == version


def test_accepted_variants_travel_in_the_bundle(project):
    small = shifted(0.25)
    write_export(project.root, colour_graph())
    export = project.root / "outputs/export" / NAME
    (export / "model.int8.onnx").write_bytes(small)
    accepted = {"outcome": "accepted", "reason": None, "gate": {"drop": 0.0}, "use": {"file": "model.int8.onnx"}}
    (export / "report.json").write_text(json.dumps({"variants": {"int8": accepted, "dct": {"outcome": "not offered"}}}))
    register.main(configured(project.uri))
    project.promote()
    served = read_served(project.home, [project.root / ".safelight/signing.pub"])
    assert served.files["model.int8.onnx"] == small and list(served.manifest.variants) == ["int8"]


def half_promoted(project):
    """The second of two versions, whose promotion was killed between champion.json and the alias. Returns it."""
    first = project.register(colour_graph())
    project.promote()
    second = project.register(shifted(0.5))
    shutil.copytree(project.root / "outputs/register" / NAME / second, project.home / second)
    key = str(project.root / ".safelight/signing.pub")
    command = [sys.executable, "-m", "tests.training.registry.mover", str(project.home), "promote", second, "champion"]
    killed = subprocess.run([*command, key, project.uri], cwd=ROOT, check=False, timeout=120)
    assert killed.returncode == -signal.SIGKILL
    assert read_champion(project.home).version == second
    assert project.client.get_model_version_by_alias(NAME, "champion").tags["bundle_version"] == first
    return second


def test_whoever_comes_after_a_kill_completes_the_move(project, capsys):
    second = half_promoted(project)
    with pytest.raises(RegistryUnavailable):
        settle(configured("http://127.0.0.1:9"), [NAME])  # half a move is no state to package
    settle(configured(project.uri), [NAME])
    assert f"{NAME}: completed an unfinished move to {second}" in capsys.readouterr().out
    assert project.served() == second
    settle(configured("http://127.0.0.1:9"), [NAME])
    assert "going by champion.json alone" in capsys.readouterr().out
    project.client.set_registered_model_alias(NAME, "champion", "1")  # by hand
    settle(configured(project.uri), [NAME])
    assert "as " + second + " is served" in capsys.readouterr().out
    assert project.served() == second


def test_a_champion_with_another_head_is_compared_as_it_is_served(project):
    """One that was adopted sees what the candidate sees; it says it as YOLOv8 does."""
    version = project.register(colour_graph())
    key = project.root / ".safelight/signing.key"
    put_in_place(project.root / "bundles", key, head_graph("yolov8"), name=NAME, **described("yolov8"))
    project.promote()
    assert project.served() == version
    (receipt,) = project.receipts()
    (quality,) = (gate for gate in receipt["gates"] if gate["gate"] == "quality")
    assert receipt["champion"]["version"] == "v1"
    assert quality["figures"]["champion"] == quality["figures"]["candidate"] == 1
