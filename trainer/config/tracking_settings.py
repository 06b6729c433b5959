"""The settings of trackers, which draw the curves of a model's life."""

import re
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, field_serializer
from pydantic_core import PydanticCustomError

from trainer.config.section import FileName, Section
from trainer.protocol.masking import masked

Folder = Annotated[FileName, Field(min_length=1)]


def _refuse_odd_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,80}", name) or name in (".", ".."):
        raise PydanticCustomError("name", "up to 80 letters, digits, and the characters _ . -")
    return name


def _refuse_no_server(address: str) -> str:
    if not re.fullmatch(r"https?://[!-~]+", address):
        raise PydanticCustomError("server", "an address that begins with http:// or https://")
    return address


def _refuse_no_store(uri: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9+.-]*(://[!-~]*|)", uri):
        raise PydanticCustomError(
            "uri", "an address such as http://127.0.0.1:5000 or sqlite:////srv/mlflow.db, without spaces"
        )
    return uri


Name = Annotated[str, AfterValidator(_refuse_odd_name)]


class TensorBoardOptions(Section):
    """Event files, which need no server."""

    kind: ClassVar[str] = "tensorboard"

    folder: Folder = "logs/tensorboard"
    name: Name = "training"

    def destination(self, base: Path) -> str:
        """Return what tells the place that rows are sent to from others."""
        return str(base / self.folder)


class WandbOptions(Section):
    """Weights & Biases, or a server that speaks as it does."""

    kind: ClassVar[str] = "wandb"

    folder: Folder = "logs/wandb"
    project: Name = "training"
    name: Name = "training"
    entity: Name | None = None
    mode: Literal["online", "offline"] = "online"
    server: Annotated[str, AfterValidator(_refuse_no_server)] | None = None

    def destination(self, base: Path) -> str:
        """Return what tells the place that rows are sent to from others."""
        place = [str(base / self.folder)] if self.mode == "offline" else [str(self.server), str(self.entity)]
        return "\n".join([self.mode, *place, self.project])


class MlflowOptions(Section):
    """MLflow: a server, a database, or files."""

    kind: ClassVar[str] = "mlflow"

    folder: Folder = "logs/mlflow"
    uri: Annotated[str, AfterValidator(_refuse_no_store)] | None = None
    experiment: Annotated[str, Field(min_length=1, max_length=200)] = "training"
    name: Name = "training"

    @field_serializer("uri")
    def _without_password(self, uri: str | None) -> str | None:
        # Settings are written into checkpoints, versions and what --check-config prints
        return None if uri is None else masked(uri)

    def destination(self, base: Path) -> str:
        """Return what tells the place that rows are sent to from others."""
        return "\n".join([self.uri or str(base / self.folder), self.experiment])


class TrackioOptions(Section):
    """trackio, in an environment of its own."""

    kind: ClassVar[str] = "trackio"

    folder: Folder = "logs/trackio"
    project: Name = "training"
    name: Name = "training"
    python: Folder | None = None

    def destination(self, base: Path) -> str:
        """Return what tells the place that rows are sent to from others."""
        return "\n".join([str(base / self.folder), self.project])


Options = TensorBoardOptions | WandbOptions | MlflowOptions | TrackioOptions


class TrackingSettings(Section):
    """Curves of the model's life in tools that draw them: see `docs/TRACKING.md`.

    Each is an object with its options, `{}` for all defaults; null is none. A change takes effect
    immediately.
    """

    tensorboard: TensorBoardOptions | None = None
    """TensorBoard: `folder` for its files (relative to the working directory), `name` of the runs. Needs the
    extra `tensorboard`."""

    wandb: WandbOptions | None = None
    """Weights & Biases: `mode` (`online` or `offline`), `project`, `entity`, `name` of the runs, `server` if
    it is one of your own, `folder` for its files. Needs the extra `wandb`, and online `WANDB_API_KEY` in the
    daemon's environment, or `wandb login`."""

    mlflow: MlflowOptions | None = None
    """MLflow: `uri` of a server or database (null writes into `folder`), `experiment`, `name` of the runs.
    Needs the extra `mlflow`."""

    trackio: TrackioOptions | None = None
    """trackio: `project`, `name` of the runs, `folder` for its files, `python` of an environment that has it
    (null takes the one that `scripts/setup trackio` makes)."""

    @property
    def wanted(self) -> list[Options]:
        """The options of each tracker that is set."""
        found: list[Options | None] = [self.tensorboard, self.wandb, self.mlflow, self.trackio]
        return [options for options in found if options]
