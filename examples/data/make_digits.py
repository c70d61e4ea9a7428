#!/usr/bin/env python3
"""Makes examples/data/digits from MNIST: a small class-balanced part of it, and pictures that belong to neither half.

usage: make_digits.py MNIST_DIR [OUT_DIR]

400 images of each class from MNIST's training images, 100 of each from its test images, and 2 more of each class from
the test images as PNG pictures. Which ones is decided by the SHA-256 of an image's place in MNIST, so the result is the
same everywhere; images keep MNIST's order. Needs the standard library only.
"""

import gzip
import hashlib
import os
import struct
import sys
import zlib

CLASSES, SIDE = 10, 28
TRAIN, TEST, PICTURES = 400, 100, 2


def read_idx(path, magic):
    """The items of an IDX file of bytes: label numbers, or images as bytes of SIDE * SIDE."""
    with open(path, "rb") as source:
        blob = source.read()
    if struct.unpack(">I", blob[:4])[0] != magic:
        sys.exit(f"make_digits.py: {path} is no such IDX file")
    count = struct.unpack(">I", blob[4:8])[0]
    if magic == 0x801:
        return list(blob[8:8 + count])
    size = SIDE * SIDE
    return [blob[16 + i * size:16 + (i + 1) * size] for i in range(count)]


def load(folder, part):
    images = read_idx(os.path.join(folder, f"{part}-images-idx3-ubyte"), 0x803)
    return images, read_idx(os.path.join(folder, f"{part}-labels-idx1-ubyte"), 0x801)


def drawn(part, labels, label):
    """The places of a class in the order in which they are drawn."""
    places = [i for i, other in enumerate(labels) if other == label]
    return sorted(places, key=lambda i: hashlib.sha256(f"{part} {i}".encode()).digest())


def write_gzip(path, data):
    """Reproducible: no name and no time inside."""
    with open(path, "wb") as out, gzip.GzipFile("", "wb", 9, out, 0) as packed:
        packed.write(data)


def write_part(folder, part, images, labels, places):
    head = struct.pack(">4I", 0x803, len(places), SIDE, SIDE)
    write_gzip(os.path.join(folder, f"{part}-images-idx3-ubyte.gz"), head + b"".join(images[i] for i in places))
    head = struct.pack(">2I", 0x801, len(places))
    write_gzip(os.path.join(folder, f"{part}-labels-idx1-ubyte.gz"), head + bytes(labels[i] for i in places))


def png(image):
    """An 8-bit grey picture."""
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    rows = b"".join(b"\0" + image[y * SIDE:(y + 1) * SIDE] for y in range(SIDE))
    header = struct.pack(">2I5B", SIDE, SIDE, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")


def main():
    if len(sys.argv) == 2 and sys.argv[1] in ("-h", "--help"):
        print(__doc__.strip())
        return
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__.strip())
    here = os.path.dirname(os.path.abspath(__file__))
    folder = sys.argv[2] if len(sys.argv) == 3 else os.path.join(here, "digits")
    pictures = os.path.join(folder, "pictures")
    os.makedirs(pictures, exist_ok=True)
    for part, take in ("train", TRAIN), ("t10k", TEST):
        images, labels = load(sys.argv[1], part)
        order = [drawn(part, labels, label) for label in range(CLASSES)]
        write_part(folder, part, images, labels, sorted(i for places in order for i in places[:take]))
        if part == "t10k":
            for label, places in enumerate(order):
                for i in places[take:take + PICTURES]:
                    with open(os.path.join(pictures, f"test-{i:05d}-label-{label}.png"), "wb") as out:
                        out.write(png(images[i]))


if __name__ == "__main__":
    main()
