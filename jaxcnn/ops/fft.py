"""Convolution by products of spectra (Mathieu, Henaff & LeCun 2014, "Fast training of convolutional networks through
FFTs"), on tiles (overlap-save and overlap-add: Oppenheim & Schafer, "Discrete-Time Signal Processing", §8.7.3).

With X, W and G the discrete Fourier transforms over T points of a tile of x, of the kernel w with d − 1 zeros between
its taps and of the tile's g with s − 1 zeros between its elements, * the conjugate and every product frequency by
frequency,

    Y[n, f] = Σ_c X[n, c] · W*[c, f]        X̄[n, c] = Σ_f G[n, f] · W[c, f]        W̄[c, f] = Σ_n X[n, c] · G*[n, f]

A tile of T inputs holds whole windows of extent E = d (k − 1) + 1 at the positions 0, s, … up to T − E. At these
nothing wraps around in Y (overlap-save); nor does it in the T elements of X̄, which are added up where tiles overlap
(overlap-add), or in the first E of W̄, which is summed over the tiles before its one inverse transform.

The rounding error grows as log T (Higham 2002, "Accuracy and Stability of Numerical Algorithms", §24.1), in
proportion to the largest elements of a tile: small results beside large ones are less exact than sums, and an infinity
or NaN spreads over its tile.
"""

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jax import lax
from jax import numpy as jnp
from jaxtyping import Array, Complex, Float

from jaxcnn.ops.geometry import ConvGeometry, WindowAxis
from jaxcnn.ops.precision import accumulator

BLOCK_BYTES = 16 * 2**20
"""What the spectra of the kernel and of one image's tile may take: about the L3 cache that a CPU's cores share."""


class TiledAxis(NamedTuple):
    """One spatial axis cut in tiles that each give the same number of outputs."""

    window: WindowAxis
    transform: int
    """T, the points of the transform: inputs of a tile."""

    @property
    def outputs(self) -> int:
        """Windows that fit a tile, or all there are."""
        return min((self.transform - self.window.extent) // self.window.stride + 1, self.window.output_size)

    @property
    def tiles(self) -> int:
        """Tiles that give all outputs; the last one may give more than are needed."""
        return -(-self.window.output_size // self.outputs)

    @property
    def step(self) -> int:
        """Inputs from one tile's start to the next one's."""
        return self.window.stride * self.outputs

    @property
    def input_pads(self) -> tuple[int, int, int]:
        """The convolution's padding, with as much at the end as makes the tiles full."""
        length = (self.tiles - 1) * self.step + self.transform
        return self.window.pad_lo, length - self.window.size - self.window.pad_lo, 0

    @property
    def output_pads(self) -> tuple[int, int, int]:
        """The outputs that the last tile gives beyond those needed."""
        return 0, self.tiles * self.outputs - self.window.output_size, 0


Tiling = tuple[TiledAxis, ...]


def limit(geometry: ConvGeometry) -> str | None:
    """What stands in the way of doing it here: a transform has at most three axes; None if nothing does."""
    rank = len(geometry.axes)
    return None if rank <= 3 else f"fft needs at most 3 spatial axes, found {rank}"


def convolve(
    x: Float[Array, "n *spatial c_in"],
    kernel: Float[Array, "*window c_group c_out"],
    geometry: ConvGeometry,
    *,
    precision=None,
) -> Float[Array, "n *output c_out"]:
    """y: of each tile the outputs before Y's inverse transform wraps around."""
    _check_dtype(x.dtype)
    tiling = plan(geometry, accumulator(x.dtype).itemsize)
    x_padded = _pad(_split_groups(x, geometry), [tiled.input_pads for tiled in tiling])
    # Here c last, in the input gradient f: products sum over the last axis, and W is not transposed for each tile.
    W_conj = jnp.conj(_kernel_spectrum(kernel, geometry, tiling)).swapaxes(-1, -2)

    def tile_outputs(start):
        X = _input_spectrum(x_padded, start, tiling)
        Y = jnp.einsum("n...gc,...gfc->n...gf", X, W_conj, precision=precision)
        return _signal(Y, tiling, [(tiled.outputs, tiled.window.stride) for tiled in tiling])

    y = _add_up(tile_outputs, *_starts(tiling))
    return _merge_groups(_pad(y, [_undone(tiled.output_pads) for tiled in tiling])).astype(x.dtype)


def input_gradient(
    g: Float[Array, "n *output c_out"],
    kernel: Float[Array, "*window c_group c_out"],
    geometry: ConvGeometry,
    *,
    precision=None,
) -> Float[Array, "n *spatial c_in"]:
    """∂L/∂x: the inverse transforms of X̄, added up where tiles overlap."""
    _check_dtype(g.dtype)
    tiling = plan(geometry, accumulator(g.dtype).itemsize)
    g_padded = _pad(_split_groups(g, geometry), [tiled.output_pads for tiled in tiling])
    W = _kernel_spectrum(kernel, geometry, tiling)

    def tile_gradient(start):
        G = _cotangent_spectrum(g_padded, start, tiling)
        X_bar = jnp.einsum("n...gf,...gcf->n...gc", G, W, precision=precision)
        return _signal(X_bar, tiling, [(tiled.transform, 1) for tiled in tiling])

    input_starts, output_starts = _starts(tiling)
    x_bar = _add_up(tile_gradient, output_starts, input_starts)
    return _merge_groups(_pad(x_bar, [_undone(tiled.input_pads) for tiled in tiling])).astype(g.dtype)


def kernel_gradient(
    x: Float[Array, "n *spatial c_in"],
    g: Float[Array, "n *output c_out"],
    geometry: ConvGeometry,
    *,
    precision=None,
) -> Float[Array, "*window c_group c_out"]:
    """∂L/∂w: W̄ summed over the tiles, its first E elements, of which every d-th is a tap's."""
    _check_dtype(x.dtype)
    tiling = plan(geometry, accumulator(x.dtype).itemsize)
    x_padded = _pad(_split_groups(x, geometry), [tiled.input_pads for tiled in tiling])
    g_padded = _pad(_split_groups(g, geometry), [tiled.output_pads for tiled in tiling])

    def tile_spectrum(input_start, output_start):
        X = _input_spectrum(x_padded, input_start, tiling)
        G = _cotangent_spectrum(g_padded, output_start, tiling)
        return jnp.einsum("n...gc,n...gf->...gcf", X, jnp.conj(G), precision=precision)

    starts = _starts(tiling)
    zero = jnp.zeros_like(tile_spectrum(*(start[0] for start in starts)))
    W_bar, _ = lax.scan(lambda total, start: (total + tile_spectrum(*start), None), zero, starts)
    taps = [(tiled.window.window, tiled.window.dilation) for tiled in tiling]
    w_bar = _signal(jnp.moveaxis(W_bar, -2, 0), tiling, taps)
    return jnp.moveaxis(w_bar, 0, -3).reshape(geometry.kernel_shape).astype(x.dtype)


def plan(geometry: ConvGeometry, itemsize: int) -> Tiling:
    """The tiles: whole axes, of which the one longest beside its window is halved until a tile fits ``BLOCK_BYTES``.

    No step from tile to tile becomes shorter than the window's extent, so that on no axis much more than twice the
    input is transformed. Images are not counted: all of the batch goes through a tile's products together.
    """
    axes = geometry.axes
    outputs = [axis.output_size for axis in axes]
    while True:
        tiling = tuple(_tiled(axis, o) for axis, o in zip(axes, outputs, strict=True))
        windows = [axis.stride * o / axis.extent for axis, o in zip(axes, outputs, strict=True)]
        divisible = [number for number, o in enumerate(outputs) if o > 1 and windows[number] >= 2]
        if not divisible or _block_bytes(geometry, tiling, itemsize) <= BLOCK_BYTES:
            return tiling
        longest = max(divisible, key=windows.__getitem__)
        outputs[longest] = -(-outputs[longest] // 2)


def _tiled(axis: WindowAxis, outputs: int) -> TiledAxis:
    """Tiles of at least so many outputs, their transform of a size that is quick."""
    return TiledAxis(axis, _smooth(axis.stride * (outputs - 1) + axis.extent))


def _smooth(least: int) -> int:
    """The next number without prime factors above 5: one that divides a power of 30."""
    return next(size for size in itertools.count(least) if pow(30, size.bit_length(), size) == 0)


def _block_bytes(geometry: ConvGeometry, tiling: Tiling, itemsize: int) -> int:
    """The spectra of the kernel and of one image's tile and its outputs; half as many complex numbers as real ones."""
    c_in, (c_group, c_out) = geometry.input_shape[-1], geometry.kernel_shape[-2:]
    return math.prod(tiled.transform for tiled in tiling) * (c_in + c_out + c_group * c_out) * itemsize


def _starts(tiling: Tiling) -> tuple[np.ndarray, np.ndarray]:
    """Where each tile starts in the padded x and in the padded g, an index of all their axes each."""
    numbers = np.array(list(itertools.product([0], *(range(tiled.tiles) for tiled in tiling), [0], [0])), np.int32)
    inputs, outputs = ([0, *steps, 0, 0] for steps in zip(*((t.step, t.outputs) for t in tiling), strict=True))
    return numbers * np.array(inputs, np.int32), numbers * np.array(outputs, np.int32)


def _add_up(tile, sources: np.ndarray, targets: np.ndarray):
    """What the tiles at the sources give, added up at the targets, the last of which is the farthest on every axis."""

    def add(total, starts):
        source, target = starts
        part = tile(source)
        return lax.dynamic_update_slice(total, part + lax.dynamic_slice(total, target, part.shape), target), None

    first = jnp.zeros_like(tile(sources[0]))  # for its type, and how it is sharded
    zero = _pad(first, [(0, int(farthest), 0) for farthest in targets[-1, 1:-2]])
    return lax.scan(add, zero, (sources, targets))[0]


def _check_dtype(dtype) -> None:
    """Spectra are of real numbers, and roundings would be integers' errors."""
    if not jnp.issubdtype(dtype, jnp.floating):
        raise ValueError(f"fft needs arrays of real floating-point numbers, found {dtype}")


def _split_groups(a, geometry: ConvGeometry):
    """Groups of channels as an axis of their own, in the type that is computed in."""
    return a.reshape(*a.shape[:-1], geometry.groups, a.shape[-1] // geometry.groups).astype(accumulator(a.dtype))


def _merge_groups(a):
    return a.reshape(*a.shape[:-2], a.shape[-2] * a.shape[-1])


def _kernel_spectrum(kernel, geometry: ConvGeometry, tiling: Tiling) -> Complex[Array, "*frequency groups c_group f"]:
    """W, of the kernel with zeros between its taps; frequencies first, as the products inside the loop need it."""
    taps = jnp.moveaxis(_split_groups(kernel, geometry), -3, 0)
    W = _spectrum(_pad(taps, [(0, 0, tiled.window.dilation - 1) for tiled in tiling]), tiling)
    return jnp.moveaxis(W, 0, -2)


def _input_spectrum(x_padded, start, tiling: Tiling) -> Complex[Array, "n *frequency groups c_group"]:
    """X, of the tile that starts there."""
    return _spectrum(_tile(x_padded, start, [tiled.transform for tiled in tiling]), tiling)


def _cotangent_spectrum(g_padded, start, tiling: Tiling) -> Complex[Array, "n *frequency groups f_group"]:
    """G, of the tile that starts there, with zeros between its elements."""
    tile = _tile(g_padded, start, [tiled.outputs for tiled in tiling])
    return _spectrum(_pad(tile, [(0, 0, tiled.window.stride - 1) for tiled in tiling]), tiling)


def _tile(a, start, sizes: Sequence[int]):
    return lax.dynamic_slice(a, start, (a.shape[0], *sizes, *a.shape[-2:]))


def _spectrum(a, tiling: Tiling):
    """The transform over all axes but the first and the last two, zeros put at their ends up to T."""
    return jnp.fft.rfftn(a, [tiled.transform for tiled in tiling], axes=range(1, a.ndim - 2))


def _signal(spectrum, tiling: Tiling, counts_and_strides: Sequence[tuple[int, int]]):
    """The inverse transform: of each axis so many elements from its start, so far from each other."""
    a = jnp.fft.irfftn(spectrum, [tiled.transform for tiled in tiling], axes=range(1, spectrum.ndim - 2))
    limits = [(count - 1) * stride + 1 for count, stride in counts_and_strides]
    strides = [stride for _, stride in counts_and_strides]
    return lax.slice(a, (0,) * a.ndim, (a.shape[0], *limits, *a.shape[-2:]), (1, *strides, 1, 1))


def _pad(a, pads: Sequence[tuple[int, int, int]]):
    """Zeros before, after and between the elements of each axis but the first and the last two; fewer if negative."""
    return lax.pad(a, jnp.zeros((), a.dtype), [(0, 0, 0), *pads, (0, 0, 0), (0, 0, 0)])


def _undone(pads: tuple[int, int, int]) -> tuple[int, int, int]:
    lo, hi, _ = pads
    return -lo, -hi, 0
