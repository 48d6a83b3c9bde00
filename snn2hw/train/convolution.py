"""Convolutions as PyTorch has them, around one fault of the library that computes them on CPUs."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

# oneDNN works on blocks of so many channels, with AVX-512; of 8 with AVX2.
BLOCK = 16


def convolution(into: int, out: int, side: int, stride: int = 1) -> nn.Conv2d:
    """Return a convolution without bias, with "same" padding for odd kernels."""
    return nn.Conv2d(into, out, side, stride, side // 2, bias=False)


def guard(network: nn.Module) -> None:
    """Make every convolution ``Sampling`` that would damage memory once channels are last."""
    for module in network.modules():
        plain = type(module) is nn.Conv2d and module.groups == 1 and module.padding == (0, 0)
        if plain and module.kernel_size == (1, 1) and module.stride != (1, 1):
            module.__class__ = Sampling


class Sampling(nn.Conv2d):
    """A convolution of every ``stride``-th pixel alone: ``[N, C, H, W]`` to ``[N, out, H/s, W/s]``.

    With few channels, pixels are taken first and convolved with a stride of 1, which is the same
    sum. For the gradient of such weights oneDNN 3.12 writes beyond its memory where channels are
    last: training crashes, hangs, or goes on with wrong gradients (its issue 6035, seen with AVX2
    and PyTorch 2.13; docs/decisions/0012).
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        """Convolve."""
        if self.weight.shape[1] >= BLOCK:
            return super().forward(input)
        rows, columns = self.stride
        return functional.conv2d(input[..., ::rows, ::columns], self.weight, self.bias)
