"""What the soak does to a daemon, where its order matters."""

import signal

from tests.crash.lab import Lab
from tests.crash.model_life import ModelLife
from tests.crash.soak import Soak


def test_a_second_daemon_is_started_only_when_the_first_is_up_however_long_that_takes(make_lab, monkeypatch):
    lab = make_lab(seed=1, forks_daemon=False)
    lab.start()
    first = lab.daemon_process()
    first.send_signal(signal.SIGSTOP)  # long before it takes the lock
    until_up = Lab.until_up

    def go_on(waiting):
        first.send_signal(signal.SIGCONT)
        until_up(waiting)

    monkeypatch.setattr(Lab, "until_up", go_on)
    Soak(lab, ModelLife(lab, seed=1), seed=1).start_second_daemon()  # fails unless the second is refused

    assert lab.status()["daemon_pid"] == first.pid
