"""A version on trial, against a real MLflow on an SQLite file."""

import json
import shutil
import subprocess

import pytest
from hydra import compose, initialize_config_dir
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from pipelines import challenge, promote, register
from pipelines.challenge import overrides
from pipelines.stage import CONF
from safelight.bundle import read_challenger, read_champion, read_served
from tests.pipelines.promotion import NAME, configured, shifted, write_data, write_export
from tests.serving.graphs import colour_graph


class Project:
    """A champion, and a candidate that is another version."""

    def __init__(self, root, uri):
        self.root, self.uri, self.client = root, uri, MlflowClient(uri)
        self.home = root / "bundles" / NAME
        self.champion = self.register(shifted(1))
        promote.main(configured(uri))
        self.candidate = self.register(colour_graph())

    def register(self, graph, *settings):
        write_export(self.root, graph)
        register.main(configured(self.uri, *settings))
        return json.loads((self.root / "outputs/register" / NAME / "candidate.json").read_text())["version"]

    def challenge(self, *arguments):
        with initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
            cfg = compose("challenge", overrides=[f"tracking.uri={self.uri}", *overrides(list(arguments))])
        challenge.main(cfg)

    def on_trial(self):
        """The version in challenger.json, which the alias and a verified bundle agree on; None when there is none."""
        try:
            alias = self.client.get_model_version_by_alias(NAME, "challenger").tags["bundle_version"]
        except MlflowException:
            alias = None
        named = read_challenger(self.home)
        assert alias == (named and named.version)
        if named is not None:
            key = self.root / ".safelight/signing.pub"
            assert read_served(self.home, [key], "challenger").manifest.version == named.version
        return alias


@pytest.fixture
def project(empty_registry, in_tmp):
    shutil.copy(empty_registry, in_tmp / "mlflow.db")
    write_data(in_tmp)
    for command in ("init -q", "-c user.name=t -c user.email=t@localhost commit -q --allow-empty -m start"):
        subprocess.run(["git", *command.split()], check=True)  # a manifest wants a commit
    return Project(in_tmp, f"sqlite:///{in_tmp}/mlflow.db")


def test_the_candidate_is_tried_by_any_of_its_names_and_promoted(project, capsys):
    for version in ("candidate", project.candidate, "2"):
        project.challenge(f"name={NAME}", f"version={version}")
        assert f"challenge: {NAME} {project.candidate} is on trial" in capsys.readouterr().out
        assert project.on_trial() == project.candidate
        assert read_champion(project.home).version == project.champion
        project.challenge(f"name={NAME}", "--clear")
        assert project.on_trial() is None
    project.challenge(f"name={NAME}", "version=candidate")
    promote.main(configured(project.uri))
    assert project.on_trial() is None and read_champion(project.home).version == project.candidate
    project.challenge(f"name={NAME}", "version=1")  # the champion before, which lies here still
    assert project.on_trial() == project.champion
    promote.main(configured(project.uri, "promotion.rollback=true"))
    assert project.on_trial() is None and read_champion(project.home).version == project.champion


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((f"name={NAME}",), "Expected name=NAME and either"),
        (("version=candidate",), "Expected name=NAME and either"),
        ((f"name={NAME}", "version=1", "--clear"), "Expected name=NAME and either"),
        ((f"name={NAME}", "version=abc"), "no bundle of version abc"),
        ((f"name={NAME}", "version=77"), "no bundle of version 77"),
        ((f"name={NAME}", "version=1"), "is the champion. A challenger is another version"),
        (("name=birds", "version=candidate"), r"Expected candidate\.json"),
        ((f"name={NAME}", "version=candidate", "tracking.uri=http://127.0.0.1:9"), "registry does not answer"),
    ],
)
def test_what_cannot_be_tried_is_said_in_one_sentence(project, arguments, said):
    with pytest.raises(SystemExit, match=said):
        project.challenge(*arguments)
    assert project.on_trial() is None


def test_a_bundle_that_was_changed_or_has_other_labels_is_not_tried(project):
    model = project.root / "outputs/register" / NAME / project.candidate / "model.onnx"
    model.write_bytes(shifted(3))
    with pytest.raises(SystemExit, match="A bundle cannot be used"):
        project.challenge(f"name={NAME}", "version=candidate")
    project.register(shifted(2), "data.labels=[person,dog]")
    with pytest.raises(SystemExit, match="does not have the champion's labels"):
        project.challenge(f"name={NAME}", "version=candidate")
    assert project.on_trial() is None


def test_the_command_line_is_quoted_for_hydra():
    assert overrides(["name=coco", "version=12e456789012", "--clear"]) == [
        "name=coco",
        "version='12e456789012'",
        "end=true",
    ]
    assert overrides(["clear=true", "version=a b"]) == ["end=true", "version=a b"]
