"""Random faults for as long as wanted. A seed decides which; their instants vary with the machine."""

import random
from collections.abc import Iterator

from tests.crash.lab import Lab
from tests.crash.model_life import ModelLife

ROWS = (8, 12, 20, 30)
FOLDERS = ("high", "normal", "normal", "low")
LONGEST_CALM_S = 1.5
LONGEST_ACT_S = 0.5


def rage(lab: Lab, *, kills: int, seed: int, life: ModelLife | None = None) -> Iterator[int]:
    """Kill processes `kills` times while files of all priorities keep coming; yields after each kill.

    In between training is paused and resumed, and the daemon is stopped in order and started again.

    Args:
        life: what else is done to the model; every other kill comes while that is under way.
    """
    chance = random.Random(seed)
    lab.start()
    for number in range(1, kills + 1):
        while lab.num_waiting < 2:
            lab.drop(chance.choice(ROWS), chance.choice(FOLDERS))
        if number % 4:  # every fourth kill may come at any time, such as when everything is being started
            lab.until_another_step()
        lab.let_time_pass(LONGEST_CALM_S)
        if life and number % 2:
            life.begin_something()
            lab.let_time_pass(LONGEST_ACT_S)
            lab.kill_something()
            yield number
            continue
        match chance.randrange(6):
            case 0:
                lab.ask("pause")
                lab.let_time_pass(LONGEST_CALM_S / 2)
            case 1:
                lab.stop()
                lab.start()
            case 2:
                lab.drop(chance.choice(ROWS), "high")  # takes over from what is trained now
                lab.let_time_pass(LONGEST_CALM_S / 2)
        lab.kill_something()
        lab.ask("resume")
        yield number


def bring_to_an_end(lab: Lab, life: ModelLife | None = None) -> list[str]:
    """Let everything be trained, stop, and return what does not add up."""
    lab.ask("resume")
    if life:
        lab.until_up()
        life.come_to_an_end()
    lab.until_done()
    if life:
        life.check_backups()
    code = lab.stop()
    return [
        *([f"the daemon left with code {code}"] if code else []),
        *lab.problems(),
        *(life.evidence() if life else []),
    ]
