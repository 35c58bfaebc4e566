"""Metadata of pictures: orientation counts, and broken metadata leaves the pixels."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from darkrank_jax.data.pixels.pictures import decode
from tests.data.image_files import encoded
from tests.data.pixels.picture_files import (
    COLOURS,
    JPEG,
    PNG,
    RGB,
    SIZE,
    chunk,
    turned,
    with_segment,
)


def with_chunk(kind, data, file=PNG):
    place = file.index(b"IDAT") - 4
    return file[:place] + chunk(kind, data) + file[place:]


def with_tag(tag, value):
    """A TIFF file with another tag, a LONG."""
    tags = Image.Exif()
    tags[65000] = value
    file = encoded(RGB, "TIFF", exif=tags)
    own = struct.pack("<HH", 65000, 4)
    assert file.count(own) == 1
    return file.replace(own, struct.pack("<HH", tag, 4))


JUNK = bytes(range(200, 256)) * 3


XMP = '<x:xmpmeta xmlns:x="adobe:ns:meta/"><a tiff:Orientation="6"/></x:xmpmeta>'


BROKEN_METADATA = {
    "png exif": with_chunk(b"eXIf", JUNK),
    "png exif of a wrong checksum": with_chunk(b"eXIf", JUNK).replace(
        struct.pack(">I", zlib.crc32(b"eXIf" + JUNK)), b"abcd"
    ),
    "png icc profile": with_chunk(b"iCCP", b"name\0\0" + JUNK),
    "png icc profile of a method": with_chunk(b"iCCP", b"name\0\7" + zlib.compress(JUNK)),
    "png long text": with_chunk(b"zTXt", b"c\0\0" + zlib.compress(bytes(3 << 20))),
    "png long international text": with_chunk(
        b"iTXt", b"c\0\1\0\0\0" + zlib.compress(bytes(3 << 20))
    ),
    "png raw exif": with_chunk(b"tEXt", b"Raw profile type exif\0\nexif\n  8\nzzzz\n"),
    "png compressed text of junk": with_chunk(b"zTXt", b"c\0\0" + JUNK),
    "png physical size": with_chunk(b"pHYs", b"a"),
    "png gamma": with_chunk(b"gAMA", b""),
    "png time": with_chunk(b"tIME", b"x"),
    "png chromaticities": with_chunk(b"cHRM", b"xyz"),
    "jpeg exif": with_segment(0xE1, b"Exif\0\0" + JUNK),
    "jpeg exif that ends": with_segment(0xE1, b"Exif\0\0II*\0\x08\0\0\0\xff"),
    "jpeg icc profile": with_segment(0xE2, b"ICC_PROFILE\0" + JUNK),
    "jpeg icc profile that ends": with_segment(0xE2, b"ICC_PROFILE\0"),
    "jpeg several pictures": with_segment(0xE2, b"MPF\0" + JUNK),
    "jpeg photoshop": with_segment(0xED, b"Photoshop 3.0\0008BIM" + JUNK),
    "jpeg xmp": with_segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0 tiff:Orientation=" + JUNK),
    "jpeg comment": with_segment(0xFE, JUNK),
    "webp exif": encoded(RGB, "WEBP", lossless=True, exif=b"Exif\0\0" + JUNK),
    "webp icc profile": encoded(RGB, "WEBP", lossless=True, icc_profile=JUNK),
    "webp xmp": encoded(RGB, "WEBP", lossless=True, xmp=JUNK),
    "tiff exif": with_tag(0x8769, 2**31),
    "tiff gps": with_tag(0x8825, 70000),
    "tiff interoperability": with_tag(0xA005, 2**20),
    "tiff icc profile": encoded(RGB, "TIFF", icc_profile=JUNK),
    "gif comment": encoded(RGB.quantize(64), "GIF", comment=JUNK),
}


# Pillow warns of some.
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", BROKEN_METADATA)
def test_broken_metadata_leaves_the_pixels(kind):
    found = decode(BROKEN_METADATA[kind], "x", **SIZE)
    expected = {"jpeg": JPEG, "gif": encoded(RGB.quantize(64), "GIF")}.get(kind.split()[0], PNG)
    np.testing.assert_array_equal(found, decode(expected, "x", **SIZE))


@pytest.mark.parametrize(
    "file",
    [
        with_chunk(b"zTXt", b"c\0\0" + zlib.compress(bytes(3 << 20)), encoded(RGB, exif=turned(6))),
        with_chunk(
            b"zTXt",
            b"c\0\0" + zlib.compress(bytes(3 << 20)),
            with_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP.encode()),
        ),
        with_chunk(b"gAMA", b"", encoded(RGB, exif=turned(6))),
    ],
    ids=["exif", "xmp", "checked"],
)
def test_orientation_is_kept_beside_broken_metadata(file):
    np.testing.assert_array_equal(decode(file, "x", **SIZE), np.rot90(COLOURS, 3))


@pytest.mark.parametrize("value", [0, 9, 77, 65535])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_an_unknown_orientation_is_upright(kind, value):
    options = {"lossless": True} if kind == "WEBP" else {}
    found = decode(encoded(RGB, kind, exif=turned(value), **options), "x", **SIZE)
    np.testing.assert_array_equal(found, decode(encoded(RGB, kind, **options), "x", **SIZE))
