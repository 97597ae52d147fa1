"""Usual images are read as PIL reads them; unusual ones keep what they show."""

import io
import struct
import zlib

import numpy as np
import pytest
from hub_data import create_dataset, decode_image, load_image
from hub_data.backends import BACKENDS
from hub_data.pixel_range import PixelRangeError, assumed
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


def saved_tiff(array, **options) -> bytes:
    file = io.BytesIO()
    pytest.importorskip("tifffile").imwrite(file, array, **options)
    return file.getvalue()


def saved_npz(**arrays) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def pgm(array, most: int) -> bytes:
    return b"P5 16 8 %d\n" % most + array.astype(">u2").tobytes()


def colors(array):
    return np.repeat(array[..., None], 3, -1)


def saved_by_pil(array) -> bytes:
    return saved(Image.fromarray(array), "TIFF")


WORD = ramp(np.uint16, 65535)
#: What a file or array holds, and the `input_range` that it needs.
WIDE = {
    "png16": (saved(Image.fromarray(WORD), "PNG"), None),
    "tiff16": (saved_by_pil(WORD), None),
    "tiff16, big endian": (saved_tiff(WORD, byteorder=">"), None),
    "tiff16, white is zero": (saved_tiff(65535 - WORD, photometric="miniswhite"), None),
    "tiff16 of 12 bits": (saved_by_pil(ramp(np.uint16, 4095)), (0, 4095)),
    "tiff, colours of 12 bits": (
        saved_tiff(colors(ramp(np.uint16, 4095)), photometric="rgb"),
        (0, 4095),
    ),
    "tiff int16": (saved_tiff(ramp(np.int16, 4095) - np.int16(1024)), (-1024, 3071)),
    "tiff int8": (saved_tiff((ramp(np.int16, 255) - 128).astype(np.int8)), (-128, 127)),
    "tiff int32": (saved_by_pil(ramp(np.int32, 1_000_000)), (0, 1_000_000)),
    "tiff int32 of bytes": (saved_by_pil(ramp(np.int32, 255)), (0, 255)),
    "tiff uint32": (saved_tiff(ramp(np.uint32, 2**32 - 1)), (0, 2**32 - 1)),
    "tiff uint64": (saved_tiff(ramp(np.uint64, 2**40)), (0, 2**40)),
    "tiff 1.0": (saved_by_pil(ramp(np.float32, 1)), None),
    "tiff 255.0": (saved_by_pil(ramp(np.float32, 255)), (0, 255)),
    "tiff 4095.0": (saved_by_pil(ramp(np.float32, 4095)), (0, 4095)),
    "tiff, colours to 1.0": (saved_tiff(colors(ramp(np.float32, 1)), photometric="rgb"), None),
    "tiff float16": (saved_tiff(ramp(np.float16, 1)), None),
    "pgm of 12 bits": (pgm(ramp(np.uint16, 4095), 4095), None),
    "npy16": (saved_array(WORD), None),
    "npy16, big endian": (saved_array(WORD.astype(">u2")), None),
    "npy16 of colours": (saved_array(colors(WORD)), None),
    "npy 1.0": (saved_array(ramp(np.float64, 1)), None),
    "npy int64": (saved_array(ramp(np.int64, 10**6) - 10), (-10, 10**6 - 10)),
    "npy dark is high": (saved_array(65535 - WORD), (65535, 0)),
    "npz": (saved_npz(image=WORD), None),
    "array": (WORD, None),
    "array of bytes": (ramp(np.uint8, 15), (0, 15)),
    "mode F": (Image.fromarray(ramp(np.float32, 1)), None),
    "mode I": (Image.fromarray(ramp(np.int32, 65535)), (0, 65535)),
}


@pytest.mark.parametrize("name", WIDE)
@pytest.mark.parametrize("decode", [decode_image, *(b.decode for b in BACKENDS.values())])
def test_wide_values_are_scaled_by_their_range_or_refused_never_cut_off(name, decode):
    source, input_range = WIDE[name]
    tolerance = 17 if name == "array of bytes" else 1
    for mode in ("RGB", "L"):
        image = decode(source, mode, input_range=input_range)
        assert image.mode == mode
        difference = pixels(image).astype(int).reshape(8, 16, -1) - ramp(int, 255)[..., None]
        assert np.abs(difference).max() <= tolerance
    if input_range and not name.endswith(("12 bits", "of bytes", "dark is high")):
        with pytest.raises(PixelRangeError, match=r"state the range .*input_range=\(black"):
            decode(source)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([0, 255.0], r"float32 values from 0 to 255, .*within 0 \(black\) and 1 \(white\)"),
        ([-0.5, 1], "from -0.5 to 1"),
        ([0, np.inf], "from 0 to inf"),
    ],
)
def test_floats_outside_of_0_to_1_are_refused_with_what_to_state(values, message):
    with pytest.raises(PixelRangeError, match=message):
        decode_image(np.array([values], np.float32))


def test_a_stated_range_cuts_off_what_lies_outside():
    values = np.array([[-2000, -160, 0, 240, np.inf, np.nan]])
    window = decode_image(values, "L", input_range=[-160, 240])
    assert pixels(window).tolist() == [[0, 0, 102, 255, 255, 0]]


def test_bits_of_an_array_are_those_of_a_file():
    bits = ramp(np.uint8, 1).astype(bool)
    for source in (bits, Image.fromarray(bits)):
        assert set(pixels(decode_image(source, "L")).flat) == {0, 255}
        with pytest.raises(PixelRangeError, match="8 bits has no values from 0 to 4095"):
            decode_image(source, input_range=(0, 4095))


@pytest.mark.parametrize("dtype", [complex, object, "M8[s]", "U3"])
@pytest.mark.parametrize("input_range", [None, (0, 9)])
def test_what_is_no_real_number_is_no_pixel(dtype, input_range):
    with pytest.raises(PixelRangeError, match="is no image: give real numbers"):
        decode_image(np.zeros((4, 4)).astype(dtype), input_range=input_range)


@pytest.mark.parametrize("channels", [1, 3, 6])
def test_without_a_mode_arrays_keep_their_type(channels):
    values = np.full((8, 9, channels), 4095, np.uint16)
    assert np.array_equal(decode_image(saved_array(values), ""), values)


def test_two_images_of_a_data_set_stay_comparable():
    dark, bright = (decode_image(ramp(np.uint16, high), "L") for high in (1000, 60000))
    assert pixels(dark).max() == 4 and pixels(bright).max() == 233


def test_what_is_assumed_of_a_type_is_said_once(caplog):
    assumed.cache_clear()
    for _ in range(3):
        decode_image(WORD)
    assert caplog.text.count("uint16 images: 0 is taken for black and 65535 for white") == 1
    decode_image(WORD, input_range=(0, 9))
    decode_image(ramp(np.uint8, 9))
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    "given", [(1, 1), (0, np.inf), (0, 1, 2), 5, ("black", "white"), (0, np.nan)]
)
def test_an_impossible_range_is_refused(given, tmp_path):
    with pytest.raises(ValueError, match="give the numbers that are black and white"):
        decode_image(WORD, input_range=given)


@pytest.mark.parametrize("source", [encoded(1), encoded(1, "PNG", mode="L"), ramp(np.uint8, 9)])
def test_a_range_beyond_8_bits_does_not_turn_8_bit_images_black(source):
    with pytest.raises(PixelRangeError, match="8 bits has no values from 0 to 4095"):
        decode_image(source, input_range=(0, 4095))
    assert np.array_equal(decode_image(source, input_range=(0, 255)), decode_image(source))


def test_bits_that_pil_leaves_out_are_not_missed():
    png = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in (
            (b"IHDR", struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)),
            (b"IDAT", zlib.compress(b"\0" + np.full(6, 4095, ">u2").tobytes())),
            (b"IEND", b""),
        )
    )
    assert pixels(decode_image(png)).max() == 15
    with pytest.raises(PixelRangeError, match=r"PNG file of 16-bit colours, .* upper 8 bits"):
        decode_image(png, input_range=(0, 4095))


def test_a_wrong_range_ends_a_run_and_is_no_damage(tmp_path):
    (tmp_path / "a").mkdir()
    for number, high in enumerate((0.5, 200, 200)):
        (tmp_path / "a" / f"{number}.npy").write_bytes(saved_array(ramp(np.float32, high)))
    data = create_dataset("", tmp_path, input_key=".npy", on_error="skip")
    with pytest.raises(PixelRangeError, match="state the range") as error:
        [data[index] for index in range(3)]
    assert "a/1.npy" in error.value.__notes__[0]
    data = create_dataset("", tmp_path, input_key=".npy", input_range=(0, 200))
    assert [pixels(data[index][0]).max() for index in range(3)] == [1, 255, 255]


def test_an_archive_of_several_arrays_is_no_image():
    with pytest.raises(
        ValueError, match=r"holds the arrays image, mask: an image is a \.npz file of one"
    ):
        decode_image(saved_npz(image=WORD, mask=WORD))


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


def test_a_pointer_of_git_lfs_is_named():
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
    with pytest.raises(OSError, match=r"a pointer of Git LFS, .*git lfs pull"):
        decode_image(pointer)


def test_a_tiff_of_12_bits_is_taken_at_its_word():
    pixels_packed = bytes([0xFF, 0xF0, 0x00, 0x80, 0x0F, 0xFF])  # 4095, 0, 2048, 4095
    short, tags = 3, {256: 4, 257: 1, 258: 12, 259: 1, 262: 1, 273: 8, 277: 1, 278: 1, 279: 6}
    fields = b"".join(struct.pack("<HHIHH", tag, short, 1, value, 0) for tag, value in tags.items())
    header = struct.pack("<2sHI", b"II", 42, 14) + pixels_packed
    content = header + struct.pack("<H", len(tags)) + fields + bytes(4)
    assert pixels(decode_image(content, "L")).tolist() == [[255, 0, 128, 255]]
