"""Checkpoint files: every model is loaded from a real one, whether it was made here, downloaded or given.

All checks are made up front, in the driver, so that no pipeline starts with a model that can't be loaded.
"""

from __future__ import annotations

import difflib
import http.client
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from pytest_rayperf.data.cache import CACHE_VARIABLE, cache_root
from pytest_rayperf.errors import ConfigurationError

if TYPE_CHECKING:
    from torch import Tensor, nn

RECIPE = "random-v1"
"""Names how random weights are made: change it with anything that changes them."""

_SHOWN = 4  # keys that a message lists before "and N more"

# What torchvision's own weights are built with and `weights=None` is not.
_KEYWORDS: Mapping[str, Mapping[str, Any]] = {
    "googlenet": {"aux_logits": True, "transform_input": True},
    "inception_v3": {"aux_logits": True, "transform_input": True},
    "vit_h_14": {"image_size": 518},
}
_TAKES_INIT_WEIGHTS = ("googlenet", "inception_v3")  # and warns where it is left out


def resolve_checkpoint(model: str, weights: str) -> Path:
    """The absolute path of a state_dict file that fits `model`; made or downloaded where it isn't there yet.

    Args:
        model: a torchvision classification model, such as `resnet50`.
        weights: `random` (seeded, the same tensors each time it is made), `imagenet` (torchvision's default
            weights, downloaded once), or the path of a state_dict file.

    Raises:
        ConfigurationError: no such model or file; a file that is no checkpoint or one of another model; a
            download that failed; a cache that can't be written to.
    """
    check_model(model)
    if weights == "random":
        return _cached(f"{model}-{RECIPE}", lambda: _random_state(model))
    if weights == "imagenet":
        return _cached(Path(imagenet_url(model)).stem, lambda: _downloaded_state(model))
    path = Path(weights).expanduser().absolute()  # workers run in another folder
    _check_file(model, weights, path)
    return path


def check_model(model: str) -> None:
    """Check that torchvision has this classification model.

    Raises:
        ConfigurationError: it has not; the text names those that are spelt most alike.
    """
    import torchvision

    known = torchvision.models.list_models(module=torchvision.models)
    if model in known:
        return
    other = model in torchvision.models.list_models()
    wrong = (
        "is not a classification model"
        if other
        else f"torchvision {torchvision.__version__} has no such model"
    )
    close = difflib.get_close_matches(model.lower(), known, n=3)
    mend = f"did you mean {' or '.join(close)}?" if close else f"take one of {', '.join(known)}"
    raise ConfigurationError(f"--rayperf-model {model}: {wrong}; {mend}")


def imagenet_url(model: str) -> str:
    """Where torchvision's default weights of `model` are; the name holds their version and a hash."""
    from torchvision.models import get_model_weights

    return str(get_model_weights(model).DEFAULT.url)


def build_model(model: str, *, initialise: bool = False) -> nn.Module:
    """The architecture in float32 on the CPU, in training mode, with weights to be overwritten.

    With `initialise`, weights fit to be used: two models initialise slowly and do it only then. Either way
    torch's generator has drawn numbers.
    """
    from torchvision.models import get_model

    network: nn.Module = get_model(model, weights=None, **_keywords(model, initialise))
    return network


def _keywords(model: str, initialise: bool) -> dict[str, Any]:
    init = {"init_weights": initialise} if model in _TAKES_INIT_WEIGHTS else {}
    return {**_KEYWORDS.get(model, {}), **init}


def _cached(name: str, make: Callable[[], Mapping[str, Tensor]]) -> Path:
    """The file of `make`'s tensors, made by one process at a time; it is there whole or not at all."""
    import torchvision

    path = (cache_root() / "checkpoints" / f"{name}-torchvision{torchvision.__version__}.pth").absolute()
    if path.exists():  # without the lock: a cache that is full but read-only does too
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(path.name + ".lock")):
            if not path.exists():
                partial = path.with_name(path.name + ".partial")
                try:
                    _save(make(), partial)
                    partial.replace(path)
                finally:
                    partial.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"--rayperf-weights: cannot write {path} ({_line(error)}); free or unlock that place, "
            f"or set {CACHE_VARIABLE} to a folder that can be written to"
        ) from error
    return path


def _save(state: Mapping[str, Tensor], path: Path) -> None:
    import torch

    try:
        torch.save(state, path)
    except RuntimeError as error:  # torch's way to say that a disk is full
        raise OSError(str(error)) from error


def _random_state(model: str) -> dict[str, Tensor]:
    from pytest_rayperf.models.calibration import random_model

    return dict(random_model(lambda: build_model(model, initialise=True)).state_dict())


def _downloaded_state(model: str) -> dict[str, Tensor]:
    # get_model, not the file as downloaded: densenets' keys have other names there.
    import torch
    from torchvision.models import get_model, get_model_weights

    try:
        with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
            warnings.simplefilter("ignore")  # googlenet's auxiliary heads are untrained, and unused
            default = get_model_weights(model).DEFAULT
            network = get_model(model, weights=default, progress=False, **_keywords(model, initialise=False))
    except (OSError, RuntimeError, http.client.HTTPException) as error:
        raise ConfigurationError(
            f"--rayperf-weights imagenet: cannot download {imagenet_url(model)} ({_line(error)}); "
            f"give --rayperf-weights a state_dict file of {model}, or use --rayperf-weights random"
        ) from error
    return dict(network.state_dict())


def _check_file(model: str, weights: str, path: Path) -> None:
    option = f"--rayperf-weights {weights}"
    if not path.is_file():
        wrong = "is not a file" if path.exists() else "no such file"
        raise ConfigurationError(f"{option}: {wrong} ({path}); give random, imagenet or a state_dict file")
    state = _read(option, path)

    import torch

    with torch.random.fork_rng(devices=[]):
        network = build_model(model)
    try:
        network.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise ConfigurationError(
            f"{option}: does not fit --rayperf-model {model}: {_differences(network, state, error)}; "
            f"give a state_dict of torchvision's {model}, or the model that {path} is of"
        ) from error


def _read(option: str, path: Path) -> dict[str, Tensor]:
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on TorchScript archives, which end as an error anyhow
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ConfigurationError(
            f"{option}: {path} is truncated or no checkpoint of plain tensors ({_line(error)}); "
            "write one with torch.save(model.state_dict(), path)"
        ) from error
    if not isinstance(state, dict) or not all(
        isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in state.items()
    ):
        found = f"a {type(state).__name__}"
        if isinstance(state, dict):
            found += f" with keys {_shorten([str(key) for key in state])}"
        raise ConfigurationError(
            f"{option}: {path} is not a state_dict, a dict of tensors, but {found}; "
            "write one with torch.save(model.state_dict(), path)"
        )
    return state


def _differences(network: nn.Module, state: Mapping[str, Tensor], error: RuntimeError) -> str:
    expected = {
        key: tuple(value.shape)
        for key, value in network.state_dict().items()
        if not key.endswith("num_batches_tracked")  # old checkpoints lack it, and load
    }
    shapes = {key: tuple(value.shape) for key, value in state.items()}
    other = [
        f"{key} has shape {shapes[key]} instead of {shape}"
        for key, shape in expected.items()
        if key in shapes and shapes[key] != shape
    ]
    missing = [key for key in expected if key not in shapes]
    unexpected = [key for key in shapes if key not in expected and not key.endswith("num_batches_tracked")]
    lists = {"missing": missing, "unexpected": unexpected, "of another shape": other}
    found = [f"{what}: {_shorten(keys)}" for what, keys in lists.items() if keys]
    return "; ".join(found) or _line(error)


def _shorten(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _line(error: Exception) -> str:
    """The first line of an error's text; of torch's long ones it is the one that says what happened."""
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0]}" if text else type(error).__name__
