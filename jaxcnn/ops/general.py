"""``jax.lax.conv_general_dilated`` on jaxcnn's algorithms, with the same arguments, results and errors."""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp
from jaxtyping import Array, DTypeLike

from jaxcnn.ops.bilinear import bind, conv_p
from jaxcnn.ops.choose import check_algorithm
from jaxcnn.ops.geometry import ConvGeometry


def conv_general_dilated(
    lhs: Array,
    rhs: Array,
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers=None,
    feature_group_count: int = 1,
    batch_group_count: int = 1,
    precision: lax.PrecisionLike = None,
    preferred_element_type: DTypeLike | None = None,
    out_sharding=None,
    *,
    algorithm: str = "auto",
) -> Array:
    """The general convolution of :func:`jax.lax.conv_general_dilated`, as a drop-in for it.

    What jaxcnn's own algorithms do not cover is XLA's convolution: a dilated input, groups of images, another type of
    the result than that of the arrays (but for a wider one on the CPU), integers, results that are empty, and an
    ``out_sharding``.

    Args:
      lhs, rhs, window_strides, padding, lhs_dilation, rhs_dilation, dimension_numbers, feature_group_count,
        batch_group_count, precision, preferred_element_type, out_sharding: as in lax.
      algorithm: as in :func:`jaxcnn.conv2d`.

    Raises:
      ValueError: the algorithm is unknown, or one was named that cannot do the convolution.
      TypeError, ValueError: what lax raises.

    >>> import jax.numpy as jnp
    >>> conv_general_dilated(jnp.ones((1, 1, 8, 8)), jnp.ones((16, 1, 3, 3)), (2, 2), "SAME").shape
    (1, 16, 4, 4)
    """
    check_algorithm(algorithm)
    window_strides, lhs_dilation, rhs_dilation = (_kept(a) for a in (window_strides, lhs_dilation, rhs_dilation))
    padding = padding if isinstance(padding, str) else _kept(padding)
    options: dict[str, Any] = {
        "window_strides": window_strides,
        "padding": padding,
        "lhs_dilation": lhs_dilation,
        "rhs_dilation": rhs_dilation,
        "dimension_numbers": dimension_numbers,
        "feature_group_count": feature_group_count,
        "batch_group_count": batch_group_count,
        "precision": precision,
        "out_sharding": out_sharding,
    }
    with_lax = partial(lax.conv_general_dilated, preferred_element_type=preferred_element_type, **options)
    if algorithm == "xla":
        return with_lax(lhs, rhs)
    result = jax.eval_shape(with_lax, lhs, rhs)  # raises what lax raises
    lhs, rhs = jnp.asarray(lhs), jnp.asarray(rhs)  # NumPy's float64 is float32 from here on, if that is JAX's
    if algorithm == "auto" and _one_type(lhs, rhs) and _is_wider(result.dtype, lhs.dtype):

        def widened(lhs, rhs):
            return conv_general_dilated(lhs.astype(result.dtype), rhs.astype(result.dtype), **options)

        # Only the CPU has nothing to gain from narrow numbers.
        return lax.platform_dependent(lhs, rhs, cpu=widened, default=with_lax)
    numbers = lax.conv_dimension_numbers(lhs.shape, rhs.shape, dimension_numbers)
    limits = {
        f"lhs_dilation={lhs_dilation}": any(step != 1 for step in lhs_dilation or ()),
        f"batch_group_count={batch_group_count}": batch_group_count != 1,
        f"out_sharding={out_sharding}": out_sharding is not None,
        f"arrays of {lhs.dtype} and {rhs.dtype} with a result of {result.dtype}": not _one_type(lhs, rhs, result),
        f"sizes lhs.shape={lhs.shape}, rhs.shape={rhs.shape}": not _has_windows(lhs, rhs, result, numbers),
    }
    limit = next((name for name, holds in limits.items() if holds), None)
    if limit and algorithm != "auto":
        raise ValueError(f"algorithm {algorithm!r} cannot do this convolution: not with {limit}")
    if limit:
        return with_lax(lhs, rhs)
    x, kernel = lhs.transpose(_images(numbers.lhs_spec)), rhs.transpose(_kernels(numbers.rhs_spec))
    dilation = tuple(rhs_dilation or (1,) * (lhs.ndim - 2))
    geometry = ConvGeometry.resolve(
        x.shape,
        kernel.shape,
        strides=tuple(window_strides),
        padding=_pads(x.shape[1:-1], kernel.shape[:-2], window_strides, dilation, padding),
        kernel_dilation=dilation,
        feature_group_count=feature_group_count,
    )
    check_algorithm(algorithm, geometry)
    y = bind(conv_p, x, kernel, geometry=geometry, algorithm=algorithm, precision=precision)
    return y.transpose(np.argsort(_images(numbers.out_spec)))


def _kept(sizes: Any) -> Any:
    """What may be an iterator or an array as something that can be read twice; lax judges what it is."""
    return tuple(sizes) if isinstance(sizes, Iterable) else sizes


def _one_type(*arrays) -> bool:
    """Whether all have one type of floating-point numbers."""
    return len({array.dtype for array in arrays}) == 1 and jnp.issubdtype(arrays[0].dtype, jnp.floating)


def _is_wider(dtype, than) -> bool:
    """Whether a floating-point type is wider than another."""
    return jnp.issubdtype(dtype, jnp.floating) and jnp.dtype(dtype).itemsize > jnp.dtype(than).itemsize


def _has_windows(lhs, rhs, result, numbers: lax.ConvDimensionNumbers) -> bool:
    """Whether there are spatial axes, and all sizes but the number of images are known and not 0."""
    (_, *images), (_, *results) = numbers.lhs_spec, numbers.out_spec
    sizes = [lhs.shape[axis] for axis in images] + [result.shape[axis] for axis in results] + list(rhs.shape)
    return rhs.ndim > 2 and all(isinstance(size, int) and size > 0 for size in sizes)


def _pads(size, window, strides, dilation, padding) -> Sequence[tuple[int, int]]:
    """Numbers for the names of paddings."""
    if not isinstance(padding, str):
        return [(int(lo), int(hi)) for lo, hi in padding]
    extent = [d * (k - 1) + 1 for d, k in zip(dilation, window, strict=True)]
    return lax.padtype_to_pads(size, extent, strides, padding)


def _images(spec: Sequence[int]) -> tuple[int, ...]:
    """The axes N, spatial, C of an array whose lax specification is N, C, spatial."""
    n, c, *spatial = spec
    return n, *spatial, c


def _kernels(spec: Sequence[int]) -> tuple[int, ...]:
    """The axes spatial, I, O of a kernel whose lax specification is O, I, spatial."""
    o, i, *spatial = spec
    return *spatial, i, o
