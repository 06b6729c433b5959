"""Which trackers the settings ask for, where each sends to, and how it is made."""

from pathlib import Path

from daemon.tracking.outbox import Outbox, outbox_file
from daemon.tracking.to_mlflow import Mlflow
from daemon.tracking.to_tensorboard import TensorBoard
from daemon.tracking.to_trackio import Trackio, default_python
from daemon.tracking.to_wandb import Wandb
from daemon.tracking.tracker import Tracker
from trainer.config.tracking_settings import (
    MlflowOptions,
    Options,
    TensorBoardOptions,
    TrackioOptions,
    WandbOptions,
)
from trainer.protocol.layout import Layout


def file_of(layout: Layout, options: Options) -> Path:
    """Return where the process of a tracker notes how far it has come."""
    return outbox_file(layout, options.kind, _destination(layout, options))


def make_tracker(layout: Layout, options: Options, outbox: Outbox) -> Tracker:
    """Return the tracker that the settings ask for.

    Raises:
        UnusableTracker: what it needs is not there.
    """
    folder = layout.base / options.folder
    match options:
        case TensorBoardOptions():
            return TensorBoard(folder)
        case WandbOptions():
            return Wandb(options, folder, before=outbox.pid)
        case MlflowOptions():
            return Mlflow(options.uri, folder, options.experiment)
        case TrackioOptions():
            python = layout.base / options.python if options.python else default_python()
            return Trackio(folder, options.project, python)


def _destination(layout: Layout, options: Options) -> str:
    """Return what tells the place that a tracker sends to from others."""
    folder = str(layout.base / options.folder)
    match options:
        case TensorBoardOptions():
            return folder
        case WandbOptions():
            place = [folder] if options.mode == "offline" else [str(options.server), str(options.entity)]
            return "\n".join([options.mode, *place, options.project])
        case MlflowOptions():
            return "\n".join([options.uri or folder, options.experiment])
        case TrackioOptions():
            return "\n".join([folder, options.project])
