"""Usual images are read as PIL reads them; unusual ones keep what they show."""

import io
import struct

import numpy as np
import pytest
from hub_data import create_dataset, decode_image, load_image
from make_images import encoded, picture, pixels
from PIL import Image, ImageOps


def saved(image, kind, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def saved_array(array) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def ramp(dtype, high):
    """Return values from 0 to `high`, as (8, 16)."""
    return np.linspace(0, high, 128).reshape(8, 16).astype(dtype)


USUAL = {
    "JPEG": encoded(1),
    "grey JPEG": encoded(1, mode="L"),
    "progressive JPEG": saved(picture(1), "JPEG", progressive=True, subsampling=0),
    "CMYK JPEG": saved(picture(1, mode="CMYK"), "JPEG"),
    "PNG": encoded(1, "PNG"),
    "RGBA PNG": encoded(1, "PNG", mode="RGBA"),
    "grey PNG with alpha": encoded(1, "PNG", mode="LA"),
    "palette PNG": encoded(1, "PNG", mode="P"),
    "bilevel PNG": encoded(1, "PNG", mode="1"),
    "GIF": encoded(1, "GIF", mode="P"),
    "WebP": encoded(1, "WEBP"),
    "BMP": encoded(1, "BMP"),
    "TIFF": encoded(1, "TIFF"),
    "CMYK TIFF": encoded(1, "TIFF", mode="CMYK"),
}


@pytest.mark.parametrize("name", USUAL)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_usual_images_are_bit_equal_to_what_pil_converts(name, mode, tmp_path):
    content = USUAL[name]
    wanted = pixels(Image.open(io.BytesIO(content)).convert(mode))
    (tmp_path / "x").write_bytes(content)
    with open(tmp_path / "x", "rb") as file:
        for source in (content, io.BytesIO(content), tmp_path / "x", str(tmp_path / "x"), file):
            image = decode_image(source, mode)
            assert image.mode == mode and np.array_equal(pixels(image), wanted)


def test_palette_with_alpha_is_read_without_a_warning():
    image = picture(1, mode="P")
    content = saved(image, "PNG", transparency=bytes(range(256)))
    assert np.array_equal(pixels(decode_image(content)), pixels(image.convert("RGB")))


def test_cmyk_shows_the_colors_that_were_printed():
    original = picture(2, size=(64, 48))
    image = decode_image(saved(original.convert("CMYK"), "JPEG", quality=95))
    assert np.abs(pixels(image).astype(int) - pixels(original)).mean() < 4


@pytest.mark.parametrize(
    "content",
    [
        saved(Image.fromarray(ramp(np.uint16, 65535)), "PNG"),
        saved(Image.fromarray(ramp(np.uint16, 65535)), "TIFF"),
        saved(Image.fromarray(ramp(np.int32, 65535)), "TIFF"),
        saved(Image.fromarray(ramp(np.float32, 1)), "TIFF"),
        saved(Image.fromarray(ramp(np.float32, 255)), "TIFF"),
        saved_array(ramp(np.uint16, 65535)),
        saved_array(ramp(np.float64, 1)),
        saved_array(np.repeat(ramp(np.uint16, 65535)[..., None], 3, -1)),
    ],
    ids=["png16", "tiff16", "tiff32", "tiff1.0", "tiff255.0", "npy16", "npy1.0", "npy16rgb"],
)
def test_wide_values_are_scaled_not_cut_off(content):
    image = decode_image(content)
    assert image.mode == "RGB"
    difference = pixels(image).astype(int) - ramp(np.float64, 255)[..., None]
    assert np.abs(difference).max() <= 1


def test_values_that_are_no_number_are_black():
    array = np.array([[np.nan, 0.5], [1.0, -3.0]], np.float32)
    assert pixels(decode_image(array, "L")).tolist() == [[0, 128], [255, 0]]


def test_orientation_of_the_camera_is_a_choice(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    content = saved(picture(3), "JPEG", exif=exif)
    as_stored, as_seen = decode_image(content), decode_image(content, upright=True)
    assert as_stored.size == (24, 18) and as_seen.size == (18, 24)
    assert np.array_equal(pixels(as_seen), np.rot90(pixels(as_stored), -1))
    assert np.array_equal(
        pixels(as_seen), pixels(ImageOps.exif_transpose(Image.open(io.BytesIO(content))))
    )
    folder = tmp_path / "cat"
    folder.mkdir()
    (folder / "0.jpg").write_bytes(content)
    assert create_dataset("", tmp_path)[0][0].size == (24, 18)
    assert create_dataset("", tmp_path, upright=True)[0][0].size == (18, 24)
    assert load_image(folder / "0.jpg").size == (18, 24)


def test_many_channels_are_kept_where_no_mode_is_asked_for(tmp_path):
    array = np.random.default_rng(0).integers(0, 4000, (6, 5, 8), dtype=np.uint16)
    content = saved_array(array)
    assert np.array_equal(decode_image(content, ""), array)
    with pytest.raises(ValueError, match="8 channels cannot become RGB: input_img_mode=''"):
        decode_image(content)
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "0.npy").write_bytes(content)
    data = create_dataset("", tmp_path, input_key=".npy", input_img_mode="")
    assert np.array_equal(data[0][0], array)


def test_no_mode_leaves_the_image_as_it_is():
    for mode in ("L", "RGBA", "CMYK", "I;16"):
        image = Image.new(mode, (3, 2), 7)
        assert decode_image(saved(image, "TIFF"), "").mode == mode


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("channels", [5, 8])
def test_tiff_of_many_channels(planar, channels):
    tifffile = pytest.importorskip("tifffile")
    array = np.random.default_rng(0).integers(0, 255, (9, 7, channels), dtype=np.uint8)
    written = array if planar == "contig" else np.ascontiguousarray(np.moveaxis(array, -1, 0))
    file = io.BytesIO()
    tifffile.imwrite(file, written, photometric="minisblack", planarconfig=planar)
    assert np.array_equal(decode_image(file.getvalue(), ""), array)


def test_arrays_that_run_code_or_are_no_images_are_refused():
    with pytest.raises(ValueError, match="allow_pickle"):
        decode_image(saved_array(np.array([print], dtype=object)))
    with pytest.raises(ValueError, match=r"shape \(2, 2, 2, 2\) is no image"):
        decode_image(np.zeros((2, 2, 2, 2)))


@pytest.mark.parametrize(
    "content",
    [b"", b"no image", encoded(1)[:200], encoded(1, "PNG")[:120], struct.pack("<8sI", b"BM", 9)],
)
def test_damaged_files_raise(content, tmp_path):
    with pytest.raises((OSError, SyntaxError, ValueError)):
        decode_image(content)
    (tmp_path / "x.jpg").write_bytes(content)
    with pytest.raises((OSError, SyntaxError, ValueError)):
        decode_image(tmp_path / "x.jpg")
