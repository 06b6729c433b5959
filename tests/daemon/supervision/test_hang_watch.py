"""Which silence of a worker is a hang, second by second."""

import pytest

from daemon.supervision.hang_watch import Signs, Watch
from trainer.protocol.messages import Heartbeat, Held, StepsTaken

START = 1000.0
IDLE = Signs(cpu_s=1.0, io_bytes=0, state="sleeping")


class Observed:
    """A watch that is looked after once a second, as the daemon does."""

    def __init__(self, *, hang_after_s=120.0, ceiling_s=3600.0, longest_waits=None):
        self.longest_waits = {} if longest_waits is None else longest_waits
        self.now = START
        self.signs = IDLE
        self.num_looks_closer = 0
        self.watch = Watch(self.longest_waits, hang_after_s=hang_after_s, ceiling_s=ceiling_s, now=self.now)

    def hear(self, event):
        self.watch.hear(event, self.now)

    def beat(self, section="training", ticks=0):
        self.hear(Heartbeat(section=section, ticks=ticks))

    def look(self):
        if self.watch.wants_signs(self.now):
            self.num_looks_closer += 1
            self.watch.see(self.signs, self.now)
        return self.watch.hang(self.now)

    def first_hang(self, until_s, *, each_second=lambda: None):
        """Return after how many seconds from now it hangs, and the sentence; None if it does not."""
        for second in range(1, until_s + 1):
            self.now += 1
            each_second()
            if sentence := self.look():
                return second, sentence
        return None

    def works(self, *, cpu_s=0.0, io_bytes=0):
        """Let the process use this much in a second."""
        self.signs = Signs(self.signs.cpu_s + cpu_s, self.signs.io_bytes + io_bytes, "running")


def training(**settings):
    """Return one whose worker has just begun to train."""
    observed = Observed(**settings)
    observed.beat("training")
    return observed


# ---- progress


def test_a_worker_without_any_progress_hangs_right_after_the_limit():
    observed = training()

    second, sentence = observed.first_hang(200, each_second=observed.beat)

    assert second == 121
    assert sentence == "no progress in training for 121 s (limit 120 s; longest seen 0.0 s)"


@pytest.mark.parametrize(
    "progress",
    [
        Heartbeat(section="training", ticks=1),
        Heartbeat(section="evaluating", ticks=0),
        StepsTaken(steps=()),
        Held(global_step=1),
    ],
    ids=["ticks", "section", "steps", "any other event"],
)
def test_progress_starts_the_wait_again(progress):
    observed = training()
    assert observed.first_hang(20) is None

    observed.hear(progress)

    second, _ = observed.first_hang(200)
    assert second == 121


def test_a_heartbeat_that_says_nothing_new_is_no_progress():
    observed = training()
    observed.beat(ticks=7)

    found = observed.first_hang(200, each_second=lambda: observed.beat(ticks=7))

    assert found[0] == 121


@pytest.mark.parametrize("longest_s, limit_s", [(1.0, 120), (24.0, 120), (25.0, 125), (100.0, 500)])
def test_the_limit_grows_with_the_longest_wait_seen_in_the_section(longest_s, limit_s):
    observed = training(longest_waits={"training": longest_s, "saving": 1000.0})

    second, sentence = observed.first_hang(1000)

    assert second == limit_s + 1
    assert f"limit {limit_s} s; longest seen {longest_s:.1f} s" in sentence


def test_the_longest_waits_are_kept_by_section_for_the_next_worker():
    longest_waits = {}
    observed = training(longest_waits=longest_waits)
    for second, ticks, section in [
        (3, 1, "training"),
        (9, 2, "training"),
        (11, 2, "saving"),
        (50, 2, "idle"),
    ]:
        while observed.now < START + second:
            observed.now += 1
            observed.look()
        observed.beat(section, ticks)

    assert longest_waits == {"loading": 0.0, "training": 6.0, "saving": 39.0}


def test_a_worker_is_loading_before_its_first_word():
    observed = Observed()

    _, sentence = observed.first_hang(200)

    assert sentence.startswith("no progress in loading for 121 s")


# ---- signs of life


@pytest.mark.parametrize(
    "each_second, is_working",
    [
        ({"cpu_s": 0.0501}, True),
        ({"cpu_s": 0.0499}, False),
        ({"io_bytes": 6554}, True),  # ten of them are 64 KiB
        ({"io_bytes": 6553}, False),
        ({}, False),
    ],
)
def test_a_worker_that_computes_or_moves_data_may_take_longer(each_second, is_working):
    observed = training(hang_after_s=120.0, ceiling_s=300.0)

    def second():
        observed.beat()
        observed.works(**each_second)

    found = observed.first_hang(1000, each_second=second)

    assert found[0] == (301 if is_working else 121)
    assert f"(limit {300 if is_working else 120} s;" in found[1]


@pytest.mark.parametrize(
    "section, limit_s",
    [("training", 120), ("previewing", 120), ("evaluating", 120), ("loading", 300), ("saving", 300)],
)
def test_without_heartbeats_work_counts_only_where_libraries_keep_heartbeats_back(section, limit_s):
    observed = Observed(ceiling_s=300.0)
    observed.beat(section)

    second, sentence = observed.first_hang(1000, each_second=lambda: observed.works(cpu_s=1.0))

    assert second == limit_s + 1
    assert f"; no heartbeat for {second} s" in sentence


def test_a_slow_preview_is_left_alone_as_long_as_tokens_come_and_found_when_none_do():
    observed = training()
    begun = observed.now

    def token_each_minute():
        tokens = min((observed.now - begun) // 60, 10)
        observed.beat("previewing", ticks=int(tokens))

    second, sentence = observed.first_hang(2000, each_second=token_each_minute)

    assert second > 600 + 120
    assert "no progress in previewing" in sentence


def test_a_ceiling_below_the_limit_does_not_lower_it():
    observed = training(longest_waits={"training": 50.0}, ceiling_s=200.0)

    def second():
        observed.beat()
        observed.works(cpu_s=1.0)

    assert observed.first_hang(1000, each_second=second)[0] == 251


def test_a_worker_that_has_stopped_working_hangs_though_it_worked_before():
    observed = training()

    def second():
        observed.beat()
        if observed.now <= START + 150:
            observed.works(cpu_s=1.0)

    found = observed.first_hang(1000, each_second=second)

    assert 151 <= found[0] <= 172


def test_nothing_is_judged_before_the_process_was_looked_at_twice():
    observed = training(hang_after_s=4.0)
    observed.now += 5.0

    first = observed.look()
    observed.now += 0.9
    too_soon = observed.look()
    observed.now += 0.1
    second = observed.look()

    assert (first, too_soon) == (None, None)
    assert second.startswith("no progress in training for 6 s (limit 4 s;")


def test_the_process_is_left_alone_while_there_is_progress():
    observed = training()
    ticks = iter(range(1000))

    observed.first_hang(500, each_second=lambda: observed.beat(ticks=next(ticks)))

    assert observed.num_looks_closer == 0


def test_the_process_is_looked_at_from_ten_seconds_on_and_every_ten_seconds():
    observed = training()

    observed.first_hang(9)
    early = observed.num_looks_closer
    observed.first_hang(50)

    assert early == 0
    assert observed.num_looks_closer == 5


@pytest.mark.parametrize(
    "state, words", [("stopped", "stopped"), ("disk-sleep", "disk sleep"), ("tracing-stop", "tracing stop")]
)
def test_a_remarkable_state_of_the_process_is_mentioned(state, words):
    observed = training()
    observed.signs = Signs(cpu_s=1.0, io_bytes=0, state=state)

    _, sentence = observed.first_hang(200, each_second=observed.beat)

    assert sentence.endswith(f"; the process is in state: {words}")


# ---- a worker that waits for orders


@pytest.mark.parametrize("section", ["idle", "paused", "blocked"])
def test_a_worker_that_waits_for_orders_may_do_so_for_ever(section):
    observed = Observed()
    observed.beat(section)

    assert observed.first_hang(20_000, each_second=lambda: observed.beat(section)) is None


@pytest.mark.parametrize("section", ["idle", "paused", "blocked"])
def test_a_worker_that_waits_for_orders_hangs_when_its_heartbeats_stay_away(section):
    observed = Observed()
    observed.beat(section)
    observed.first_hang(10_000, each_second=lambda: observed.beat(section))

    second, sentence = observed.first_hang(1000)

    assert second == 121
    assert sentence.startswith(f"no progress in {section} for 121 s")
    assert "no heartbeat for 121 s" in sentence


# ---- the daemon's own silence


@pytest.mark.parametrize("gap_s, is_left_out", [(10.0, False), (10.1, True), (100_000.0, True)])
def test_time_in_which_nobody_looked_does_not_count(gap_s, is_left_out):
    observed = training()
    observed.first_hang(100)

    observed.now += gap_s
    sentence = observed.look()
    second, _ = observed.first_hang(100)

    assert sentence is None
    assert second == (21 if is_left_out else 11)


def test_silence_in_a_gap_is_not_held_against_the_worker():
    observed = training()
    observed.now += 100_000.0

    _, sentence = observed.first_hang(200)

    assert sentence.endswith("; no heartbeat for 121 s")


def test_a_gap_ends_with_what_was_heard_in_it_and_makes_no_long_wait():
    observed = training()
    observed.now += 100_000.0

    observed.beat(ticks=1)

    assert observed.longest_waits["training"] == 0.0
    assert observed.look() is None


def test_work_from_before_a_gap_proves_nothing_after_it():
    observed = training(hang_after_s=40.0)

    def second():
        observed.beat()
        observed.works(cpu_s=1.0)

    observed.first_hang(60, each_second=second)

    observed.now += 1000.0
    right_after = observed.look()
    second, _ = observed.first_hang(100, each_second=observed.beat)

    assert right_after is None
    assert second == 10
