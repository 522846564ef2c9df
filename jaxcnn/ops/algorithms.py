"""The algorithms by their names, each a module with the three operations and their ``limit``."""

from typing import Literal

from jaxcnn.ops import direct, eigen, fft, im2col, polyphase, winograd

Operation = Literal["convolve", "input_gradient", "kernel_gradient"]

IMPLEMENTATIONS = {
    "xla": direct,
    "eigen": eigen,
    "im2col": im2col,
    "winograd": winograd,
    "fft": fft,
    "polyphase": polyphase,
}
