"""NumPy files whose headers say what is not so."""

import struct
import zipfile

import numpy as np


def npy(array, *, shape=None):
    """The bytes of an .npy, whose header may state another shape."""
    described = {"descr": np.lib.format.dtype_to_descr(array.dtype), "fortran_order": False}
    text = repr(described | {"shape": shape or array.shape}).encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + array.tobytes()


def zipped(path, members, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return path
