"""A tiny reader as each stage leaves it: trained, exported, evaluated, measured in its flavours. Each stage runs once."""

import pytest

from pipelines.reader import evaluate, export, flavours, train
from tests.pipelines.reader import measured

DOCUMENT = f"before\n<!-- {flavours.mark('bars')} -->\nold\n<!-- end -->\nafter\n"


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    root = tmp_path_factory.mktemp("measured")
    measured.make(root)
    train.main(measured.configuration(root))
    return root


@pytest.fixture(scope="session")
def exported(trained):
    export.main(measured.configuration(trained))
    return trained


@pytest.fixture(scope="session")
def evaluated(exported):
    evaluate.main(measured.configuration(exported))
    return exported


@pytest.fixture(scope="session")
def flavoured(exported):
    (exported / "flavours.md").write_text(DOCUMENT)
    flavours.main(measured.configuration(exported))
    return exported
