"""Random weights whose predictions are worth comparing.

With torchvision's initialisation alone, the logits of all images are nearly the same, in a ViT they are all
zero: rounding, which depends on the batch size, would decide on the class, and a pipeline that returns one
class for all images would pass for right. So the weights are fitted, a little, to random images.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn

_SEED = 0
_IMAGES = 32
_CHUNK = 4  # images at once where no layer needs them all together
_DIRECTIONS = 16  # of the features that the logits look at: few enough that 32 images show how they vary
_BIAS = 0.5


def random_model(build: Callable[[], nn.Module]) -> nn.Module:
    """`build()` with seeded random weights, in evaluation mode: the same tensors each time.

    Different images get different classes, and by logits further apart than rounding is. torch's global
    generator and its number of threads are left as they were.
    """
    import torch

    threads = torch.get_num_threads()
    # CPU only: manual_seed and a plain fork_rng would go to the GPUs as well, and start CUDA.
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.default_generator.manual_seed(_SEED)
        torch.set_num_threads(1)  # sums of several threads round as the cores happen to be
        try:
            network = build().eval()
            _calibrate(network, torch.Generator().manual_seed(_SEED))
        finally:
            torch.set_num_threads(threads)
    return network


def _calibrate(network: nn.Module, generator: Generator) -> None:
    """Set the normalisations' statistics, then the last layer, by one pass of random images."""
    import torch
    from torch import nn

    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.train()  # these alone: in training mode some models need 299 pixels, and dropout is random
        norm.momentum = None  # plain averages: after one batch, that batch's
        # Without a bias, half of all ReLUs are shut, and a deep random network is then chaotic: it makes
        # rounding errors, and what other images have that these have not, a hundred times as large.
        nn.init.constant_(norm.bias, _BIAS)
    head = [module for module in network.modules() if isinstance(module, nn.Linear | nn.Conv2d)][-1]

    seen: list[Tensor] = []
    hook = head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    size = getattr(network, "image_size", 224)  # vision transformers know one size, the others any
    images = _images(_IMAGES, int(size), generator)
    for chunk in torch.split(images, len(images) if norms else _CHUNK):
        network(chunk)
    hook.remove()
    network.eval()

    inputs = torch.cat(seen)  # (N, C) or, before a convolution, (N, C, H, W)
    if inputs.ndim == 4:
        inputs = inputs.movedim(1, -1)
    _fit_head(head, inputs.reshape(-1, inputs.shape[-1]).double(), generator)


def _fit_head(head: nn.Linear | nn.Conv2d, inputs: Tensor, generator: Generator) -> None:
    """Give each class a random direction in the space of the inputs' main components, each of variance 1.

    So for `inputs` (float64, shape (N, C)) each logit has mean 0 and variance 1, and no component that all
    images vary in most decides alone, between two classes.
    """
    import torch

    mean = inputs.mean(0)
    _, scales, components = torch.linalg.svd(inputs - mean, full_matrices=False)
    scales, components = scales[:_DIRECTIONS], components[:_DIRECTIONS]
    kept = scales > 1e-4 * scales[0]
    scales, components = scales[kept], components[kept]
    scales = scales / (len(inputs) - 1) ** 0.5

    classes = torch.randn(head.weight.shape[0], inputs.shape[1], generator=generator, dtype=torch.float64)
    # Twice the components: their signs, which the decomposition leaves open, cancel.
    weight = (classes @ components.T / scales) @ components / len(scales) ** 0.5
    if head.bias is None:
        weight -= torch.outer(weight @ mean, mean) / (mean @ mean)
    else:
        head.bias.copy_(-weight @ mean)
    head.weight.copy_(weight.reshape(head.weight.shape))


def _images(count: int, size: int, generator: Generator) -> Tensor:
    """Random images as a transform gives them: float32 of shape (`count`, 3, `size`, `size`).

    Like photographs they have more of the coarse than of the fine, colours that go together, and differ in
    brightness and contrast.
    """
    import torch
    from torch.nn.functional import interpolate

    def normal(*shape: int) -> Tensor:
        return torch.randn(count, *shape, generator=generator)

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, 1, 1, 1, generator=generator)

    images = torch.zeros(count, 3, size, size)
    for cells in (2, 4, 8, 16, 32, 64, size):
        noise = normal(1, cells, cells) + 0.4 * normal(3, cells, cells)
        noise = interpolate(noise, size=size, mode="bilinear", align_corners=False)
        images += uniform(0.1, 1.1) * noise / cells**0.5
    images -= images.mean((1, 2, 3), keepdim=True)
    images /= images.std((1, 2, 3), keepdim=True)
    images = images * uniform(0.6, 1.4) + 0.5 * normal(1, 1, 1) + 0.15 * normal(3, 1, 1)
    return images.clamp(-2.1, 2.6)  # black and white, after ImageNet's normalisation
