"""Picture files of every kind that people have."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

from tests.data.image_files import encoded

RNG = np.random.default_rng(3)
COLOURS = np.kron(RNG.integers(0, 256, (7, 5, 3)), np.ones((3, 4, 1))).astype(np.uint8)
GRAYS = COLOURS[:, :, 1]
ALPHA = RNG.integers(0, 256, GRAYS.shape, np.uint8)
DEEP = GRAYS.astype(np.uint16) * 256 + RNG.integers(0, 256, GRAYS.shape).astype(np.uint16)


def turned(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def deep_png(colour_type, pixels, *more):
    """A PNG file of 16 bits, of kinds that Pillow does not write."""
    height, width = pixels.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    body = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    parts = [chunk(b"IHDR", header), *more, chunk(b"IDAT", zlib.compress(body))]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + chunk(b"IEND", b"")


RGB = Image.fromarray(COLOURS)
LAYERS = Image.fromarray(np.dstack([COLOURS, ALPHA]))
GRAY_LAYERS = Image.fromarray(np.dstack([GRAYS, ALPHA]), "LA")
PALETTE = RGB.quantize(16)
FILES = {
    "png": encoded(RGB),
    "gray png": encoded(Image.fromarray(GRAYS)),
    "turned png": encoded(RGB, exif=turned(7)),
    "alpha": encoded(LAYERS),
    "gray alpha": encoded(GRAY_LAYERS),
    "palette": encoded(PALETTE),
    "palette with a transparent entry": encoded(PALETTE, transparency=3),
    "palette with alpha": encoded(PALETTE, transparency=bytes(range(0, 256, 16))),
    "colour with a transparent one": encoded(RGB, transparency=tuple(COLOURS[0, 0].tolist())),
    "one bit": encoded(Image.fromarray(GRAYS > 100)),
    "16 bits": encoded(Image.fromarray(DEEP)),
    "16 bits with a transparent gray": deep_png(
        0, DEEP, chunk(b"tRNS", struct.pack(">H", DEEP[2, 1]))
    ),
    "16 bits of gray and alpha": deep_png(4, np.dstack([DEEP, ALPHA.astype(int) * 257])),
    "jpeg": encoded(RGB, "JPEG"),
    "gray jpeg": encoded(Image.fromarray(GRAYS), "JPEG"),
    "turned jpeg": encoded(RGB, "JPEG", exif=turned(6)),
    "progressive jpeg": encoded(RGB, "JPEG", progressive=True),
    "cmyk jpeg": encoded(RGB.convert("CMYK"), "JPEG"),
    "cmyk tiff": encoded(RGB.convert("CMYK"), "TIFF"),
    "turned tiff": encoded(RGB, "TIFF", exif=turned(5)),
    "16-bit tiff": encoded(Image.fromarray(DEEP), "TIFF"),
    "alpha tiff": encoded(LAYERS, "TIFF"),
    "lab tiff": encoded(RGB.convert("LAB"), "TIFF"),
    "webp": encoded(RGB, "WEBP", lossless=True),
    "turned webp with alpha": encoded(LAYERS, "WEBP", lossless=True, exact=True, exif=turned(8)),
    "gif": encoded(PALETTE, "GIF", transparency=3),
    "bmp": encoded(RGB, "BMP"),
    "16-bit pgm": encoded(Image.fromarray(DEEP), "PPM"),
}


def lazy(file):
    return Image.open(io.BytesIO(file))


def loaded(file):
    picture = lazy(file)
    picture.load()
    return picture


PNG, JPEG = encoded(RGB), encoded(RGB, "JPEG", quality=95)
SIZE = {"size": (64, 64), "grayscale": False}


def with_segment(marker, data, file=JPEG):
    return file[:2] + b"\xff" + bytes([marker]) + struct.pack(">H", len(data) + 2) + data + file[2:]


def scans_of_nothing(file, number):
    """A progressive JPEG file with further scans of its last kind, which end at once."""
    last = file.rindex(b"\xff\xda")
    header = file[last : last + 2 + int.from_bytes(file[last + 2 : last + 4])]
    return file[:-2] + header * number + file[-2:]
