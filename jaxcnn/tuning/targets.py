"""The convolutions that a command line asks for: those of a function, of a model's training, or given by shapes."""

from collections.abc import Sequence
from functools import partial
from textwrap import shorten
from typing import Any

import jax

from jaxcnn import train as training
from jaxcnn.errors import InputError
from jaxcnn.ops import ConvGeometry
from jaxcnn.tuning.find import Convolution, convolution_and_gradients, find_convolutions
from jaxcnn.usercode import LONG, load_function, parse_shape, parse_shapes


def requested(
    target: str | None,
    shapes: Sequence[str],
    model: str | None,
    config: dict[str, Any],
    convolutions: Sequence[str],
    dtype: str,
) -> list[Convolution]:
    """All that is asked for, each once.

    Args:
      target: ``package.module:function``.
      shapes: of its arguments.
      model: a network's name in a ``TrainConfig``.
      config: other fields of it; those that are None are left as they are.
      convolutions: for each the shapes of images and kernel, and maybe strides, as text.
      dtype: of the target's arguments and the convolutions.

    Raises:
      InputError: nothing is asked for, or something that cannot be.
    """
    fields: dict[str, Any] = {name: value for name, value in config.items() if value is not None}
    if target is None and shapes:
        raise InputError("target: expected package.module:function before --shapes, found none")
    if model is None and fields:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in fields)
        raise InputError(f"model: expected --model NAME beside {flags}, found none")
    if target is None and model is None and not convolutions:
        raise InputError("target: expected package.module:function, --model or --convolutions, found none")
    found = [] if target is None else of_function(target, shapes, dtype)
    found += [] if model is None else of_training(training.TrainConfig(**{**fields, "model": model}))
    found += [convolution for text in convolutions for convolution in of_shapes(text, dtype)]
    return list(dict.fromkeys(found))


def of_function(target: str, shapes: Sequence[str], dtype: str) -> list[Convolution]:
    """Those in a function of the user's.

    Raises:
      InputError: there is no such function, it does not take arguments of these shapes, or it has no convolution.
    """
    specs = [jax.ShapeDtypeStruct(shape, dtype) for shape in parse_shapes(target, shapes)]
    f = load_function(target)
    try:
        found = find_convolutions(f, *specs)
    except Exception as error:  # whatever the function does
        text = shorten(f"{type(error).__name__}: {error}", LONG, placeholder=" …")
        raise InputError(f"{target}: expected a JAX function of {', '.join(shapes)}, found {text}") from error
    if not found:
        raise InputError(f'{target}: expected convolutions of jaxcnn with algorithm="auto", found none')
    return found


def of_training(config: training.TrainConfig) -> list[Convolution]:
    """Those in a training step.

    Raises:
      InputError: the data cannot be used, or the model does not fit them.
    """
    dataset = training.run_splits(config).train
    steps = partial(training.train_epoch, stop=1, batch_size=config.batch_size, max_shift=config.shift)
    try:
        return find_convolutions(steps, training.initial_state(config, dataset), dataset)
    except InputError:
        raise
    except ValueError as error:  # a shape, from jaxcnn.ops.geometry
        raise InputError(f"expected a model that fits the images of {config.data}, found that its {error}") from error


def of_shapes(text: str, dtype: str) -> list[Convolution]:
    """Those of a convolution with SAME padding and its gradients; the kernel's input channels tell the groups.

    Raises:
      InputError: it is no such text, or the shapes do not fit each other.

    >>> [found.operation for found in of_shapes("64,32,32,64 3,3,64,64 2", "float32")]
    ['convolve', 'input_gradient', 'kernel_gradient']
    """
    words = text.split()
    if len(words) not in (2, 3):
        raise InputError(
            f"convolutions: expected images, kernel and maybe strides, 64,32,32,64 3,3,64,64 2, found {text!r}"
        )
    x, kernel, *strides = map(parse_shape, words)
    groups = x[-1] // kernel[-2] if len(x) == len(kernel) > 2 and kernel[-2] else 1
    strides = strides[0] if strides else (1,)
    strides = strides * (len(x) - 2) if len(strides) == 1 else strides
    try:
        geometry = ConvGeometry.resolve(x, kernel, strides=strides, feature_group_count=max(groups, 1))
    except ValueError as error:
        raise InputError(f"convolutions: {error}") from error
    if not x[0]:
        raise InputError(f"convolutions: expected at least one image, found {text!r}")
    return convolution_and_gradients(geometry, dtype)
