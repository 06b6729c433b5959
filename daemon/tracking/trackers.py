"""How the tracker is made that the settings ask for."""

from daemon.tracking.outbox import Outbox
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
