"""Kill and compare with two processes that share each step: whichever dies, all go, and nothing is lost."""

import psutil

from tests.crash.chaos import bring_to_an_end
from tests.support import PATIENCE_S, eventually


def test_kills_of_either_process_and_of_the_daemon_change_no_bit_of_what_is_learned(make_lab):
    lab = make_lab(seed=11, training={"processes": 2, "average": "window", "average_steps": 4})
    lab.drop(120)
    lab.fork_followers(True)
    lab.start()
    seen = []

    for kill in (kill_follower, kill_worker, kill_daemon):
        lab.until_another_step()
        seen += lab.followers()
        # The one whose worker is killed is a child of it, as it is at a user's
        lab.fork_followers(kill is not kill_follower)
        kill(lab)

    assert bring_to_an_end(lab) == []
    assert (lab.layout.models / "current_average").is_dir(), "no average was compared"
    assert lab.worker_deaths() == ["the worker was killed by SIGKILL"] * 2
    assert len(set(seen)) == 3, "one follower for each worker"
    eventually(lambda: not any(map(psutil.Process.is_running, seen)), timeout_s=PATIENCE_S)


def kill_follower(lab):
    [follower] = lab.followers()
    follower.kill()


def kill_worker(lab):
    lab.kill_workers()


def kill_daemon(lab):
    lab.kill_daemon()
    lab.start()
