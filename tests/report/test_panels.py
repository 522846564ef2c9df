import numpy as np
import pytest

from jaxcnn.report import panels
from jaxcnn.report.style import to_png

NAMES = tuple(str(digit) for digit in range(10))


def a_kernel(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def pictures(figure):
    return [axes.images[0].get_array() for axes in figure.axes if axes.images]


def title(figure):
    return figure.texts[0].get_text()


def titles(figure):
    return [axes.get_title() for axes in figure.axes]


def is_png(figure):
    return to_png(figure).startswith(b"\x89PNG")


def mistakes(n, channels=1, confidences=None):
    images = np.random.default_rng(0).random((n, 8, 8, channels), np.float32)
    labels = np.arange(n) % 10
    return images, labels, (labels + 1) % 10, np.linspace(0, 1, n) if confidences is None else confidences


@pytest.mark.parametrize(("n", "shown", "text"), [(1, 1, "1 filter"), (16, 16, "16 filters"), (64, 64, "64 filters")])
def test_filters_has_a_panel_a_filter_on_one_symmetric_scale(n, shown, text):
    kernel = a_kernel(3, 3, 1, n)
    figure = panels.filters(kernel)
    limit = np.abs(kernel).max()
    assert title(figure) == text
    assert len(figure.axes) == shown + 1  # and the colour bar
    assert {axes.images[0].get_clim() for axes in figure.axes[:shown]} == {(-limit, limit)}
    np.testing.assert_array_equal(pictures(figure)[n - 1][5::10, 5::10], kernel[:, :, 0, n - 1])
    assert is_png(figure)


def test_of_many_filters_the_first_are_shown():
    figure = panels.filters(a_kernel(3, 3, 1, 70))
    assert title(figure) == "64 of 70 filters"
    assert len(figure.axes) == 65


def test_filters_over_colours_are_colours_around_grey():
    kernel = a_kernel(5, 5, 3, 8)
    figure = panels.filters(kernel)
    assert len(figure.axes) == 8  # no colour bar
    limit = np.abs(kernel).max()
    np.testing.assert_allclose(pictures(figure)[2], 0.5 + kernel[..., 2] / (2 * limit), rtol=1e-6)
    assert title(figure) == f"8 filters; grey is 0, full colour ±{limit:.2g}"
    assert is_png(figure)


def test_filters_over_other_channels_have_them_side_by_side():
    kernel = a_kernel(3, 3, 2, 4)
    first = pictures(panels.filters(kernel))[0]
    np.testing.assert_array_equal(
        first[5::10, [5, 15, 25, 36, 46, 56]], np.hstack([kernel[..., 0, 0], kernel[..., 1, 0]])
    )


def test_filters_that_are_all_zero_can_be_drawn():
    assert is_png(panels.filters(np.zeros((3, 3, 1, 2))))


@pytest.mark.parametrize("size", [(3, 3, 1, 1), (3, 3, 1, 64), (7, 7, 3, 20), (3, 3, 5, 3)])
def test_all_panels_are_inside_the_figure(size):
    boxes = [axes.get_position() for axes in panels.filters(a_kernel(*size)).axes]
    assert all(0 <= box.x0 < box.x1 <= 1 and 0 <= box.y0 < box.y1 <= 1 for box in boxes)


def test_wrong_shows_the_most_confident_first():
    images, labels, predictions, _ = mistakes(3)
    figure = panels.wrong(images, labels, predictions, np.array([0.5, 0.9, 0.7]), NAMES)
    assert titles(figure) == ["1 → 2 (0.90)", "2 → 3 (0.70)", "0 → 1 (0.50)"]
    assert title(figure) == "3 of 3 images are wrong"
    np.testing.assert_array_equal(pictures(figure)[0], images[1, :, :, 0])
    assert is_png(figure)


def test_wrong_leaves_out_what_is_right():
    images, labels, predictions, confidences = mistakes(4)
    figure = panels.wrong(images, labels, np.where(labels == 2, predictions, labels), confidences, NAMES)
    assert titles(figure) == ["2 → 3 (0.67)"]
    assert title(figure) == "1 of 4 images is wrong"


def test_wrong_shows_no_more_than_can_be_looked_at():
    figure = panels.wrong(*mistakes(40), NAMES)
    assert len(figure.axes) == 25
    assert title(figure) == "40 of 40 images are wrong, the 25 most confident of them"


def test_nothing_wrong_is_a_sentence():
    images, labels, _, confidences = mistakes(4)
    figure = panels.wrong(images, labels, labels, confidences, NAMES)
    assert title(figure) == "None of the 4 images is wrong."
    assert not figure.axes
    assert is_png(figure)


@pytest.mark.parametrize(("channels", "shape"), [(1, (8, 8)), (2, (8, 8)), (3, (8, 8, 3)), (4, (8, 8, 4))])
def test_images_of_any_number_of_channels_are_shown(channels, shape):
    figure = panels.wrong(*mistakes(2, channels), NAMES)
    assert pictures(figure)[0].shape == shape
    assert is_png(figure)


def test_pixels_beyond_black_and_white_are_brought_between_them():
    images, *rest = mistakes(2)
    shown = pictures(panels.wrong(6 * images - 3, *rest, NAMES))
    assert min(picture.min() for picture in shown) == 0
    assert max(picture.max() for picture in shown) == 1


def test_long_names_are_broken_and_shortened():
    images, labels, predictions, _ = mistakes(1)
    figure = panels.wrong(images, labels, predictions, np.array([0.5]), ("an_aeroplane_in_the_sky", "$automobile$"))
    assert titles(figure) == ["an_aeroplane_in_t… →\n$automobile$ (0.50)"]
    assert is_png(figure)
