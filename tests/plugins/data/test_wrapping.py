"""Any data set of (image, target) goes into a loader, and none is changed by it."""

import logging
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from hub.errors import HubWarning
from hub_data import (
    AugMixDataset,
    DamagedSampleError,
    create_dataset,
    create_loader,
    create_transform,
)
from hub_data.workers import Threads
from pictures import folder, pixels
from PIL import Image
from torch.utils.data import (
    ChainDataset,
    ConcatDataset,
    Dataset,
    IterableDataset,
    Subset,
    TensorDataset,
    random_split,
)
from torchvision.datasets import FakeData, OxfordIIITPet

SIZE = (3, 24, 24)
OPTIONS = dict(batch_size=2, num_workers=0, device="cpu", seed=3)
IMAGES = [pixels(50, 40, seed=number) for number in range(6)]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory):
    return folder(tmp_path_factory.mktemp("images"), count=6, classes=2)


def batches(dataset, **options) -> tuple[torch.Tensor, torch.Tensor]:
    loader = create_loader(dataset, SIZE, **(OPTIONS | options))
    images, targets = zip(*loader, strict=True)
    loader.close()
    return torch.cat(images), torch.cat(targets)


def pairs(kind):
    """Return the pictures as (image, target) samples of some kind."""
    change = {
        "PIL": Image.fromarray,
        "array": lambda array: array,
        "unit": lambda array: array / 255,
        "tensor": lambda array: torch.from_numpy(array).permute(2, 0, 1),
        "float tensor": lambda array: torch.from_numpy(array).permute(2, 0, 1) / 255,
    }[kind]
    return [(change(array), number) for number, array in enumerate(IMAGES)]


class WithTransform(Dataset):
    def __init__(self, samples, transform=None) -> None:
        self.samples, self.transform = samples, transform

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index):
        image, target = self.samples[index]
        return self.transform(image) if self.transform else image, target


class Delegating(Dataset):
    """Seems to have all that the data set inside has, also its transform."""

    def __init__(self, dataset) -> None:
        self.dataset = dataset

    def __getattr__(self, name):
        if name.startswith("_") or name == "dataset":
            raise AttributeError(name)
        return getattr(self.dataset, name)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index):
        return self.dataset[index]


class OwnSubset(Subset):
    """What many write to give a part a transform of its own."""

    def __init__(self, dataset, indices, transform=None) -> None:
        super().__init__(dataset, indices)
        self.transform = transform

    def __getitem__(self, index):
        image, target = super().__getitem__(index)
        return self.transform(image) if self.transform else image, target

    def __getitems__(self, indices):
        return [self[index] for index in indices]


WRAPPERS = {
    "pairs": lambda samples: samples,
    "transform": WithTransform,
    "transform that is replaced": lambda samples: WithTransform(samples, transform=np.shape),
    "subset": lambda samples: Subset(WithTransform(samples), range(6)),
    "subset of pairs": lambda samples: Subset(samples, range(6)),
    "subset of a subset": lambda samples: Subset(
        Subset(WithTransform(samples), [5, 4, 3, 2, 1, 0]), [5, 4, 3, 2, 1, 0]
    ),
    "own subset": lambda samples: OwnSubset(WithTransform(samples), range(6)),
    "concatenated": lambda samples: ConcatDataset([WithTransform(samples[:2]), samples[2:]]),
    "concatenated subsets": lambda samples: ConcatDataset(
        [Subset(data := WithTransform(samples), range(3)), Subset(data, range(3, 6))]
    ),
    "delegating": lambda samples: Delegating(WithTransform(samples)),
}


@pytest.mark.parametrize("kind", ["PIL", "array", "unit", "tensor", "float tensor"])
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_every_map_style_data_set_of_pairs_goes_into_a_loader(wrapper, kind) -> None:
    transform = create_transform(SIZE)
    want = torch.stack([transform(Image.fromarray(array)) for array in IMAGES])
    dataset = WRAPPERS[wrapper](pairs(kind))
    for prefetch in (True, False):
        images, targets = batches(dataset, use_prefetcher=prefetch)
        torch.testing.assert_close(images, want, atol=1e-6, rtol=0)
        assert targets.tolist() == list(range(6))
    images, targets = batches(dataset, is_training=True, auto_augment="rand-m9", re_prob=0.5)
    assert images.shape == (6, *SIZE) and sorted(targets.tolist()) == list(range(6))


@pytest.mark.parametrize("workers", [(0, "auto"), (2, "threads"), (2, "processes")])
def test_parts_of_a_folder_are_read_as_the_folder_is(root, workers) -> None:
    kind = dict(num_workers=workers[0], workers_as=workers[1])
    whole = create_dataset("", root)
    train, val = random_split(whole, [4, 2], torch.Generator().manual_seed(0))
    images, targets = batches(whole)
    for part in (train, val, ConcatDataset([val, train])):
        found = batches(part, **kind)
        indices = list(getattr(part, "indices", [*val.indices, *train.indices]))
        assert torch.equal(found[0], images[indices])
        assert torch.equal(found[1], targets[indices])
    loader = create_loader(train, SIZE, **(OPTIONS | dict(num_workers=2)))
    assert type(loader.workers) is Threads


def test_loaders_on_parts_of_one_data_set_do_not_meet(root) -> None:
    whole = create_dataset("", root)
    decode = whole.decode
    train, val = Subset(whole, range(4)), Subset(whole, range(4, 6))
    alone = [batches(train, is_training=True, hflip=1.0), batches(val)]
    loaders = [
        create_loader(train, SIZE, is_training=True, hflip=1.0, **OPTIONS),
        create_loader(val, SIZE, **OPTIONS),
    ]
    first, (validation, _), second = next(a := iter(loaders[0])), next(iter(loaders[1])), next(a)
    assert torch.equal(torch.cat([first[0], second[0]]), alone[0][0])
    assert torch.equal(validation, alone[1][0])
    assert whole.transform is None and whole.decode is decode
    loaders[1].dataset.dataset.transform = create_transform(16, use_prefetcher=True)
    assert next(iter(loaders[1]))[0].shape == (2, 3, 16, 16)


def test_sets_of_torchvision_are_transformed_by_whichever_field_they_read(tmp_path) -> None:
    fake = FakeData(6, (3, 40, 50), 5)
    images, targets = batches(fake)
    assert images.shape == (6, *SIZE) and fake.transform is None
    for name in ("images", "annotations"):
        (tmp_path / "oxford-iiit-pet" / name).mkdir(parents=True)
    listing = tmp_path / "oxford-iiit-pet" / "annotations" / "trainval.txt"
    listing.write_text("".join(f"pet_{n} {n + 1} 1 1\n" for n in range(2)))
    for number in range(2):
        image = Image.fromarray(IMAGES[number])
        image.save(tmp_path / "oxford-iiit-pet" / "images" / f"pet_{number}.jpg")
    pets = OxfordIIITPet(tmp_path, target_transform=lambda target: target + 10)
    images, targets = batches(pets)  # it reads `transforms`
    assert images.shape == (2, *SIZE) and targets.tolist() == [10, 11]


def test_tensors_of_torch_go_into_a_loader() -> None:
    images = torch.stack([image for image, _ in pairs("float tensor")])
    found, targets = batches(TensorDataset(images, torch.arange(6)))
    assert found.shape == (6, *SIZE) and targets.tolist() == list(range(6))


def test_streams_of_pairs_go_into_a_loader() -> None:
    class Stream(IterableDataset):
        def __init__(self, samples) -> None:
            self.samples = samples

        def __len__(self) -> int:
            return len(self.samples)

        def __iter__(self):
            return iter(self.samples)

    want, _ = batches(pairs("array"))
    for stream in (
        Stream(pairs("array")),
        ChainDataset([Stream(pairs("PIL")[:2]), Stream(pairs("PIL")[2:])]),
    ):
        images, targets = batches(stream)
        assert torch.equal(images, want) and targets.tolist() == list(range(6))


class OwnMethod(Dataset):
    """Its `transform` is a method, which samples go through."""

    def __len__(self) -> int:
        return len(IMAGES)

    def transform(self, image):
        return 255 - image

    def __getitem__(self, index: int):
        return self.transform(IMAGES[index]), index


class OwnProperty(OwnMethod):
    """Its `transform` cannot be set."""

    @property
    def transform(self):
        return lambda image: 255 - image


@pytest.mark.parametrize("kind", [OwnMethod, OwnProperty])
def test_a_transform_that_is_code_of_the_data_set_is_left_to_it(kind) -> None:
    want, _ = batches([(255 - image, number) for number, image in enumerate(IMAGES)])
    found, targets = batches(kind())
    assert torch.equal(found, want) and targets.tolist() == list(range(6))


class Endless(IterableDataset):
    """A stream that does not know its length."""

    def __iter__(self):
        return iter(pairs("array"))


class Undivided(Endless):
    """A stream of which each worker reads all."""

    def __len__(self) -> int:
        return len(IMAGES)


def test_a_stream_without_a_length_goes_into_a_loader() -> None:
    _, targets = batches(Endless())
    assert targets.tolist() == list(range(6))


@pytest.mark.parametrize("prefetch", [True, False])
def test_a_stream_that_every_worker_reads_is_said(prefetch) -> None:
    with pytest.warns(HubWarning, match=r"has 6 samples and gave 12: .*get_worker_info"):
        batches(Undivided(), num_workers=2, use_prefetcher=prefetch)


@pytest.mark.parametrize("form", [dict(image=0, label=1), torch.zeros(3, 8, 8), (1,)])
def test_samples_that_are_no_pairs_are_named(form) -> None:
    with pytest.raises(TypeError, match=r"loaders take \(image, target\) pairs"):
        batches([form] * 4)


def test_augmix_takes_a_part_of_a_data_set(root) -> None:
    whole = create_dataset("", root)
    dataset = AugMixDataset(Subset(whole, range(4)), num_splits=3)
    images, targets = batches(dataset, is_training=True, auto_augment="augmix", num_aug_splits=3)
    assert images.shape == (12, *SIZE) and len(targets) == 12 and whole.transform is None


def test_each_batch_of_parts_has_one_of_several_sizes(root) -> None:
    options = OPTIONS | dict(is_training=True, input_size_choices=[16, (3, 24, 20)])
    for dataset in (Subset(create_dataset("", root), range(6)), pairs("array")):
        shapes = {images.shape[1:] for images, _ in create_loader(dataset, SIZE, **options)}
        assert shapes <= {(3, 16, 16), (3, 24, 20)}


@pytest.mark.parametrize("on_error", ["substitute", "skip"])
@pytest.mark.parametrize("workers", [0, 2])
def test_damaged_files_of_parts_are_counted_and_reported(tmp_path, on_error, workers, caplog):
    damaged = folder(tmp_path, count=8, classes=2)
    (damaged / "a" / "002.jpg").write_bytes(b"\xff\xd8\xff damaged")
    whole = create_dataset("", damaged, on_error=on_error)
    parts = ConcatDataset([Subset(whole, range(4)), Subset(whole, range(4, 8))])
    loader = create_loader(parts, SIZE, **(OPTIONS | dict(batch_size=4, num_workers=workers)))
    with caplog.at_level(logging.WARNING, "hub_data"):
        sizes = [len(images) for images, _ in loader]
    assert sizes == ([4, 4] if on_error == "substitute" else [3, 4])
    assert "1 of 8 samples could not be read" in caplog.text
    report = loader.report_faults()
    assert (report.count, report.samples, report.num_samples) == (1, ("a/002.jpg",), 8)
    assert loader.report_faults().count == 0


def test_skipping_ends_where_all_are_damaged(tmp_path) -> None:
    (tmp_path / "a").mkdir()
    for number in range(30):
        (tmp_path / "a" / f"{number}.jpg").write_bytes(b"\xff\xd8\xff damaged")
    dataset = Subset(create_dataset("", tmp_path, on_error="skip"), range(30))
    with pytest.raises(DamagedSampleError, match="10 samples in a row"):
        batches(dataset, batch_size=20)


CHANNELS = {"both": (0.5,) * 6, "one number": 0.5}


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("backend", ["exact", "fast"])
@pytest.mark.parametrize("mean", CHANNELS)
@pytest.mark.parametrize("training", [False, True])
def test_arrays_of_many_channels_go_through_training_and_evaluation(
    tmp_path, training, mean, backend, workers
) -> None:
    (tmp_path / "a").mkdir()
    rng = np.random.default_rng(0)
    for number in range(4):
        np.save(tmp_path / "a" / f"{number}.npy", rng.integers(0, 256, (40, 50, 6), np.uint8))
    data = create_dataset("", tmp_path, input_img_mode="", input_key=".npy")
    assert data[0][0].shape == (40, 50, 6)
    options = dict(mean=CHANNELS[mean], std=CHANNELS[mean], backend=backend, num_workers=workers)
    loader = create_loader(
        data, (6, 32, 32), is_training=training, re_prob=0.5, **(OPTIONS | options)
    )
    images, _ = next(iter(loader))
    assert images.shape == (2, 6, 32, 32) and -1 <= images.min() < 0 < images.max() <= 1
    loader.close()


def test_wide_arrays_of_many_channels_are_scaled_by_one_rule(tmp_path) -> None:
    (tmp_path / "a").mkdir()
    np.save(tmp_path / "a" / "0.npy", np.full((40, 50, 6), 2000, np.int16))
    read = dict(input_img_mode="", input_key=".npy")
    options = OPTIONS | dict(batch_size=1, mean=0.0, std=1.0)
    with pytest.raises(ValueError, match="state the range of the data set"):
        next(iter(create_loader(create_dataset("", tmp_path, **read), (6, 32, 32), **options)))
    data = create_dataset("", tmp_path, input_range=(0, 10000), **read)
    images, _ = next(iter(create_loader(data, (6, 32, 32), **options)))
    assert images.unique().item() == pytest.approx(51 / 255)
    with pytest.raises(ValueError, match=r"create_dataset\(\.\.\., input_range"):
        create_loader(data, (6, 32, 32), input_range=(0, 10000), **options)
    arrays = [(np.full((40, 50, 6), 2000, np.int16), 0)]
    loader = create_loader(arrays, (6, 32, 32), input_range=(0, 10000), **options)
    assert next(iter(loader))[0].equal(images)


@pytest.mark.parametrize("size", [np.array(SIZE), list(SIZE), torch.tensor(SIZE), 24, np.int64(24)])
@pytest.mark.parametrize("mean", [0.5, [0.5] * 3, np.full(3, 0.5)])
def test_sizes_and_means_of_a_loader_are_numbers_lists_or_arrays(root, size, mean) -> None:
    loader = create_loader(create_dataset("", root), size, mean=mean, std=mean, **OPTIONS)
    images, _ = next(iter(loader))
    assert images.shape == (2, *SIZE) and -1 <= images.min() < 0


@pytest.mark.parametrize("workers", [(0, "auto"), (2, "threads"), (2, "processes")])
@pytest.mark.parametrize("prefetch", [True, False])
@pytest.mark.parametrize(
    ("mode", "size", "has", "wants"),
    [("L", SIZE, 1, 3), ("RGB", (1, 24, 24), 3, 1), ("L", 24, 1, 3)],
)
def test_channels_of_images_and_loader_are_compared(
    root, mode, size, has, wants, prefetch, workers
) -> None:
    options = dict(num_workers=workers[0], workers_as=workers[1], use_prefetcher=prefetch)
    data = create_dataset("", root, input_img_mode=mode)
    loader = create_loader(data, size, **(OPTIONS | options))
    with pytest.raises(ValueError, match=rf"{has} channels.*{wants}.*input_size=\({has}, height"):
        list(loader)
    loader.close()


# In a process of its own: a fork of this one would inherit the locks of its threads.
DAEMON = """
import multiprocessing, sys
from hub_data import create_dataset, create_loader

def serve(root, kind):
    data = create_dataset("", root)
    loader = create_loader(data, (3, 24, 24), 2, num_workers=2, workers_as=kind, device="cpu")
    try:
        print(len(list(loader)), "batches", flush=True)
    except Exception as error:
        print(type(error).__name__, error, flush=True)

if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=serve, args=sys.argv[1:], daemon=True)
    process.start()
    process.join()
"""


@pytest.mark.parametrize(
    ("kind", "message"),
    [("processes", r"LoaderError .*workers_as='threads'"), ("auto", r"\d batches\n")],
)
def test_a_daemonic_process_loads_by_threads_or_says_so(root, tmp_path, kind, message) -> None:
    script = tmp_path / "daemon.py"
    script.write_text(DAEMON)
    run = subprocess.run(
        [sys.executable, script, root, kind], capture_output=True, text=True, timeout=100
    )
    assert re.match(message, run.stdout), run.stdout + run.stderr
