"""Sizes, pads and dilations of convolutions and pools, resolved once from static shapes.

For one spatial axis of size i, window k, stride s, dilation d and pads (p_lo, p_hi), the output has

    o = ⌊(i + p_lo + p_hi − (d (k − 1) + 1)) / s⌋ + 1

elements (Dumoulin & Visin 2016, "A guide to convolution arithmetic for deep learning", relationship 15). Every error
that a shape can cause is raised here, so that the code behind it is array operations only.
"""

import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, SupportsIndex

Padding = str | int | Sequence[int | tuple[int, int]]
PadPairs = tuple[tuple[int, int], ...]
Operation = Literal["convolve", "input_gradient", "kernel_gradient"]


class WindowAxis(NamedTuple):
    """One spatial axis of a sliding window."""

    size: int
    window: int
    stride: int
    dilation: int
    pad_lo: int
    pad_hi: int

    @property
    def extent(self) -> int:
        """Input elements that one window spans: d (k − 1) + 1."""
        return self.dilation * (self.window - 1) + 1

    @property
    def output_size(self) -> int:
        """Positions of the window: the formula at the head of this file."""
        return (self.size + self.pad_lo + self.pad_hi - self.extent) // self.stride + 1

    @property
    def transposed(self) -> "WindowAxis":
        """The windows over the dilated output, of size (o − 1) s + 1, whose positions are the input's elements."""
        dilated = (self.output_size - 1) * self.stride + 1
        lo = self.extent - 1 - self.pad_lo
        hi = self.size + self.extent - 1 - dilated - lo
        return WindowAxis(dilated, self.window, 1, self.dilation, lo, hi)


@dataclass(frozen=True)
class ConvGeometry:
    """A convolution without its numbers: hashable, so that it can be a static argument.

    Attributes:
      input_shape: N, spatial sizes, C_in.
      kernel_shape: window sizes, C_in / groups, C_out.
      axes: the spatial axes, one by one.
      groups: features come in this many independent groups.
    """

    input_shape: tuple[int, ...]
    kernel_shape: tuple[int, ...]
    axes: tuple[WindowAxis, ...]
    groups: int

    @classmethod
    def resolve(
        cls,
        input_shape: Sequence[int],
        kernel_shape: Sequence[int],
        *,
        strides: int | Sequence[int] = 1,
        padding: Padding = "SAME",
        kernel_dilation: int | Sequence[int] = 1,
        feature_group_count: int = 1,
    ) -> "ConvGeometry":
        """Check the shapes against each other and put every argument in its canonical form.

        Args:
          input_shape: N, spatial sizes, C_in (NHWC for images).
          kernel_shape: window sizes, C_in / feature_group_count, C_out (HWIO for images).
          strides: one number for all axes, or one an axis.
          padding: "SAME", "SAME_LOWER", "VALID", one number, or an axis' number or (lo, hi); pads may be negative, and
            crop.
          kernel_dilation: distance between the kernel's taps; one number or one an axis.
          feature_group_count: groups that C_in and C_out are divided in.

        Raises:
          ValueError: an argument is out of range, the shapes do not fit each other, or nothing would come out.
        """
        x, kernel = tuple(input_shape), tuple(kernel_shape)
        _check_ranks(x, kernel)
        groups = _positive("feature_group_count", feature_group_count)
        _check_features(x, kernel, groups)
        axes = _window_axes(x[1:-1], kernel[:-2], strides, padding, kernel_dilation)
        return cls(x, kernel, axes, groups)

    @property
    def strides(self) -> tuple[int, ...]:
        """Distance between neighbouring windows, one a spatial axis."""
        return tuple(axis.stride for axis in self.axes)

    @property
    def padding(self) -> PadPairs:
        """(lo, hi), one a spatial axis."""
        return tuple((axis.pad_lo, axis.pad_hi) for axis in self.axes)

    @property
    def kernel_dilation(self) -> tuple[int, ...]:
        """Distance between neighbouring taps, one a spatial axis."""
        return tuple(axis.dilation for axis in self.axes)

    @property
    def output_shape(self) -> tuple[int, ...]:
        """N, output sizes, C_out."""
        return (self.input_shape[0], *(axis.output_size for axis in self.axes), self.kernel_shape[-1])

    @property
    def inputs_per_group(self) -> int:
        """C_in / groups."""
        return self.kernel_shape[-2]

    @property
    def outputs_per_group(self) -> int:
        """C_out / groups."""
        return self.kernel_shape[-1] // self.groups

    @property
    def of_one_group(self) -> "ConvGeometry":
        """The convolution that each group is by itself."""
        input_shape = (*self.input_shape[:-1], self.inputs_per_group)
        kernel_shape = (*self.kernel_shape[:-1], self.outputs_per_group)
        return replace(self, input_shape=input_shape, kernel_shape=kernel_shape, groups=1)

    @property
    def transposed(self) -> "ConvGeometry":
        """The convolution of g with the rotated kernel that ∂L/∂x is; g with stride − 1 zeros between its elements."""
        n, *_, c_in = self.input_shape
        *window, _, c_out = self.kernel_shape
        axes = tuple(axis.transposed for axis in self.axes)
        sizes = (axis.size for axis in axes)
        return ConvGeometry((n, *sizes, c_out), (*window, self.outputs_per_group, c_in), axes, self.groups)

    def with_batch(self, n: int) -> "ConvGeometry":
        """The same convolution of ``n`` inputs."""
        return replace(self, input_shape=(n, *self.input_shape[1:]))


@dataclass(frozen=True)
class PoolGeometry:
    """A sliding window over the spatial axes of N, spatial sizes, C; hashable."""

    input_shape: tuple[int, ...]
    axes: tuple[WindowAxis, ...]

    @classmethod
    def resolve(
        cls,
        input_shape: Sequence[int],
        window_shape: Sequence[int],
        *,
        strides: int | Sequence[int] | None = None,
        padding: Padding = "VALID",
    ) -> "PoolGeometry":
        """Check the window against the input and put every argument in its canonical form.

        Args:
          input_shape: N, spatial sizes, C.
          window_shape: one size a spatial axis.
          strides: as in :meth:`ConvGeometry.resolve`; None is 1, as in Flax.
          padding: as in :meth:`ConvGeometry.resolve`, each pad smaller than the window: a window must hold an input.

        Raises:
          ValueError: an argument is out of range, the shapes do not fit each other, or nothing would come out.
        """
        x = tuple(input_shape)
        rank = len(tuple(window_shape))
        if len(x) != rank + 2:
            raise ValueError(
                f"pooling with a window of {rank} axes needs x of {rank + 2} axes "
                f"(N, {rank} spatial, C): x.shape={x}, window_shape={tuple(window_shape)}"
            )
        window = _per_axis("window_shape", window_shape, rank)
        axes = _window_axes(x[1:-1], window, 1 if strides is None else strides, padding, 1)
        for number, axis in enumerate(axes):
            if not (0 <= axis.pad_lo < axis.window and 0 <= axis.pad_hi < axis.window):
                raise ValueError(
                    f"padding of a pool must be at least 0 and smaller than its window: "
                    f"padding={(axis.pad_lo, axis.pad_hi)}, window={axis.window} on spatial axis {number}"
                )
        return cls(x, axes)

    @property
    def output_shape(self) -> tuple[int, ...]:
        """N, output sizes, C."""
        return (self.input_shape[0], *(axis.output_size for axis in self.axes), self.input_shape[-1])


def _check_ranks(x: tuple[int, ...], kernel: tuple[int, ...]) -> None:
    if len(x) < 3 or len(x) != len(kernel):
        raise ValueError(
            f"x and kernel need as many axes as each other, and at least one spatial axis "
            f"(N, spatial …, C_in and spatial …, C_in / groups, C_out): x.shape={x}, kernel.shape={kernel}"
        )
    if 0 in kernel[:-2]:
        raise ValueError(f"kernel needs at least one tap on each spatial axis: kernel.shape={kernel}")


def _check_features(x: tuple[int, ...], kernel: tuple[int, ...], groups: int) -> None:
    c_in, (k_in, c_out) = x[-1], kernel[-2:]
    shapes = f"x.shape={x}, kernel.shape={kernel}"
    if not (k_in and c_out):
        raise ValueError(f"kernel needs input and output channels: {shapes}")
    if c_in != k_in * groups:
        times = "" if groups == 1 else f" × {groups} groups"
        raise ValueError(f"kernel has {k_in} input channels{times}, x has {c_in} (channels last): {shapes}")
    if c_out % groups:
        raise ValueError(
            f"kernel has {c_out} output channels, not a multiple of feature_group_count={groups}: {shapes}"
        )


def _window_axes(sizes, window, strides, padding, dilation) -> tuple[WindowAxis, ...]:
    rank = len(sizes)
    strides = _per_axis("strides", strides, rank)
    dilation = _per_axis("kernel_dilation", dilation, rank)
    extents = [d * (k - 1) + 1 for k, d in zip(window, dilation, strict=True)]
    pads = _resolve_padding(padding, sizes, extents, strides)
    rows = zip(sizes, window, strides, dilation, pads, strict=True)
    axes = tuple(WindowAxis(i, k, s, d, lo, hi) for i, k, s, d, (lo, hi) in rows)
    for number, axis in enumerate(axes):
        if axis.output_size < 1:
            raise ValueError(
                f"window spans {axis.extent} elements, the padded input has {axis.size + axis.pad_lo + axis.pad_hi} "
                f"on spatial axis {number}: size={axis.size}, window={axis.window}, dilation={axis.dilation}, "
                f"padding={(axis.pad_lo, axis.pad_hi)}"
            )
    return axes


def _resolve_padding(padding: Padding, sizes, extents, strides) -> PadPairs:
    if isinstance(padding, str):
        if padding.upper() not in ("SAME", "SAME_LOWER", "VALID"):
            raise ValueError(f'padding must be "SAME", "SAME_LOWER", "VALID", a number or numbers, found {padding!r}')
        if padding.upper() == "VALID":
            return ((0, 0),) * len(sizes)
        pads = tuple(_same_pads(*row) for row in zip(sizes, extents, strides, strict=True))
        return pads if padding.upper() == "SAME" else tuple((hi, lo) for lo, hi in pads)
    if isinstance(padding, SupportsIndex):
        pad = operator.index(padding)
        return ((pad, pad),) * len(sizes)
    pairs = tuple(_pad_pair(pad, padding) for pad in padding)
    if len(pairs) != len(sizes):
        raise ValueError(f"padding must have an entry for each of the {len(sizes)} spatial axes, found {padding!r}")
    return pairs


def _same_pads(size: int, extent: int, stride: int) -> tuple[int, int]:
    """The pads that give ⌈size / stride⌉ outputs; an odd one goes to the end (with "SAME_LOWER" to the beginning)."""
    output = -(-size // stride)
    total = max((output - 1) * stride + extent - size, 0)
    return total // 2, total - total // 2


def _pad_pair(pad, padding: Padding) -> tuple[int, int]:
    try:
        lo, hi = (pad, pad) if isinstance(pad, SupportsIndex) else pad
        return operator.index(lo), operator.index(hi)
    except (TypeError, ValueError):
        raise ValueError(f"padding of an axis must be an integer or (lo, hi), found {pad!r} in {padding!r}") from None


def _per_axis(name: str, value: int | Sequence[int], rank: int) -> tuple[int, ...]:
    values = tuple(value) if isinstance(value, Iterable) else (value,) * rank
    if len(values) != rank:
        raise ValueError(f"{name} must be one integer or {rank}, one a spatial axis, found {value!r}")
    return tuple(_positive(name, v) for v in values)


def _positive(name: str, value) -> int:
    if not isinstance(value, SupportsIndex) or isinstance(value, bool) or operator.index(value) < 1:
        raise ValueError(f"{name} must be a positive integer, found {value!r}")
    return operator.index(value)
