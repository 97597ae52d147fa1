import gc
import inspect
import io
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from hub_data import backends, create_transform, decode_image, deferred_resize, get_backend
from hub_data.deferred_resize import columns_first_rule, to_deferring_image
from hub_data.fast import buffers
from hub_data.fast import decode as jpeg_decoding
from hub_data.fast.array_image import ArrayImage, FastImage
from hub_data.fast.buffers import BufferPool
from hub_data.fast.normalize import Normalizer
from hub_data.fast.resize import resize
from pictures import jpeg, pixels
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

FILTERS = list(Image.Resampling)
MODES = ["center", "squash", "border"]
SIZES = [(101, 77), (63, 150), (64, 64), (20, 17)]


def levels(a: object, b: object) -> int:
    a, b = (np.asarray(image).astype(int) for image in (a, b))
    assert a.shape == b.shape
    return int(np.abs(a - b).max())


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos", "nearest"])
@pytest.mark.parametrize("crop_mode", MODES)
@pytest.mark.parametrize("size", SIZES)
def test_evaluation_is_to_the_bit_pils_or_within_two_levels(
    size: tuple[int, int], crop_mode: str, interpolation: str
) -> None:
    transform = create_transform(
        (3, 56, 48), crop_mode=crop_mode, interpolation=interpolation, use_prefetcher=True
    )
    data = jpeg(*size)
    want = transform(Image.open(io.BytesIO(data)).convert("RGB"))
    assert torch.equal(transform(get_backend("exact").decode(data)), want)
    assert levels(transform(get_backend("fast").decode(data)), want) <= 2


def test_a_crop_of_a_deferred_resize_is_to_the_bit_that_of_pil() -> None:
    assert columns_first_rule() is not None
    rng = np.random.RandomState(0)
    for _ in range(60):
        width, height, new_width, new_height = rng.randint(8, 90, 4).tolist()
        image = Image.fromarray(rng.randint(0, 2, (height, width, 3)).astype(np.uint8) * 255)
        left, top = rng.randint(0, new_width), rng.randint(0, new_height)
        box = (left, top, rng.randint(left, new_width) + 1, rng.randint(top, new_height) + 1)
        resample = FILTERS[rng.randint(len(FILTERS[:6]))]
        want = image.resize((new_width, new_height), resample).crop(box)
        got = to_deferring_image(image).resize((new_width, new_height), resample).crop(box)
        assert levels(got, want) == 0


def test_where_pils_passes_are_unknown_whole_images_are_resized(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(deferred_resize, "columns_first_rule", lambda: None)
    image = Image.fromarray(pixels(50, 70))
    want = image.resize((30, 33), Image.Resampling.BICUBIC).crop((3, 4, 20, 21))
    got = to_deferring_image(image).resize((30, 33), Image.Resampling.BICUBIC)
    assert levels(got.crop((3, 4, 20, 21)), want) == 0


@pytest.mark.parametrize("name", ["exact", "fast"])
def test_pil_can_do_to_the_images_of_a_backend_whatever_it_can_to_its_own(name: str) -> None:
    data = jpeg(60, 44)
    plain = Image.open(io.BytesIO(data)).convert("RGB")
    for change in (
        lambda image: image,
        lambda image: image.crop((-3, -4, 70, 50)),
        lambda image: image.crop((5, 6, 30, 31)),
        lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        lambda image: image.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
        lambda image: image.transpose(Image.Transpose.ROTATE_90),
        lambda image: image.rotate(17, resample=Image.Resampling.BICUBIC, fillcolor=(1, 2, 3)),
        lambda image: image.resize((20, 21), Image.Resampling.LANCZOS),
        lambda image: image.resize((20, 21), Image.Resampling.LANCZOS, box=(3.5, 4, 40, 41)),
        lambda image: image.convert("L"),
        lambda image: image.copy(),
        lambda image: image.filter(ImageFilter.GaussianBlur(1)),
        ImageOps.equalize,
        ImageOps.autocontrast,
        ImageOps.invert,
        lambda image: ImageEnhance.Sharpness(image).enhance(1.7),
        lambda image: ImageEnhance.Contrast(image).enhance(0.3),
        lambda image: Image.fromarray(np.array(image)),
        lambda image: image.resize((30, 31), Image.Resampling.NEAREST).convert("L"),
    ):
        image = get_backend(name).decode(data)
        assert levels(change(image), change(plain)) == 0
    assert get_backend(name).decode(data).size == plain.size


@pytest.mark.parametrize("resample", [Image.Resampling.BILINEAR, Image.Resampling.BICUBIC])
@pytest.mark.parametrize(
    "matrix",
    [
        (1, 0.2, 0, 0, 1, 0),
        (1, -0.27, 3.5, 0, 1, 0),
        (1, 0, 13.7, 0, 1, 0),
        (1, 0, 0, 0.3, 1, 0),
        (1, 0, 0, 0, 1, -20.9),
        (1, 0, 500.0, 0, 1, 0),
        (1, 0, 0, 0, 1, 0),
    ],
)
def test_shears_and_translations_are_pils_within_one_level(
    matrix: tuple[float, ...], resample: Image.Resampling
) -> None:
    array = pixels(61, 47)
    options = dict(resample=resample, fillcolor=(9, 200, 31))
    want = Image.fromarray(array).transform((61, 47), Image.Transform.AFFINE, matrix, **options)
    got = ArrayImage(array).transform((61, 47), Image.Transform.AFFINE, matrix, **options)
    assert type(got) is FastImage
    assert levels(got, want) <= 1


@pytest.mark.parametrize("resample", [Image.Resampling.BILINEAR, Image.Resampling.BICUBIC])
def test_resizing_is_within_two_levels_even_on_noise(resample: Image.Resampling) -> None:
    noise = np.random.RandomState(1).randint(0, 2, (90, 120, 3)).astype(np.uint8) * 255
    for size in ((40, 30), (100, 119), (300, 200), (17, 80)):
        want = Image.fromarray(noise).resize(size, resample)
        assert levels(resize(noise, size[1], size[0], resample), want) <= 2
        view = resize(noise[:, ::2], size[1], size[0], resample)
        assert levels(view, Image.fromarray(noise[:, ::2].copy()).resize(size, resample)) <= 2


@pytest.mark.parametrize("name", ["exact", "fast"])
@pytest.mark.parametrize("mode", ["L", "CMYK", "RGB"])
def test_unusual_files_are_read_as_without_a_backend(name: str, mode: str) -> None:
    backend = get_backend(name)
    for data in (jpeg(30, 20, mode=mode), jpeg(30, 20, mode=mode, subsampling=0)):
        assert levels(backend.decode(data), decode_image(data)) == 0
        assert levels(backend.decode(data, "L"), decode_image(data, "L")) == 0
    file = io.BytesIO()
    Image.fromarray(pixels(9, 8)).convert("RGBA").save(file, "PNG")
    assert levels(backend.decode(file.getvalue()), pixels(9, 8)) == 0
    many = np.zeros((5, 6, 7), np.uint8)
    assert backend.decode(many, None) is not None


@pytest.mark.parametrize("name", ["exact", "fast"])
def test_images_are_turned_upright_on_request_only(name: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    Image.fromarray(pixels(40, 20)).save(file, "JPEG", exif=exif)
    decode = get_backend(name).decode
    assert decode(file.getvalue()).size == (40, 20)
    assert decode(file.getvalue(), upright=True).size == (20, 40)


@pytest.mark.parametrize("name", ["exact", "fast"])
def test_damaged_files_raise_what_pil_raises(name: str) -> None:
    whole = jpeg(60, 50)
    for damaged in (whole[: len(whole) // 2], whole[:300], b"", b"\xff\xd8\xff no image"):
        with pytest.raises(OSError):
            get_backend(name).decode(damaged)


def test_simplejpeg_gives_pils_pixels_where_it_is_installed() -> None:
    pytest.importorskip("simplejpeg")
    assert jpeg_decoding.turbo() is not None
    for size in SIZES:
        for options in (dict(subsampling=0), dict(subsampling=2), dict(progressive=1)):
            data = jpeg(*size, **options)
            array = jpeg_decoding.decode_jpeg(data)
            assert array is not None and levels(array, Image.open(io.BytesIO(data))) == 0


def test_a_decoder_of_other_pixels_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    class Other:
        __version__ = "0"

        @staticmethod
        def decode_jpeg(data: bytes) -> np.ndarray:
            return 255 - np.asarray(Image.open(io.BytesIO(data)))

    monkeypatch.setitem(sys.modules, "simplejpeg", Other)
    jpeg_decoding.turbo.cache_clear()
    try:
        assert jpeg_decoding.turbo() is None
        assert "gives other pixels" in backends.explain_backends()
    finally:
        jpeg_decoding.turbo.cache_clear()


def test_a_missing_decoder_is_named_with_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "simplejpeg", None)
    jpeg_decoding.turbo.cache_clear()
    try:
        line = backends.explain_backends()
        assert "pip install simplejpeg" in line and "\n" not in line
        assert "evaluation: exact" in line and "training: fast" in line
        assert levels(get_backend("fast").decode(jpeg(30, 20)), decode_image(jpeg(30, 20))) == 0
    finally:
        jpeg_decoding.turbo.cache_clear()


def test_an_unknown_backend_is_named() -> None:
    with pytest.raises(ValueError, match="'quick': choose from exact, fast"):
        get_backend("quick")
    assert get_backend(is_training=True).name == "fast"
    assert get_backend(is_training=False).name == "exact"


@pytest.mark.parametrize("fused", [False, True])
def test_normalising_a_row_is_normalising_a_batch(fused: bool) -> None:
    normalizer = Normalizer((0.5, 0.4, 0.3), (0.2, 0.25, 0.3), fused=fused)
    array = pixels(7, 5)
    row = torch.empty(3, 5, 7)
    normalizer.row(array, row)
    mean, std = (torch.tensor(v)[:, None, None] for v in (normalizer.mean, normalizer.std))
    want = (torch.from_numpy(array).permute(2, 0, 1) / 255 - mean) / std
    torch.testing.assert_close(row, want, atol=1e-6, rtol=0)
    batch = torch.from_numpy(array)[None].permute(0, 3, 1, 2)
    assert torch.equal(normalizer.batch(batch)[0], row)
    with pytest.raises(ValueError, match="no 0 in std"):
        Normalizer((0.5,), (0.0,))


def test_memory_is_used_again_only_when_nobody_holds_it() -> None:
    pool = BufferPool(kept=3)
    first = pool.empty((4, 5), torch.float32)
    place, view = first.data_ptr(), first[1]
    del first
    second = pool.empty((4, 5), torch.float32)
    assert second.data_ptr() != place
    del view
    assert pool.empty((20,), torch.float32).data_ptr() == place
    held = [pool.empty((3, 3), torch.uint8).fill_(i) for i in range(8)]
    assert [int(block.sum()) for block in held] == [9 * i for i in range(8)]


def test_memory_is_held_by_whatever_shares_it_and_by_no_count_of_references() -> None:
    pool = BufferPool()
    for share in (
        lambda tensor: tensor.numpy()[1:],
        lambda tensor: tensor.view(torch.uint8),
        lambda tensor: tensor.untyped_storage(),
        lambda tensor: torch.nn.Parameter(tensor),
        lambda tensor: [tensor.T],
    ):
        tensor = pool.empty((4, 5), torch.float32)
        place, kept = tensor.data_ptr(), share(tensor)
        del tensor
        gc.collect()
        other = pool.empty((4, 5), torch.float32)
        assert other.data_ptr() != place
        del kept, other
        both = [pool.empty((4, 5), torch.float32) for _ in range(2)]
        assert place in {tensor.data_ptr() for tensor in both}
        del both
    assert "getrefcount" not in inspect.getsource(buffers)


def test_memory_is_never_shared_between_threads() -> None:
    pool, seen, barrier = BufferPool(), [], threading.Barrier(4)

    def work() -> None:
        barrier.wait()
        seen.extend(pool.empty((100,), torch.uint8) for _ in range(50))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({block.data_ptr() for block in seen}) == 200


def test_importing_the_package_imports_no_backend() -> None:
    code = "import sys, hub_data; sys.exit('torch' in sys.modules or 'PIL' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
