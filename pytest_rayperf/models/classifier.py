"""The model that a run measures with: which one, the checkpoint it is loaded from, how images go in."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pytest_rayperf import counters
from pytest_rayperf.models.checkpoints import RECIPE, build_model, imagenet_url, resolve_checkpoint

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor, nn

IMAGENETTE_CLASSES: Mapping[str, int] = MappingProxyType(
    {
        "n01440764": 0,  # tench
        "n02102040": 217,  # English springer
        "n02979186": 482,  # cassette player
        "n03000684": 491,  # chain saw
        "n03028079": 497,  # church
        "n03394916": 566,  # French horn
        "n03417042": 569,  # garbage truck
        "n03425413": 571,  # gas pump
        "n03445777": 574,  # golf ball
        "n03888257": 701,  # parachute
    }
)
"""The ten classes of imagenette: WordNet id, the name of a class's folder -> index of its logit."""


@dataclass(frozen=True)
class Classifier:
    """A torchvision classification model and its checkpoint. Workers get it by value: it holds no tensors.

    name: torchvision's name of the model.
    checkpoint: absolute path of a state_dict file, which every node must be able to read.
    weights: what was asked for: `random`, `imagenet` or a file.
    fingerprint: 16 hex digits. Figures of classifiers that differ in it are incomparable.
    num_gpus: what a worker that loads it must have claimed: with 0 the model stays on the CPU.
    """

    name: str
    checkpoint: str
    weights: str
    fingerprint: str
    num_gpus: float = 0

    @property
    def resources(self) -> dict[str, float]:
        """Keywords of `map_batches` for an operator that loads the model: `num_gpus`, or none without one."""
        return {"num_gpus": self.num_gpus} if self.num_gpus else {}

    def load(self) -> nn.Module:
        """A new model with the checkpoint's weights, float32, in evaluation mode; on the CPU, or with
        `num_gpus` on the GPU.

        Each call reads the file from disk and adds 1 to the counter `model_loads`: nothing is kept between
        calls, for how often a pipeline loads its model is what is measured. torch's random generator is left
        as it was, though building a model draws from it: a pipeline with random augmentation gives the same
        rows however often it loads.

        Raises:
            OSError: the checkpoint is not there, on this node.
            RuntimeError: it was replaced by one that doesn't fit; or there is no GPU for it.
            AssertionError: this torch is one without CUDA.
        """
        import torch

        with torch.random.fork_rng(devices=[]):  # weights are drawn on the CPU; no GPU needs to be saved
            model = build_model(self.name)
        model.load_state_dict(torch.load(self.checkpoint, map_location="cpu", weights_only=True))
        counters.count("model_loads")
        model = model.eval()
        return model.to("cuda") if self.num_gpus else model

    def predict(self, model: nn.Module, images: NDArray[np.uint8]) -> NDArray[np.int64]:
        """The class of each image: transform, forward pass without gradients, argmax.

        Args:
            model: as `load` gives it, on any device.
            images: uint8 of shape (N, H, W, 3), as Ray Data reads them.

        Returns:
            Indices of the largest logits, int64 of shape (N,).
        """
        import torch

        inputs = self.transform(torch.from_numpy(images).permute(0, 3, 1, 2))
        inputs = inputs.to(next(model.parameters()).device)
        with torch.inference_mode():
            classes: NDArray[np.int64] = model(inputs).argmax(dim=1).cpu().numpy()
        return classes

    @property
    def transform(self) -> Callable[[Any], Tensor]:
        """torchvision's inference transform of the model: resize, centre crop, scale, normalise.

        Takes a PIL image (RGB) or a uint8 tensor of shape (3, H, W) or (N, 3, H, W); gives float32 of shape
        (3, crop, crop) or (N, 3, crop, crop). Can be pickled.
        """
        from torchvision.transforms._presets import ImageClassification

        weights = self._default_weights()
        transform: Callable[[Any], Tensor]
        transform = ImageClassification(crop_size=224) if weights is None else weights.transforms()
        return transform

    @property
    def input_size(self) -> int:
        """Height and width of the images that the model was made for, in pixels: `transform` crops to it."""
        return int(self.transform.crop_size[0])  # type: ignore[attr-defined]  # a preset of torchvision's

    def normalize(self, images: Tensor) -> Tensor:
        """What `transform` does once an image has its size, on whatever device the images are.

        Args:
            images: uint8 of shape (N, H, W, 3).

        Returns:
            float32 of shape (N, 3, H, W), contiguous.
        """
        import torch

        preset: Any = self.transform
        mean, std = (
            torch.tensor(values, device=images.device).view(3, 1, 1) for values in (preset.mean, preset.std)
        )
        normalized: Tensor = (images.permute(0, 3, 1, 2).contiguous() / 255 - mean) / std
        return normalized

    @property
    def categories(self) -> tuple[str, ...]:
        """ImageNet's class names by index of the logit; empty where torchvision has no weights of it."""
        weights = self._default_weights()
        return () if weights is None else tuple(weights.meta["categories"])

    def _default_weights(self) -> Any:
        """torchvision's entry on its default weights, which downloads nothing; None for a model without."""
        from torchvision.models import get_model_weights

        try:
            return get_model_weights(self.name).DEFAULT
        except ValueError:  # a model that somebody else registered
            return None


def open_classifier(model: str, weights: str) -> Classifier:
    """The classifier that `--rayperf-model` and `--rayperf-weights` name; its checkpoint is there and fits.

    Raises:
        ConfigurationError: as `resolve_checkpoint` does.
    """
    checkpoint = resolve_checkpoint(model, weights)
    return Classifier(model, str(checkpoint), weights, _fingerprint(model, weights, checkpoint))


def _fingerprint(model: str, weights: str, checkpoint: Path) -> str:
    # Of made and downloaded weights not the file's content: how torch writes the same tensors may change
    # with its version, and an upgrade must be measured, not be called incomparable.
    if weights == "random":
        return hashlib.sha256(f"{model} {RECIPE}".encode()).hexdigest()[:16]
    if weights == "imagenet":
        return hashlib.sha256(imagenet_url(model).encode()).hexdigest()[:16]
    digest = hashlib.sha256()
    with checkpoint.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()[:16]
