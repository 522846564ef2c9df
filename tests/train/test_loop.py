import dataclasses

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from jaxcnn import InputError
from jaxcnn.data import Dataset, dark_vs_bright, lab_images
from jaxcnn.models import CNN
from jaxcnn.train import DivergedError, TrainConfig, create_train_state, evaluate, fit, train_epoch
from jaxcnn.train import loop as loop_module
from jaxcnn.train.loop import Epoch, as_arrays

MODEL = CNN((4,))
CONFIG = TrainConfig(epochs=3, batch_size=16, shift=0, features=(4,))


def data(n, seed=0) -> Dataset:
    return jax.device_put(dark_vs_bright(jax.random.key(seed), n, noise=1.0))


def fresh(seed=0, learning_rate=0.01):
    return create_train_state(jax.random.key(seed), MODEL, lab_images().images, learning_rate)


def assert_same_bits(a, b):
    jax.tree.map(np.testing.assert_array_equal, a.params, b.params)


def test_the_same_key_gives_the_same_parameters_bit_for_bit():
    config = dataclasses.replace(CONFIG, shift=1)
    runs = [fit(fresh(), data(50), data(20, 1), config) for _ in range(2)]
    assert_same_bits(runs[0].state, runs[1].state)
    for name in ("train_loss", "val_loss", "val_accuracy"):
        np.testing.assert_array_equal(runs[0].history[name], runs[1].history[name])


def test_another_key_gives_other_parameters():
    kernels = [fit(fresh(seed), data(50), None, CONFIG).state.params["Conv_0"]["kernel"] for seed in range(2)]
    assert not np.allclose(*kernels)


def test_the_state_that_went_in_can_be_used_again():
    state = fresh()
    fit(state, data(20), None, CONFIG)
    assert not state.params["Conv_0"]["kernel"].is_deleted()


def test_epochs_differ_in_order_but_each_takes_every_image_once(monkeypatch):
    """A step that adds up what it sees: the sum over an epoch is that of the data, whatever the order."""
    seen = []

    def sums_up(state, batch):
        jax.debug.callback(lambda x, m: seen.append(x[m]), batch.images[:, 0, 0, 0], batch.mask, ordered=True)
        return state.replace(step=state.step + 1), jnp.zeros(())

    monkeypatch.setattr(loop_module, "update", sums_up)
    train = data(21)
    epoch = jax.jit(lambda state: train_epoch.__wrapped__(state, train, 3, batch_size=8, max_shift=0))
    state, _ = epoch(fresh())
    epoch(state)
    jax.effects_barrier()
    first, second = np.concatenate(seen[:3]), np.concatenate(seen[3:])
    pixels = np.asarray(train.images[:, 0, 0, 0])
    np.testing.assert_array_equal(np.sort(first), np.sort(pixels))
    np.testing.assert_array_equal(np.sort(second), np.sort(pixels))
    assert (first != second).any()


def test_no_function_is_traced_again_between_epochs(monkeypatch):
    traces = []

    def counting(f, name):
        def counted(*args, **kwargs):
            traces.append(name)
            return f(*args, **kwargs)

        return counted

    static = {"static_argnames": ("stop", "batch_size", "max_shift")}
    trained = jax.jit(counting(train_epoch.__wrapped__, "train"), **static)
    evaluated = jax.jit(counting(evaluate.__wrapped__, "evaluate"), static_argnames="batch_size")
    monkeypatch.setattr(loop_module, "train_epoch", trained)
    monkeypatch.setattr(loop_module, "evaluate", evaluated)
    for seed in range(2):  # nor between runs that differ in their key only
        fit(fresh(seed), data(50), data(20, 1), dataclasses.replace(CONFIG, epochs=4))
    assert sorted(traces) == ["evaluate", "train"]


def test_the_best_epoch_is_kept_and_patience_ends_the_run():
    """Labels that say nothing about the images: the validation loss soon rises."""
    rng = np.random.default_rng(0)
    noise = lambda n: Dataset(  # noqa: E731
        jnp.asarray(rng.normal(size=(n, 8, 8, 1)), jnp.float32),
        jnp.asarray(rng.integers(0, 2, n), jnp.int32),
        ("a", "b"),
    )
    train, validation = noise(32), noise(64)
    config = TrainConfig(epochs=60, batch_size=16, shift=0, patience=3)
    result = fit(fresh(learning_rate=0.03), train, validation, config)
    losses = result.history["val_loss"]
    assert len(losses) < 60
    assert result.best_epoch == np.argmin(losses) + 1 == len(losses) - 3
    sums = evaluate(result.state, validation, batch_size=16)
    np.testing.assert_allclose(sums.loss / sums.count, losses.min(), rtol=1e-5)


def test_without_validation_images_the_last_epoch_is_kept():
    for validation in (None, data(20).select(slice(0))):
        result = fit(fresh(), data(20), validation, CONFIG)
        assert result.best_epoch == 3
        assert result.state.step == 6
        assert np.isnan(result.history["val_loss"]).all()


def test_the_training_loss_is_the_mean_over_images_not_over_batches():
    train = data(17)  # batches of 16 and 1
    result = fit(fresh(learning_rate=1e-12), train, None, dataclasses.replace(CONFIG, epochs=1))
    sums = evaluate(fresh(), train, batch_size=17)
    np.testing.assert_allclose(result.history["train_loss"][0], sums.loss / sums.count, rtol=1e-4)


@pytest.mark.parametrize("batch_size", [1, 7, 16, 64])
def test_evaluation_does_not_depend_on_the_batch_size(batch_size):
    sums, expected = (evaluate(fresh(), data(33), batch_size=b) for b in (batch_size, 33))
    assert (sums.count, sums.correct) == (expected.count, expected.correct)
    np.testing.assert_allclose(sums.loss, expected.loss, rtol=1e-6)


def test_each_epoch_is_told_and_recorded():
    told = []
    result = fit(fresh(), data(20), data(10, 1), CONFIG, on_epoch=told.append)
    assert [epoch.epoch for epoch in told] == [1, 2, 3]
    for name, column in as_arrays(told).items():
        np.testing.assert_array_equal(result.history[name], column)
    assert set(result.history) == set(Epoch._fields)


def test_integer_images_and_no_images_are_refused():
    with pytest.raises(InputError, match="images: expected floating point, found uint8"):
        create_train_state(jax.random.key(0), MODEL, np.zeros((1, 8, 8, 1), np.uint8))
    with pytest.raises(InputError, match="train: expected images to learn from, found none"):
        fit(fresh(), data(20).select(slice(0)), None, CONFIG)


def test_host_arrays_and_device_arrays_train_alike():
    host = jax.device_get(data(20))
    assert_same_bits(fit(fresh(), host, None, CONFIG).state, fit(fresh(), data(20), None, CONFIG).state)


class TestDivergence:
    """A NaN pixel in one image makes the loss of the batch that it is in NaN."""

    config = TrainConfig(epochs=5, batch_size=4, shift=0)

    def poisoned(self) -> Dataset:
        clean = data(20)
        return clean.replace(images=clean.images.at[3].set(jnp.nan))

    def test_the_step_is_named_and_the_parameters_before_it_are_kept(self):
        with pytest.raises(
            DivergedError, match=r"expected a finite loss, found none after step \d+ \(epoch 1\)"
        ) as caught:
            fit(fresh(), self.poisoned(), None, self.config)
        error = caught.value
        _, losses = train_epoch(fresh(), self.poisoned(), 5, batch_size=4, max_shift=0)
        assert error.step == np.argmax(np.isnan(losses))
        assert error.state.step == max(error.step - 1, 0)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(error.state.params))

    def test_a_step_that_is_too_large_is_found_in_the_epoch_it_happens(self):
        """The update of step 1 goes to infinity; the parameters before it are the initial ones."""
        with pytest.raises(DivergedError) as caught:
            fit(fresh(learning_rate=1e38), data(20), data(10, 1), self.config)
        assert caught.value.state.step == caught.value.step - 1
        sums = evaluate(caught.value.state, data(20), batch_size=4)
        assert np.isfinite(sums.loss)

    @pytest.mark.parametrize("validation", [None, "some"])
    def test_a_last_step_that_goes_wrong_is_noticed(self, validation):
        """One step an epoch: every loss in the epochs was finite, what the last step left is not."""
        config = dataclasses.replace(self.config, epochs=1, batch_size=20)
        with pytest.raises(DivergedError, match="after step 1") as caught:
            fit(fresh(learning_rate=1e38), data(20), validation and data(10, 1), config)
        assert_same_bits(caught.value.state, fresh())

    def test_a_state_that_was_bad_when_it_came_is_given_back(self):
        trained = fit(fresh(), data(20), None, self.config).state
        broken = trained.replace(params=jax.tree.map(lambda leaf: leaf * jnp.nan, trained.params))
        with pytest.raises(DivergedError, match="after step 25") as caught:
            fit(broken, data(20), None, self.config)
        assert caught.value.state.step == 25

    def test_a_loss_that_is_bad_from_the_next_epochs_first_step_on_goes_back_an_epoch(self):
        config = dataclasses.replace(self.config, epochs=3, batch_size=20)
        with pytest.raises(DivergedError, match=r"after step 1 \(epoch 2\)") as caught:
            fit(fresh(learning_rate=1e38), data(20), None, config)
        assert_same_bits(caught.value.state, fresh())
        np.testing.assert_array_equal(caught.value.history["epoch"], [1])
