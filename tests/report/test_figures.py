import matplotlib
import numpy as np
import pytest
from matplotlib.collections import FillBetweenPolyCollection
from sklearn.metrics import roc_auc_score

from jaxcnn.report import figures
from jaxcnn.report.style import to_png

DIGITS = [str(digit) for digit in range(10)]


def a_history(epochs, validated=True):
    epoch = np.arange(1, epochs + 1)
    nothing = np.full(epochs, np.nan)
    return {
        "epoch": epoch,
        "train_loss": np.exp(-epoch / 5),
        "val_loss": np.exp(-epoch / 8) if validated else nothing,
        "val_accuracy": 1 - np.exp(-epoch / 8) if validated else nothing,
        "seconds": np.ones(epochs),
    }


def some_predictions(n=200, k=10, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % k
    return labels, (np.eye(k)[labels] + rng.normal(size=(n, k))).astype(np.float32)


def legend_texts(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def is_png(figure):
    return to_png(figure).startswith(b"\x89PNG")


def test_learning_curves_shows_both_losses_the_gap_and_the_best_epoch():
    figure = figures.learning_curves(a_history(40), best_epoch=30)
    loss, accuracy = figure.axes
    assert legend_texts(figure) == [
        "training loss",
        "validation loss",
        "gap at epoch 30: 0.021",  # e^(-30/8) - e^(-30/5)
        "best epoch: 30",
    ]
    assert [list(line.get_xdata()) for line in (loss.lines[-1], accuracy.lines[-1])] == [[30, 30]] * 2
    assert any(isinstance(shade, FillBetweenPolyCollection) for shade in loss.collections)
    assert is_png(figure)


@pytest.mark.parametrize(("epochs", "scale"), [(3, "linear"), (40, "log")])
def test_losses_of_several_magnitudes_are_on_a_log_scale(epochs, scale):
    assert figures.learning_curves(a_history(epochs)).axes[0].get_yscale() == scale


def test_a_loss_of_zero_is_not_lost_on_a_log_scale():
    history = a_history(40)
    history["train_loss"][-1] = 0
    assert figures.learning_curves(history).axes[0].get_yscale() == "linear"


def test_log_ticks_are_plain_numbers():
    figure = figures.learning_curves(a_history(40))
    to_png(figure)
    assert "0.01" in [tick.get_text() for tick in figure.axes[0].get_yticklabels()]


def test_learning_curves_without_validation_images_shows_what_there_is():
    figure = figures.learning_curves(a_history(5, validated=False), best_epoch=5)
    (loss,) = figure.axes
    assert legend_texts(figure) == ["training loss", "best epoch: 5"]
    assert not loss.collections
    assert is_png(figure)


def test_a_single_epoch_is_visible():
    figure = figures.learning_curves(a_history(1), best_epoch=1)
    assert all(axes.lines[0].get_marker() == "o" for axes in figure.axes)
    assert is_png(figure)


def test_without_a_best_epoch_the_gap_is_that_of_the_last():
    texts = legend_texts(figures.learning_curves(a_history(7)))
    assert len(texts) == 3
    assert texts[2].startswith("gap at epoch 7: ")


def test_accuracy_is_in_percent_and_reaches_to_all_right():
    figure = figures.learning_curves(a_history(40))
    to_png(figure)
    assert "100%" in [tick.get_text() for tick in figure.axes[1].get_yticklabels()]


def test_roc_of_two_classes_is_one_curve_with_its_area():
    labels, scores = some_predictions(k=2)
    figure = figures.roc(labels, scores[:, 1], ("dark", "bright"))
    (axes,) = figure.axes
    assert len(axes.lines) == 2
    area = roc_auc_score(labels, scores[:, 1])
    assert legend_texts(figure) == [f"{area:.4f}  bright", "0.5       chance"]
    np.testing.assert_array_equal(axes.lines[0].get_xydata()[[0, -1]], [[0, 0], [1, 1]])
    assert is_png(figure)


def test_roc_of_more_classes_is_a_curve_a_class():
    labels, scores = some_predictions()
    figure = figures.roc(labels, scores, DIGITS)
    expected = [f"{roc_auc_score(labels == k, scores[:, k]):.4f}  {k}" for k in range(10)]
    assert legend_texts(figure)[:-1] == expected
    assert len({line.get_color() for line in figure.axes[0].lines[:-1]}) == 10


def test_roc_of_many_classes_shows_those_with_the_smallest_areas():
    labels, scores = some_predictions(n=400, k=20)
    areas = [roc_auc_score(labels == k, scores[:, k]) for k in range(20)]
    figure = figures.roc(labels, scores, [str(k) for k in range(20)])
    assert legend_texts(figure)[:-1] == [f"{areas[k]:.4f}  {k}" for k in np.argsort(areas)[:10]]
    assert figure.legends[0].get_title().get_text() == "AUC  class\n(10 of 20, the lowest)"


def test_roc_near_the_corner_is_shown_magnified_too():
    labels, scores = some_predictions()
    whole, corner = figures.roc(labels, scores + 4 * np.eye(10, dtype=np.float32)[labels], DIGITS).axes
    assert whole.get_xlim() == whole.get_ylim() == (0, 1)
    assert (corner.get_xlim(), corner.get_ylim()) == ((0, 0.1), (0.9, 1))


def test_roc_says_which_class_has_no_area():
    labels, scores = some_predictions()
    figure = figures.roc(np.where(labels == 3, 4, labels), scores, DIGITS)
    assert legend_texts(figure)[3] == "none    3"
    assert is_png(figure)


def test_roc_of_a_single_present_class_is_drawn_without_a_curve():
    figure = figures.roc(np.zeros(5, int), np.linspace(0, 1, 5, dtype=np.float32), ("dark", "bright"))
    assert legend_texts(figure)[0] == "none    bright"
    assert is_png(figure)


@pytest.mark.parametrize("k", [2, 10])
def test_confusion_has_each_count_in_its_cell(k):
    matrix = np.arange(k * k).reshape(k, k)
    figure = figures.confusion(matrix, DIGITS[:k])
    axes = figure.axes[0]
    cells = {text.get_position(): text.get_text() for text in axes.texts}
    assert cells == {(j, i): str(matrix[i, j]) for i in range(k) for j in range(k)}
    assert [tick.get_text() for tick in axes.get_xticklabels()] == DIGITS[:k]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == DIGITS[:k]
    assert is_png(figure)


def test_confusion_is_coloured_by_the_share_of_the_row():
    image = figures.confusion(np.array([[30, 10], [0, 0]]), ("a", "b")).axes[0].images[0]
    np.testing.assert_array_equal(image.get_array(), [[0.75, 0.25], [0, 0]])


def test_confusion_of_very_many_classes_leaves_out_what_nobody_could_read():
    axes = figures.confusion(np.eye(100, dtype=int), [f"class {k}" for k in range(100)]).axes[0]
    assert not axes.texts
    assert 20 < len(axes.get_xticks()) < 60


def test_long_names_are_shortened_and_upright():
    axes = figures.confusion(np.eye(10, dtype=int), [f"{k} and a long name" for k in range(10)]).axes[0]
    label = axes.get_xticklabels()[3]
    assert (label.get_text(), label.get_rotation()) == ("3 and a long …", 90)
    assert figures.confusion(np.eye(2, dtype=int), ["x" * 30, "y"]).axes[0].get_yticklabels()[0].get_text() == (
        "x" * 13 + "…"
    )


def test_names_that_mean_something_to_matplotlib_are_names():
    labels, scores = some_predictions(k=3)
    names = ("_hidden", "$\\broken", "100%")
    figure = figures.roc(labels, scores, names)
    assert [text.split("  ")[1] for text in legend_texts(figure)[:-1]] == list(names)
    assert is_png(figure)
    assert is_png(figures.confusion(np.eye(3, dtype=int), names))


def test_drawing_leaves_the_settings_of_others_alone():
    names = matplotlib.rcParams.keys() - {"backend"}  # to read it is to choose one
    before = {name: matplotlib.rcParams[name] for name in names}
    to_png(figures.learning_curves(a_history(3)))
    assert {name: matplotlib.rcParams[name] for name in names} == before


def test_the_same_figure_gives_the_same_file():
    first, second = (to_png(figures.learning_curves(a_history(3), 2)) for _ in range(2))
    assert first == second
