"""Where the kernel's count of processes killed for want of memory is found."""

import pytest

from daemon.supervision.oom_kills import count_oom_kills

V2_EVENTS = "low 0\nhigh 0\nmax 9\noom 8\noom_kill {}\noom_group_kill 0\n"
V1_CONTROL = "oom_kill_disable 0\nunder_oom 0\noom_kill {}\n"


@pytest.fixture
def kernel(tmp_path):
    """A kernel's files: the count for the whole machine is 100."""

    class Kernel:
        def write(self, path, content):
            file = tmp_path / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content)

        def count(self):
            return count_oom_kills(
                cgroups=tmp_path / "cgroups",
                own_cgroups=tmp_path / "own",
                whole_machine=tmp_path / "vmstat",
            )

    kernel = Kernel()
    kernel.write("vmstat", "nr_free_pages 5\noom_kill 100\n")
    return kernel


def test_the_own_group_counts_in_version_2(kernel):
    kernel.write("own", "0::/user.slice/training.service\n")
    kernel.write("cgroups/user.slice/training.service/memory.events", V2_EVENTS.format(2))

    assert kernel.count() == 2


def test_the_own_group_counts_in_version_1(kernel):
    kernel.write("own", "9:name=systemd:/\n4:cpu,memory:/group\n3:cpuset:/other\n0::/\n")
    kernel.write("cgroups/memory/group/memory.oom_control", V1_CONTROL.format(3))
    kernel.write("cgroups/memory/memory.oom_control", V1_CONTROL.format(50))

    assert kernel.count() == 3


def test_in_a_container_its_own_top_group_counts(kernel):
    kernel.write("own", "4:memory:/docker/0815\n")
    kernel.write("cgroups/memory/memory.oom_control", V1_CONTROL.format(4))

    assert kernel.count() == 4


@pytest.mark.parametrize(
    "own, control",
    [("0::/\n", None), ("", None), ("nonsense\n", None), ("4:memory:/\n", "oom_kill_disable 0\n")],
    ids=["top group", "no groups", "another form", "an old kernel"],
)
def test_without_a_count_of_the_group_that_of_the_machine_is_taken(kernel, own, control):
    kernel.write("own", own)
    if control:
        kernel.write("cgroups/memory/memory.oom_control", control)

    assert kernel.count() == 100


def test_a_kernel_that_keeps_no_count_has_killed_nobody(tmp_path):
    nowhere = tmp_path / "nowhere"

    assert count_oom_kills(cgroups=nowhere, own_cgroups=nowhere, whole_machine=nowhere) == 0


def test_the_count_of_this_machine_can_be_read():
    assert count_oom_kills() >= 0
