"""Checkpoints and the classifier, with two small models. torch is imported in tests, not on collection."""

from __future__ import annotations

import math
import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from urllib.error import URLError

import pytest

from pytest_rayperf import counters
from pytest_rayperf.errors import ConfigurationError
from pytest_rayperf.models import checkpoints
from pytest_rayperf.models.checkpoints import check_model, resolve_checkpoint
from pytest_rayperf.models.classifier import IMAGENETTE_CLASSES, Classifier, open_classifier

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
MODEL = "squeezenet1_0"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RAYPERF_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "cache"


@pytest.fixture
def loads(monkeypatch):
    counted = []
    monkeypatch.setattr(counters, "count", lambda name, amount=1: counted.append((name, amount)))
    return counted


@pytest.fixture(scope="module")
def random_checkpoint(tmp_path_factory):
    """Random weights by model, made once for the tests that only read them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAYPERF_CACHE_DIR", str(tmp_path_factory.mktemp("made")))
        return {model: resolve_checkpoint(model, "random") for model in (MODEL, "mobilenet_v3_small")}


@pytest.fixture
def photos():
    """32 photographs as uint8 of shape (32, 3, 256, 256)."""
    import torch
    from PIL import Image
    from torchvision.transforms.functional import pil_to_tensor

    files = sorted((SHARED / "imagenet_samples").glob("*.JPEG"))[:32]
    if not files:
        pytest.skip(f"no photographs in {SHARED / 'imagenet_samples'}")
    return torch.stack([pil_to_tensor(Image.open(file).convert("RGB").resize((256, 256))) for file in files])


def save(value, path):
    import torch

    torch.save(value, path)
    return str(path)


def state_of(path):
    import torch

    return torch.load(path, weights_only=True)


# Models


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("resnet5", "has no such model; did you mean .*resnet50"),
        ("ResNet50", "did you mean resnet50"),
        ("zzz", "take one of alexnet, .*wide_resnet50_2"),
        ("deeplabv3_resnet50", "is not a classification model"),
        ("quantized_resnet50", "is not a classification model; did you mean .*resnet50"),
    ],
)
def test_an_unknown_model_is_refused_with_its_nearest(name, text):
    with pytest.raises(ConfigurationError, match=f"^--rayperf-model {name}: .*{text}"):
        resolve_checkpoint(name, "random")


def test_every_classification_model_is_accepted():
    import torchvision.models

    for name in torchvision.models.list_models(module=torchvision.models):
        check_model(name)


# Random weights


def test_random_weights_are_made_once_and_left_whole(cache):
    first = resolve_checkpoint(MODEL, "random")
    assert first.parent == cache / "checkpoints"
    assert first.name.startswith("squeezenet1_0-random-v1-torchvision")
    made = first.stat().st_mtime_ns
    assert resolve_checkpoint(MODEL, "random") == first
    assert first.stat().st_mtime_ns == made
    assert not list(first.parent.glob("*.partial"))


def test_random_weights_are_the_same_each_time_and_leave_torch_as_it_was(cache, random_checkpoint):
    import torch

    torch.manual_seed(1234)
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    again = resolve_checkpoint("mobilenet_v3_small", "random")
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads
    assert torch.is_grad_enabled()

    assert again != random_checkpoint["mobilenet_v3_small"]
    expected, state = state_of(random_checkpoint["mobilenet_v3_small"]), state_of(again)
    assert list(state) == list(expected)
    assert all(torch.equal(state[key], expected[key]) for key in expected)
    assert all(torch.isfinite(value).all() for value in state.values())


def test_processes_that_start_together_make_one_file(cache, monkeypatch):
    import torch

    made = []

    def make(model):
        made.append(model)
        return {"weight": torch.zeros(3)}

    monkeypatch.setattr(checkpoints, "_random_state", make)
    with ThreadPoolExecutor(4) as pool:
        paths = set(pool.map(lambda _: resolve_checkpoint(MODEL, "random"), range(8)))
    assert made == [MODEL]
    assert len(paths) == 1


def test_a_crash_leaves_no_half_checkpoint(cache, monkeypatch):
    def crash(model):
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoints, "_random_state", crash)
    with pytest.raises(KeyboardInterrupt):
        resolve_checkpoint(MODEL, "random")
    assert not [file for file in cache.rglob("*") if file.suffix in (".pth", ".partial")]


def test_a_cache_that_is_not_writable_is_said(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("RAYPERF_CACHE_DIR", str(tmp_path / "file"))
    with pytest.raises(ConfigurationError, match=r"cannot write .*RAYPERF_CACHE_DIR"):
        resolve_checkpoint(MODEL, "random")


@pytest.mark.parametrize("name", [MODEL, "mobilenet_v3_small"])
def test_random_weights_tell_photographs_apart_whatever_the_batch(name, random_checkpoint, photos, loads):
    import torch

    classifier = Classifier(name, str(random_checkpoint[name]), "random", "")
    model, images = classifier.load(), classifier.transform(photos)
    threads = torch.get_num_threads()
    logits = []
    try:
        with torch.inference_mode():
            for count, size in ((1, 32), (2, 8), (2, 1)):
                torch.set_num_threads(count)
                logits.append(torch.cat([model(batch) for batch in images.split(size)]))
    finally:
        torch.set_num_threads(threads)

    classes = logits[0].argmax(1)
    assert len(classes.unique()) >= 10
    assert all(torch.equal(other.argmax(1), classes) for other in logits)
    rounding = max((other - logits[0]).abs().max().item() for other in logits)
    best = logits[0].topk(2).values
    assert (best[:, 0] - best[:, 1]).min().item() > 20 * rounding


@pytest.mark.parametrize("name", ["vit_b_16", "maxvit_t"])
def test_the_last_layer_is_fitted_whatever_it_is(name):
    """A ViT's is all zero at first, a MaxViT's has no bias. Real ones take long: the layer alone is tried."""
    import torch

    from pytest_rayperf.models.calibration import _fit_head

    generator = torch.Generator().manual_seed(5)
    inputs = 3 + torch.randn(32, 40, generator=generator).double() * torch.logspace(0, -2, 40)
    head = torch.nn.Linear(40, 200, bias=name == "vit_b_16")
    with torch.no_grad():
        _fit_head(head, inputs, generator)
        logits = head(inputs.float())
    assert logits.mean(0).abs().max() < 1e-3 * logits.std()
    assert 0.5 < logits.std() < 2
    assert len(logits.argmax(1).unique()) >= 10


# torchvision's weights


def test_imagenet_weights_are_downloaded_once(cache, monkeypatch, random_checkpoint):
    import torch
    import torchvision.models._api as api

    urls = []

    def download(url, **options):
        urls.append(url)
        return state_of(random_checkpoint[MODEL])

    monkeypatch.setattr(api, "load_state_dict_from_url", download)
    first = open_classifier(MODEL, "imagenet")
    second = open_classifier(MODEL, "imagenet")
    assert first == second
    assert urls == ["https://download.pytorch.org/models/squeezenet1_0-b66bff10.pth"]
    assert Path(first.checkpoint).is_relative_to(cache)
    expected, state = state_of(random_checkpoint[MODEL]), state_of(first.checkpoint)
    assert all(torch.equal(state[key], expected[key]) for key in expected)


def test_a_failed_download_says_what_to_give_instead(cache, monkeypatch, capfd):
    import torch.hub

    def offline(*args, **options):
        raise URLError("no route to host")

    monkeypatch.setattr(torch.hub, "urlopen", offline)
    with pytest.raises(ConfigurationError) as caught:
        resolve_checkpoint(MODEL, "imagenet")
    text = str(caught.value)
    assert text.startswith("--rayperf-weights imagenet: cannot download https://download.pytorch.org/")
    assert "no route to host" in text
    assert "give --rayperf-weights a state_dict file of squeezenet1_0" in text
    assert not list(cache.rglob("*.pth"))


# Files


def test_a_file_that_fits_is_taken_by_its_absolute_path(tmp_path, monkeypatch, random_checkpoint, cache):
    (tmp_path / "mine.pth").write_bytes(random_checkpoint[MODEL].read_bytes())
    monkeypatch.chdir(tmp_path)
    assert resolve_checkpoint(MODEL, "mine.pth") == tmp_path / "mine.pth"
    assert not cache.exists()


@pytest.mark.parametrize(("path", "text"), [("none.pth", "no such file"), (".", "is not a file")])
def test_a_missing_file_is_said(tmp_path, path, text):
    with pytest.raises(ConfigurationError, match=f"^--rayperf-weights .*: {text}"):
        resolve_checkpoint(MODEL, str(tmp_path / path))


@pytest.mark.parametrize("kept", [0, 4, 1000, 0.5, -1])
def test_a_truncated_file_is_said(tmp_path, kept, random_checkpoint):
    whole = random_checkpoint[MODEL].read_bytes()
    path = tmp_path / "cut.pth"
    path.write_bytes(whole[: math.ceil(len(whole) * kept) if isinstance(kept, float) else kept])
    with pytest.raises(ConfigurationError, match=r"cut\.pth is truncated or no checkpoint"):
        resolve_checkpoint(MODEL, str(path))


@pytest.mark.parametrize(
    "content", [b"not a checkpoint\n", pickle.dumps({"a": print}), b"\x80\x02}q\x00."[:4]]
)
def test_a_file_of_another_kind_is_said(tmp_path, content):
    (tmp_path / "odd.pth").write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"odd\.pth is truncated or no checkpoint"):
        resolve_checkpoint(MODEL, str(tmp_path / "odd.pth"))


def test_a_whole_model_is_not_unpickled(tmp_path):
    import torch

    path = save(torch.nn.Linear(2, 2), tmp_path / "model.pth")
    with pytest.raises(
        ConfigurationError, match=r"no checkpoint of plain tensors.*torch\.save\(model\.state_dict"
    ):
        resolve_checkpoint(MODEL, path)


def test_a_checkpoint_of_a_training_run_is_said_to_be_no_state_dict(tmp_path):
    path = save({"epoch": 3, "state_dict": {}}, tmp_path / "run.pth")
    with pytest.raises(ConfigurationError, match=r"not a state_dict.* a dict with keys epoch, state_dict;"):
        resolve_checkpoint(MODEL, path)
    path = save([1, 2], tmp_path / "list.pth")
    with pytest.raises(ConfigurationError, match=r"list\.pth is not a state_dict.* a list;"):
        resolve_checkpoint(MODEL, path)


def test_weights_of_another_model_are_refused_with_the_keys(random_checkpoint):
    path = str(random_checkpoint["mobilenet_v3_small"])
    with pytest.raises(ConfigurationError) as caught:
        resolve_checkpoint(MODEL, path)
    text = str(caught.value)
    assert text.startswith(f"--rayperf-weights {path}: does not fit --rayperf-model squeezenet1_0: missing: ")
    assert "features.3.squeeze.weight, " in text
    assert " more; unexpected: features.0.0.weight, " in text
    assert len(text) < 1500


def test_weights_of_another_shape_are_refused_with_the_keys(tmp_path, random_checkpoint):
    state = state_of(random_checkpoint[MODEL])
    state["classifier.1.weight"] = state["classifier.1.weight"][:10]
    path = save(state, tmp_path / "ten.pth")
    expected = "of another shape: classifier.1.weight has shape (10, 512, 1, 1) instead of (1000, 512, 1, 1);"
    with pytest.raises(ConfigurationError) as caught:
        resolve_checkpoint(MODEL, path)
    assert expected in str(caught.value)
    assert "missing" not in str(caught.value)


# The classifier


def test_each_load_reads_the_file_and_counts(tmp_path, loads, random_checkpoint):
    import torch

    path = save(state_of(random_checkpoint[MODEL]), tmp_path / "mine.pth")
    classifier = pickle.loads(pickle.dumps(open_classifier(MODEL, path)))
    assert loads == []  # opening is not a load
    model = classifier.load()
    assert not model.training
    assert loads == [("model_loads", 1)]
    expected = state_of(path)
    assert all(torch.equal(value, expected[key]) for key, value in model.state_dict().items())

    expected["classifier.1.bias"] += 1
    save(expected, path)
    assert torch.equal(classifier.load().state_dict()["classifier.1.bias"], expected["classifier.1.bias"])
    assert loads == [("model_loads", 1)] * 2


def test_normalize_ends_what_transform_begins(random_checkpoint, photos):
    import torch
    from torchvision.transforms.functional import convert_image_dtype, normalize

    classifier = Classifier(MODEL, str(random_checkpoint[MODEL]), "random", "0" * 16)
    assert classifier.input_size == 224
    preset = classifier.transform
    expected = normalize(convert_image_dtype(photos, torch.float), preset.mean, preset.std)
    found = classifier.normalize(photos.permute(0, 2, 3, 1))
    assert found.is_contiguous()
    torch.testing.assert_close(found, expected)


def test_a_gpu_is_claimed_by_who_loads_and_gets_the_model(loads, monkeypatch, random_checkpoint):
    import torch

    plain = Classifier(MODEL, str(random_checkpoint[MODEL]), "random", "0" * 16)
    assert plain.resources == {}
    moved = []
    monkeypatch.setattr(torch.nn.Module, "to", lambda model, device: moved.append(device) or model)
    plain.load()
    assert moved == []
    on_gpu = replace(plain, num_gpus=1)
    assert on_gpu.resources == {"num_gpus": 1}
    on_gpu.load()
    assert moved == ["cuda"]


def test_loading_draws_no_random_numbers(loads, random_checkpoint):
    import torch

    before = torch.get_rng_state()
    Classifier(MODEL, str(random_checkpoint[MODEL]), "random", "").load()
    assert torch.equal(torch.get_rng_state(), before)


def test_fingerprints_tell_weights_apart(tmp_path, random_checkpoint):
    state = state_of(random_checkpoint[MODEL])
    first = open_classifier(MODEL, save(state, tmp_path / "a.pth"))
    (tmp_path / "b.pth").write_bytes((tmp_path / "a.pth").read_bytes())
    same = open_classifier(MODEL, str(tmp_path / "b.pth"))
    state["classifier.1.bias"] += 1
    other = open_classifier(MODEL, save(state, tmp_path / "c.pth"))
    made = open_classifier(MODEL, "random")
    assert first.fingerprint == same.fingerprint
    assert len({first.fingerprint, other.fingerprint, made.fingerprint}) == 3
    assert len(first.fingerprint) == len(made.fingerprint) == 16


def test_the_fingerprint_of_random_weights_outlives_torchvision(monkeypatch):
    import torchvision

    monkeypatch.setattr(checkpoints, "_random_state", lambda model: {})
    now = open_classifier(MODEL, "random")
    monkeypatch.setattr(torchvision, "__version__", "99.0")
    then = open_classifier(MODEL, "random")
    assert now.checkpoint != then.checkpoint
    assert now.fingerprint == then.fingerprint


@pytest.mark.parametrize(
    ("name", "crop"), [(MODEL, 224), ("efficientnet_b1", 240), ("not-torchvisions", 224)]
)
def test_the_transform_takes_images_and_tensors(name, crop):
    import torch
    from PIL import Image

    transform = pickle.loads(pickle.dumps(Classifier(name, "", "random", "").transform))
    image = torch.randint(
        0, 256, (3, 300, 280), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    single = transform(image)
    assert (single.dtype, tuple(single.shape)) == (torch.float32, (3, crop, crop))
    batch = transform(torch.stack([image, image]))
    assert tuple(batch.shape) == (2, 3, crop, crop)
    assert torch.equal(batch[1], single)
    picture = transform(Image.fromarray(image.permute(1, 2, 0).numpy()))
    # PIL resizes in 8-bit steps of its own: up to a grey level or two beside torch's.
    assert (picture - single).abs().max() < 0.05


def test_categories_are_imagenets():
    categories = Classifier(MODEL, "", "random", "").categories
    assert len(categories) == 1000
    named = [categories[index] for index in IMAGENETTE_CLASSES.values()]
    assert named == [
        "tench",
        "English springer",
        "cassette player",
        "chain saw",
        "church",
        "French horn",
        "garbage truck",
        "gas pump",
        "golf ball",
        "parachute",
    ]
    assert Classifier("not-torchvisions", "", "random", "").categories == ()


@pytest.mark.parametrize("resized", [True, False])
def test_trained_weights_recognise_imagenette(resized, loads):
    import torch
    from PIL import Image
    from torchvision.transforms.functional import pil_to_tensor

    weights = SHARED / "weights" / "squeezenet1_0-deepcompression.pth"
    files = sorted((SHARED / "imagenette").glob("*/*.JPEG"))[::2]  # half of 117, which is enough and faster
    if not files or not weights.exists():
        pytest.skip(f"no imagenette photographs or trained weights in {SHARED}")
    classifier = open_classifier(MODEL, str(weights))
    pictures = [Image.open(file).convert("RGB") for file in files]
    if resized:  # as Ray Data's read_images(size=(256, 256)) gives them
        arrays = torch.stack([pil_to_tensor(picture.resize((256, 256))) for picture in pictures])
        images = classifier.transform(arrays)
    else:
        images = torch.stack([classifier.transform(picture) for picture in pictures])
    with torch.inference_mode():
        logits = classifier.load()(images)[:, list(IMAGENETTE_CLASSES.values())]
    truth = torch.tensor([list(IMAGENETTE_CLASSES).index(file.parent.name) for file in files])
    accuracy = (logits.argmax(1) == truth).float().mean().item()
    assert accuracy > 0.9, accuracy
