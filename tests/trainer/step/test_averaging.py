"""Averages of weights: what they are, that they continue to the bit, and that the model can have them."""

import pytest
import torch

from trainer.step.averaging import WeightAverage


def walk(average, weight, values):
    for value in values:
        weight.data.fill_(value)
        average.note_step()


@pytest.fixture
def weight():
    return torch.nn.Parameter(torch.zeros(2))


def value_of(average):
    [value] = average.values()
    return pytest.approx(float(value[0]))


def test_before_the_first_step_the_average_is_the_weights(weight):
    weight.data.fill_(3.0)

    assert value_of(WeightAverage([weight], "ema", 4)) == 3.0


def test_the_first_steps_count_equally(weight):
    average = WeightAverage([weight], "ema", 1000)
    average.steps = 31  # of which each step is one update

    walk(average, weight, [1.0, 2.0, 6.0])

    assert value_of(average) == 3.0


def test_after_a_half_life_the_weights_of_before_count_half(weight):
    average = WeightAverage([weight], "ema", 8)
    walk(average, weight, [1.0] * 100)
    walk(average, weight, [0.0] * 8)

    assert value_of(average) == 0.5


@pytest.mark.parametrize("steps", [64, 320])
def test_fewer_updates_have_the_same_half_life(weight, steps):
    average = WeightAverage([weight], "ema", steps)
    assert average.every > 1
    walk(average, weight, [1.0] * steps * 20)
    walk(average, weight, [0.0] * steps)

    assert float(average.values()[0][0]) == pytest.approx(0.5, rel=1e-4)


def test_a_window_is_the_plain_mean_of_the_newest_steps(weight):
    average = WeightAverage([weight], "window", 4)

    walk(average, weight, [100.0] * 4)
    assert value_of(average) == 100.0
    walk(average, weight, [1.0, 3.0])
    assert value_of(average) == (400 + 4) / 6
    walk(average, weight, [5.0, 7.0, 9.0])  # with the fifth the hundreds are older than needed

    assert value_of(average) == (1 + 3 + 5 + 7 + 9) / 5


@pytest.mark.parametrize("kind", ["ema", "window"])
@pytest.mark.parametrize("cut", [0, 1, 3, 5, 8])
def test_it_continues_to_the_bit(kind, cut):
    torch.manual_seed(1)
    weight = torch.nn.Parameter(torch.zeros(5))
    path = [torch.randn(5) for _ in range(9)]
    whole, first = WeightAverage([weight], kind, 3), WeightAverage([weight], kind, 3)
    for number, value in enumerate(path):
        weight.data.copy_(value)
        whole.note_step()
        if number < cut:
            first.note_step()

    second = WeightAverage.of_state([weight], first.state_dict())
    for value in path[cut:]:
        weight.data.copy_(value)
        second.note_step()

    assert torch.equal(second.values()[0], whole.values()[0])


def test_the_model_has_the_averages_for_a_while_and_its_own_weights_again_whatever_happens(weight):
    average = WeightAverage([weight], "ema", 4)
    walk(average, weight, [1.0, 3.0])
    own = weight.data

    def look():
        with average.in_place():
            raise KeyError(float(weight.data[0]))

    with pytest.raises(KeyError) as seen:
        look()

    assert seen.value.args[0] == value_of(average)
    assert weight.data.data_ptr() == own.data_ptr()
    assert float(weight.data[0]) == 3.0


def test_weights_of_half_the_precision_are_averaged_in_full(weight):
    half = torch.nn.Parameter(torch.ones(2, dtype=torch.bfloat16))
    average = WeightAverage([half], "ema", 4)
    average.note_step()

    assert average.values()[0].dtype == torch.float32
    with average.in_place():
        assert half.dtype == torch.bfloat16
