"""One base for all tests here."""

import pytest

from serving.models.loading import catalogue_of
from tests.serving.graphs import promote
from tests.serving.reader import bundles, tiny


@pytest.fixture(scope="session")
def base(tmp_path_factory):
    return tiny.base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="session")
def reader_bundles(base, tmp_path_factory, private_key):
    """A detector; two readers of keys and one of meters on one base."""
    folder = tmp_path_factory.mktemp("reader-bundles")
    promote(folder, private_key, name="coco")
    promote(folder, private_key, name="tree-crowns")
    pinned = bundles.write_base(folder, private_key, base)
    bundles.write_reader(folder, private_key, base, pinned)
    bundles.write_reader(folder, private_key, base, pinned, name="meters", seed=2, schema=tiny.METERS)
    return folder


@pytest.fixture(scope="session")
def reader_settings(settings, reader_bundles):
    return bundles.with_readers(settings, reader_bundles, "keys", "meters")


@pytest.fixture(scope="session")
def loaded(reader_settings):
    """A catalogue with all of them."""
    catalogue = catalogue_of(reader_settings)
    catalogue.load()
    catalogue.load_readers()
    yield catalogue
    catalogue.close()


@pytest.fixture(scope="session")
def reading(reader_settings, loaded, make_client):
    """A client of a service that reads."""
    return make_client(reader_settings, loaded)
