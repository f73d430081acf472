"""One model in MLflow's registry: its entries by bundle version, and the three aliases that point at them.

Aliases, not stages: `@candidate` is the newest, `@champion` the one that is served, `@challenger` the one on trial beside it.
Knows nothing of files or gates.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import sqlalchemy
from boto3.exceptions import Boto3Error
from botocore.exceptions import BotoCoreError, ClientError
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from sqlalchemy.exc import SQLAlchemyError

from safelight.errors import ConfigError, RegistryUnavailable
from training.registry.registered import BUNDLE_VERSION, Registered

CANDIDATE = "candidate"
CHAMPION = "champion"
CHALLENGER = "challenger"
RECEIPT_FOLDER = "promotion"
_ABSENT = "RESOURCE_DOES_NOT_EXIST"
_PROBE_S = 5


@dataclass(frozen=True)
class Registry:
    """The entries of `name` in the registry at `tracking_uri`. Every method raises RegistryUnavailable."""

    tracking_uri: str
    name: str

    def check(self) -> None:
        """Ask whether the server is there at all; MLflow itself would try again for minutes.

        Raises ConfigError when the driver of its database is not installed.
        """
        scheme = self.tracking_uri.partition(":")[0].partition("+")[0]
        with answering():
            if scheme in ("http", "https"):
                httpx.get(f"{self.tracking_uri.rstrip('/')}/health", timeout=_PROBE_S)
            elif scheme in ("postgresql", "mysql"):
                try:
                    engine = sqlalchemy.create_engine(self.tracking_uri, connect_args={"connect_timeout": _PROBE_S})
                except ImportError as error:
                    raise ConfigError(
                        f"{scheme}: the driver {error.name} is not installed; name one that is."
                    ) from None
                engine.connect().close()
                engine.dispose()

    def find(self, bundle_version: str) -> Registered | None:
        """The newest entry of a bundle's version."""
        with answering():
            query = f"name = '{self.name}' and tags.{BUNDLE_VERSION} = '{bundle_version}'"
            found = [_entry(version) for version in self._client.search_model_versions(query)]
        return max(found, key=lambda entry: int(entry.version), default=None)

    def champion(self) -> Registered | None:
        """What `@champion` points at."""
        return self.pointed(CHAMPION)

    def pointed(self, alias: str) -> Registered | None:
        """What an alias points at; None when there is no such alias, or no such model."""
        with answering():
            try:
                version = self._client.get_registered_model(self.name).aliases.get(alias)
            except MlflowException as error:
                if error.error_code != _ABSENT:
                    raise
                return None
            return _entry(self._client.get_model_version(self.name, str(version))) if version is not None else None

    def challenger(self) -> Registered | None:
        """What `@challenger` points at."""
        return self.pointed(CHALLENGER)

    def numbered(self, version: str) -> Registered | None:
        """The entry of one of the registry's own version numbers."""
        with answering():
            try:
                return _entry(self._client.get_model_version(self.name, version))
            except MlflowException as error:
                if error.error_code != _ABSENT:
                    raise
                return None

    def set_champion(self, registered: Registered) -> None:
        """Point `@champion` at an entry."""
        self._point(CHAMPION, registered)

    def set_candidate(self, registered: Registered) -> None:
        """Point `@candidate` at an entry."""
        self._point(CANDIDATE, registered)

    def set_challenger(self, registered: Registered | None) -> None:
        """Point `@challenger` at an entry; None: at nothing."""
        if registered is not None:
            self._point(CHALLENGER, registered)
        elif self.challenger() is not None:
            with answering():
                self._client.delete_registered_model_alias(self.name, CHALLENGER)

    def keep_receipt(self, registered: Registered, receipt: Path) -> None:
        """Log a promotion's receipt to the entry's run, and name it in the entry's tags."""
        with answering():
            self._client.log_artifact(registered.run_id, str(receipt), RECEIPT_FOLDER)
            self._client.set_model_version_tag(
                self.name, registered.version, "promotion_receipt", f"{RECEIPT_FOLDER}/{receipt.name}"
            )

    def tag(self, registered: Registered, key: str, value: str) -> None:
        """Tag an entry."""
        with answering():
            self._client.set_model_version_tag(self.name, registered.version, key, value)

    @property
    def _client(self) -> MlflowClient:
        return MlflowClient(self.tracking_uri)

    def _point(self, alias: str, registered: Registered) -> None:
        with answering():
            self._client.set_registered_model_alias(self.name, alias, registered.version)


@contextmanager
def answering() -> Iterator[None]:
    """Say in one sentence that MLflow, its database or its file store failed; addresses may hold passwords."""
    try:
        yield
    except (
        MlflowException,
        SQLAlchemyError,
        Boto3Error,
        BotoCoreError,
        ClientError,
        httpx.HTTPError,
        OSError,
    ) as error:
        raise RegistryUnavailable(
            f"MLflow, as MLFLOW_TRACKING_URI names it, or its file store failed ({type(error).__name__}). "
            "Nothing was changed by this step; run the same command again when it answers."
        ) from None


def _entry(version: ModelVersion) -> Registered:
    return Registered(
        version.name, str(version.version), str(version.run_id), str(version.tags.get(BUNDLE_VERSION, ""))
    )
