"""The BraTS ranking by hand, and its permutation test against every swap tried in plain Python."""

import itertools

import numpy as np
import pytest

from nnunetv2_comnet.comparison.ranking import case_ranks, permutation_p, rank_models
from nnunetv2_comnet.errors import DataError

# Dice of ET and WT (columns) of two cases (rows).
A = np.array([[0.9, 0.6], [0.5, 0.7]])
B = np.array([[0.8, 0.8], [0.5, 0.6]])
C = np.array([[0.7, 0.6], [0.9, 0.5]])
PAIRS = [("A", "B"), ("A", "C"), ("B", "C")]


def test_three_models_two_cases_two_regions_by_hand() -> None:
    ranking = rank_models({"A": A, "B": B, "C": C}, [True, True], PAIRS)
    # Case 1, ET: 1, 2, 3; WT: B first, A and C share 2 and 3. Case 2, ET: C first, A and B share 2 and 3; WT: 1, 2, 3.
    # Per case: A 1.75, 1.75; B 1.5, 2.25; C 2.75, 2.
    assert ranking.mean_ranks == pytest.approx({"A": 1.75, "B": 1.875, "C": 2.375})
    assert ranking.order == ["A", "B", "C"]
    assert (ranking.cases, ranking.cells, ranking.left_out, ranking.exact) == (2, 4, 0, True)
    tests = {(test.first, test.second): test for test in ranking.tests}
    assert [tests[pair].difference for pair in PAIRS] == pytest.approx([-0.125, -0.625, -0.5])
    # Sums over cases and their four swaps. A-B: 0.25 - 0.5, all swaps are as far: 1. A-C: -1 - 0.25, the two of one
    # sign: 2 of 4. B-C: -1.25 + 0.25, all. By Holm all are 1.
    assert [tests[pair].p for pair in PAIRS] == pytest.approx([1, 0.5, 1])
    assert [tests[pair].p_holm for pair in PAIRS] == [1, 1, 1]
    assert all(test.low <= test.difference <= test.high for test in ranking.tests)


def test_where_lower_is_better_the_order_turns() -> None:
    millimetres = np.array([[[3.0]], [[1.0]], [[374.0]]])
    assert case_ranks(millimetres, [False])[:, 0, 0].tolist() == [2, 1, 3]
    assert case_ranks(millimetres, [True])[:, 0, 0].tolist() == [2, 3, 1]


def test_equal_scores_share_their_ranks_also_with_rounding_errors() -> None:
    scores = np.array([[[0.1 + 0.2]], [[0.3]], [[0.9]], [[0.3]]])
    assert case_ranks(scores, [True])[:, 0, 0].tolist() == [3, 3, 1, 3]


def test_ranks_of_a_cell_always_have_the_same_sum() -> None:
    scores = np.random.default_rng(0).integers(0, 3, (4, 20, 6)).astype(float)
    assert np.allclose(case_ranks(scores, [True, False] * 3).sum(axis=0), 1 + 2 + 3 + 4)


def test_a_cell_without_a_value_of_every_model_ranks_nobody() -> None:
    holed, gone = B.copy(), C.copy()
    holed[0, 1] = np.nan  # case 1, WT
    gone[1] = np.nan  # all of case 2
    ranking = rank_models({"A": A, "B": holed, "C": gone}, [True, True], PAIRS)
    assert ranking.mean_ranks == {"A": 1, "B": 2, "C": 3}  # case 1, ET alone
    assert (ranking.cases, ranking.cells, ranking.left_out) == (1, 1, 3)
    with pytest.raises(DataError):
        rank_models({"A": A, "B": np.full((2, 2), np.nan)}, [True, True], [("A", "B")])


def test_swapping_two_models_on_a_case_swaps_their_ranks_alone() -> None:
    scores = np.random.default_rng(1).random((3, 5, 4))
    swapped = scores.copy()
    swapped[[0, 1], 2] = swapped[[1, 0], 2]
    before, after = case_ranks(scores, [True] * 4), case_ranks(swapped, [True] * 4)
    assert np.array_equal(after[[1, 0], 2], before[[0, 1], 2])
    assert np.array_equal(after[2], before[2])
    assert np.array_equal(np.delete(after, 2, axis=1), np.delete(before, 2, axis=1))


def p_by_enumeration(differences: list[float]) -> float:
    swaps = list(itertools.product((1, -1), repeat=len(differences)))
    sums = [abs(sum(sign * d for sign, d in zip(swap, differences, strict=True))) for swap in swaps]
    return sum(total >= abs(sum(differences)) - 1e-9 for total in sums) / len(swaps)


@pytest.mark.parametrize("cases", [1, 4, 9])
def test_few_cases_are_tested_by_every_swap(cases: int) -> None:
    columns = np.random.default_rng(cases).integers(-4, 8, (cases, 3)) / 4
    expected = [p_by_enumeration(column.tolist()) for column in columns.T]
    assert permutation_p(columns) == pytest.approx(expected)


def test_many_cases_are_tested_by_seeded_random_swaps() -> None:
    differences = np.random.default_rng(2).normal(0.25, 0.5, (17, 1))
    exact = p_by_enumeration(differences[:, 0].tolist())
    assert 0.01 < exact < 0.5
    # 100,000 swaps count a share to 0.0016 (standard error); five of them.
    assert permutation_p(differences)[0] == pytest.approx(exact, abs=0.008)
    assert permutation_p(differences, seed=1) == permutation_p(differences, seed=1)
    assert permutation_p(np.ones((60, 1))) == [pytest.approx(1 / 100_001)]  # never 0: the seen order is one of them


def test_the_order_of_cases_and_models_does_not_matter() -> None:
    rng = np.random.default_rng(3)
    scores = {name: rng.random((8, 4)) for name in "ABC"}
    order = rng.permutation(8)
    one = rank_models(scores, [True] * 4, [("A", "B")])
    other = rank_models({name: scores[name][order] for name in "CBA"}, [True] * 4, [("B", "A")])
    assert other.mean_ranks == pytest.approx(one.mean_ranks)
    assert other.tests[0].difference == pytest.approx(-one.tests[0].difference)
    assert other.tests[0].p == pytest.approx(one.tests[0].p)
