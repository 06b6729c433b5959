"""Messages between daemon and worker over one socket."""

import errno
import json
import os
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support import eventually, job_for, rows, write_jsonl
from trainer.protocol.channel import CHUNK_BYTES, Channel, ChannelClosed, NotRead
from trainer.protocol.messages import (
    COMMANDS,
    EVENTS,
    Command,
    Event,
    ForgetJobs,
    Heartbeat,
    Leaving,
    LoadModel,
    Pause,
    QueueEmpty,
    StartJob,
    Validated,
)

PATIENCE_S = 10.0


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    left, right = socket.socketpair()
    yield left, right
    left.close()
    right.close()


@pytest.fixture
def daemon(ends: tuple[socket.socket, socket.socket]) -> Channel[Event]:
    return Channel(ends[0], EVENTS)


@pytest.fixture
def worker(ends: tuple[socket.socket, socket.socket]) -> Channel[Command]:
    return Channel(ends[1], COMMANDS)


def line(section: str) -> bytes:
    return json.dumps({"kind": "heartbeat", "section": section}).encode() + b"\n"


def test_commands_arrive_as_they_were_sent_in_order(daemon, worker, tmp_path):
    job = job_for(write_jsonl(tmp_path / "a.jsonl", rows(3)), rejected_lines=(2, 5))
    sent = [
        LoadModel(settings={"training": {"epochs": 1}}),
        StartJob(job=job, path="/a", settings={}),
        Pause(),
    ]

    for command in sent:
        daemon.send(command)

    assert worker.receive(0) == sent


def test_both_directions_are_open_at_once(daemon, worker):
    daemon.send(QueueEmpty())
    worker.send(Heartbeat(section="idle"))

    assert worker.receive(0) == [QueueEmpty()]
    assert daemon.receive(0) == [Heartbeat(section="idle")]


@pytest.mark.parametrize(
    "name",
    [os.fsdecode(b"latin-\xe9.jsonl"), "two\nlines.jsonl", "🎉.jsonl", "\u2028.jsonl", "nul\0.jsonl"],
)
def test_any_file_name_survives(daemon, worker, tmp_path, name):
    job = job_for(write_jsonl(tmp_path / "a.jsonl", rows(1)), name=name)

    daemon.send(StartJob(job=job, path=f"/queue/{name}", settings={"file": name}))

    [command] = worker.receive(0)
    assert (command.job.name, command.path, command.settings) == (name, f"/queue/{name}", {"file": name})


def test_nothing_sent_is_no_message_and_no_error(daemon, worker):
    assert daemon.receive(0) == []


def test_half_a_line_waits_for_its_other_half(daemon, ends):
    ends[1].sendall(line("idle") + line("saving")[:10])
    first = daemon.receive(0)
    ends[1].sendall(line("saving")[10:20])
    second = daemon.receive(0)
    ends[1].sendall(line("saving")[20:] + line("paused")[:-1])
    third = daemon.receive(0)
    ends[1].sendall(b"\n")
    fourth = daemon.receive(0)

    sections = [[event.section for event in events] for events in (first, second, third, fourth)]
    assert sections == [["idle"], [], ["saving"], ["paused"]]


def test_a_character_that_is_cut_in_two_is_put_together(daemon, ends):
    raw = '{"kind": "leaving", "reason": "🎉"}\n'.encode()
    cut = raw.index("🎉".encode()) + 2
    ends[1].sendall(raw[:cut])
    assert daemon.receive(0) == []

    ends[1].sendall(raw[cut:])

    assert daemon.receive(0) == [Leaving(reason="🎉")]


@pytest.mark.parametrize("excess", [-1, 0, 1])
def test_a_line_may_be_as_long_as_one_read_or_longer(daemon, ends, excess):
    empty = len('{"kind": "leaving", "reason": ""}\n')
    reason = "x" * (CHUNK_BYTES - empty + excess)
    ends[1].sendall(f'{{"kind": "leaving", "reason": "{reason}"}}\n'.encode())

    events = [*daemon.receive(0), *daemon.receive(0)]

    assert events == [Leaving(reason=reason)]


def test_what_was_sent_before_the_end_is_received_and_then_the_end_is_noticed(daemon, worker):
    worker.send(Leaving(reason="asked"))
    worker.close()

    assert daemon.receive(None) == [Leaving(reason="asked")]
    with pytest.raises(ChannelClosed, match="closed the connection"):
        daemon.receive(None)


def test_half_a_line_before_the_end_is_no_message(daemon, ends):
    ends[1].sendall(line("idle")[:-1])
    ends[1].close()

    assert daemon.receive(0) == []
    with pytest.raises(ChannelClosed):
        daemon.receive(0)


def test_an_end_that_crashed_with_unread_messages_is_noticed(daemon, worker):
    daemon.send(Pause())
    worker.close()

    with pytest.raises(ChannelClosed):
        daemon.receive(0)


def test_sending_to_nobody_is_noticed(daemon, worker):
    worker.close()

    with pytest.raises(ChannelClosed):
        daemon.send(Pause())


def test_a_number_that_is_not_json_is_refused_before_anything_is_sent(daemon, worker):
    with pytest.raises(ValueError, match="JSON compliant"):
        worker.send(Validated(global_step=1, loss=float("nan"), rows=1))

    assert daemon.receive(0) == []


def test_numbers_and_tuples_keep_their_values(daemon, worker):
    worker.send(Validated(global_step=2**40, loss=0.1 + 0.2, rows=0))
    daemon.send(ForgetJobs(job_ids=("a", "b")))

    assert daemon.receive(0) == [Validated(global_step=2**40, loss=0.30000000000000004, rows=0)]
    assert worker.receive(0) == [ForgetJobs(job_ids=("a", "b"))]


def test_the_descriptor_is_the_one_of_the_socket(daemon, ends):
    assert daemon.fileno() == ends[0].fileno()


# ---- between machines


@pytest.fixture
def far_ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Both ends of a TCP connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        left = socket.create_connection(server.getsockname())
        right, _ = server.accept()
    yield left, right
    left.close()
    right.close()


def all_from(channel: Channel[Event], number: int) -> list[Event]:
    """Return so many messages, however many reads they take."""
    received: list[Event] = []
    while len(received) < number:
        received += channel.receive(PATIENCE_S)
    return received


def test_messages_between_machines_arrive_whole_whatever_pieces_they_travel_in(far_ends):
    channel: Channel[Event] = Channel(far_ends[0], EVENTS)
    reason = "x" * (3 * CHUNK_BYTES)
    raw = line("idle") + f'{{"kind": "leaving", "reason": "{reason}"}}\n'.encode() + line("saving")

    with ThreadPoolExecutor() as pool:

        def send() -> None:
            for start in range(0, len(raw), 1009):
                far_ends[1].sendall(raw[start : start + 1009])

        pool.submit(send)
        received = all_from(channel, 3)

    assert received == [Heartbeat(section="idle"), Leaving(reason=reason), Heartbeat(section="saving")]


def test_a_channel_between_machines_notices_when_the_other_one_vanishes(far_ends):
    Channel(far_ends[0], EVENTS)

    assert far_ends[0].getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1


@pytest.mark.parametrize("has_unread", [False, True])
def test_the_end_of_a_process_on_another_machine_is_noticed(far_ends, has_unread):
    here: Channel[Event] = Channel(far_ends[0], EVENTS)
    there: Channel[Command] = Channel(far_ends[1], COMMANDS)
    if has_unread:
        here.send(Pause())
        assert there.wait(PATIENCE_S)
    there.close()

    with pytest.raises(ChannelClosed):
        here.receive(PATIENCE_S)

    def is_told() -> bool:
        try:
            here.send(Pause())  # the first may find nobody without knowing it yet
        except NotRead:
            return False
        except ChannelClosed:
            return True
        return False

    eventually(is_told, timeout_s=PATIENCE_S)


@pytest.mark.parametrize("kind", ["ends", "far_ends"])
def test_an_end_that_reads_nothing_is_told_from_one_that_is_gone(request, kind):
    ours, _ = request.getfixturevalue(kind)
    channel: Channel[Event] = Channel(ours, EVENTS, send_timeout_s=0.05)

    with pytest.raises(NotRead):
        channel.send(Leaving(reason="x" * 20_000_000))


def test_a_machine_that_has_vanished_is_not_taken_for_one_that_reads_nothing():
    class Vanished:
        """A socket whose other machine has not answered for too long."""

        family = socket.AF_UNIX

        def settimeout(self, timeout_s: float | None) -> None: ...

        def sendall(self, data: bytes) -> None:
            raise OSError(errno.ETIMEDOUT, "Connection timed out")

    with pytest.raises(ChannelClosed) as raised:
        Channel(Vanished(), EVENTS, send_timeout_s=1.0).send(Pause())

    assert not isinstance(raised.value, NotRead)
