"""The transforms of F(m, r): exact, and those of Lavin and Gray."""

import itertools
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxcnn.ops.cook_toom import POINTS, transforms

SIZES = [(m, r) for m, r in itertools.product(range(1, 13), repeat=2) if m + r <= len(POINTS) + 2]

# Lavin & Gray 2015, §4.1 and §4.3: Aᵀ, G, Bᵀ.
LAVIN_AND_GRAY = {
    (2, 3): (
        ((1, 1, 1, 0), (0, 1, -1, -1)),
        ((1, 0, 0), ("1/2", "1/2", "1/2"), ("1/2", "-1/2", "1/2"), (0, 0, 1)),
        ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1)),
    ),
    (4, 3): (
        ((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1)),
        (
            ("1/4", 0, 0),
            ("-1/6", "-1/6", "-1/6"),
            ("-1/6", "1/6", "-1/6"),
            ("1/24", "1/12", "1/6"),
            ("1/24", "-1/12", "1/6"),
            (0, 0, 1),
        ),
        (
            (4, 0, -5, 0, 1, 0),
            (0, -4, -4, 1, 1, 0),
            (0, 4, -4, -1, 1, 0),
            (0, -2, -1, 2, 1, 0),
            (0, 2, -1, -2, 1, 0),
            (0, 4, 0, -5, 0, 1),
        ),
    ),
}


def dot(a, b):
    return sum((x * y for x, y in zip(a, b, strict=True)), Fraction(0))


def filtered(t, d, w):
    """Aᵀ [(G w) ⊙ (Bᵀ d)]."""
    products = [dot(g, w) * dot(b, d) for g, b in zip(t.kernel, t.input, strict=True)]
    return [dot(row, products) for row in t.output]


def unit(size, index):
    return [Fraction(i == index) for i in range(size)]


@pytest.mark.parametrize(("m", "r"), SIZES)
def test_each_tap_gives_each_output_its_own_input_and_no_other(m, r):
    t = transforms(m, r)
    for k in range(r):
        for i in range(m + r - 1):
            assert filtered(t, unit(m + r - 1, i), unit(r, k)) == [i == j + k for j in range(m)]


@given(st.data())
def test_integers_are_filtered_exactly(data):
    m, r = data.draw(st.sampled_from(SIZES))
    integers = st.integers(-(2**40), 2**40)
    d, w = (data.draw(st.lists(integers, min_size=n, max_size=n)) for n in (m + r - 1, r))
    assert filtered(transforms(m, r), d, w) == [sum(d[j + k] * w[k] for k in range(r)) for j in range(m)]


@pytest.mark.parametrize(("m", "r"), LAVIN_AND_GRAY)
def test_each_point_is_lavin_and_grays_up_to_the_scale_of_its_factors(m, r):
    output, kernel, inputs = ([[Fraction(e) for e in row] for row in matrix] for matrix in LAVIN_AND_GRAY[m, r])
    t = transforms(m, r)
    ours = [terms(*factors) for factors in zip(zip(*t.output, strict=True), t.kernel, t.input, strict=True)]
    theirs = [terms(*factors) for factors in zip(zip(*output, strict=True), kernel, inputs, strict=True)]
    assert ours == theirs


def terms(a, g, b):
    """What one point adds to output j from tap k and input i: the same for (2 a, g, b / 2) and for (−a, g, −b)."""
    return [x * y * z for x, y, z in itertools.product(a, g, b)]


@pytest.mark.parametrize(("m", "r"), SIZES)
def test_there_are_as_many_points_as_inputs_and_the_inputs_transform_is_of_integers(m, r):
    t = transforms(m, r)
    assert t.points == m + r - 1 == len(t.kernel) == len(t.output[0]) == len(t.input[0])
    assert (len(t.output), len(t.kernel[0])) == (m, r)
    assert all(entry.denominator == 1 for row in t.input for entry in row)


@pytest.mark.parametrize(("m", "r"), [(0, 3), (2, 0), (-1, 3), (11, 3), (1, 13)])
def test_sizes_that_no_points_are_there_for_are_refused(m, r):
    with pytest.raises(ValueError, match=rf"1 ≤ m, 1 ≤ r and m \+ r ≤ 13, found m={m}, r={r}"):
        transforms(m, r)
