"""What is kept comes back to the bit, and nothing is pickled."""

import pytest
import torch

from trainer.checkpoints.tensor_tree import all_finite, load_tree, save_tree

TREE = {
    "state": {0: {"step": torch.tensor(3.0), "average": torch.randn(3, 2)}, 7: {"average": torch.randn(0)}},
    "groups": [{"lr": 0.1 + 0.2, "betas": [0.9, 0.999], "fused": True, "name": None, "ids": [0, 7]}],
    "bytes": torch.arange(5, dtype=torch.uint8),
}


def same(left, right):
    if torch.is_tensor(left):
        return left.dtype == right.dtype and torch.equal(left, right)
    if isinstance(left, dict):
        return list(left) == list(right) and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    return (type(left), left) == (type(right), right)


def test_a_tree_comes_back_as_it_was(tmp_path):
    save_tree(TREE, tmp_path, "state")

    assert same(load_tree(tmp_path, "state"), TREE)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["state.json", "state.safetensors"]


def test_a_part_of_a_larger_tensor_is_kept_as_that_part(tmp_path):
    save_tree({"column": torch.arange(6).reshape(2, 3)[:, 1]}, tmp_path, "state")

    assert load_tree(tmp_path, "state")["column"].tolist() == [1, 4]


@pytest.mark.parametrize("value", [{1, 2}, object(), b"bytes"])
def test_what_is_no_plain_value_is_refused(tmp_path, value):
    with pytest.raises(TypeError, match="expected a tensor or a plain value"):
        save_tree({"odd": value}, tmp_path, "state")


@pytest.mark.parametrize(
    "numbers, is_finite",
    [
        ([], True),
        ([1.0, -2.0], True),
        ([3e38, 3e38], True),  # whose sum is not finite
        ([float("nan")], False),
        ([float("inf"), float("-inf")], False),
        ([3e38, 3e38, float("inf")], False),
    ],
)
def test_only_what_is_not_finite_is_called_so(numbers, is_finite):
    assert all_finite([torch.ones(4), torch.tensor(numbers)]) == is_finite


def test_nothing_at_all_is_finite():
    assert all_finite([])
