"""Files of the goldens: safetensors, the compact .golden form, and the images that every case shares.

Needs numpy only. The formats are described in README.md.
"""

import json
import os
import struct

import numpy as np

DTYPES = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "I64": np.int64, "I32": np.int32, "I16": np.int16,
          "U8": np.uint8}
NAMES = {np.dtype(dtype): name for name, dtype in DTYPES.items()}


def write_safetensors(path, tensors, metadata=None):
    """Writes a dictionary of arrays; metadata is a dictionary of strings."""
    header, data, offset = {}, [], 0
    if metadata:
        header["__metadata__"] = metadata
    for name, array in tensors.items():
        array = np.asarray(array, order="C")
        header[name] = {"dtype": NAMES[array.dtype], "shape": list(array.shape),
                        "data_offsets": [offset, offset + array.nbytes]}
        data.append(array.tobytes())
        offset += array.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    temporary = f"{path}.{os.getpid()}.tmp"
    with open(temporary, "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        out.writelines(data)
    os.replace(temporary, path)


def read_safetensors(path):
    """Returns (dictionary of arrays, metadata). Raises ValueError for a file that is none."""
    with open(path, "rb") as source:
        blob = source.read()
    if len(blob) < 8:
        raise ValueError(f"{path}: shorter than a safetensors header")
    length = struct.unpack("<Q", blob[:8])[0]
    if length > len(blob) - 8:
        raise ValueError(f"{path}: header of {length} bytes in a file of {len(blob)}")
    header = json.loads(blob[8:8 + length])
    metadata = header.pop("__metadata__", {})
    data = memoryview(blob)[8 + length:]
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        if entry["dtype"] not in DTYPES or end > len(data):
            raise ValueError(f"{path}: bad entry {name}")
        tensors[name] = np.frombuffer(data[begin:end], DTYPES[entry["dtype"]]).reshape(entry["shape"])
    return tensors, metadata


def hash_bits(seed, count, bits):
    """The top bits of SplitMix64 at counters seed * 2^32 + 0 .. count - 1, as int64."""
    z = np.arange(count, dtype=np.uint64) + np.uint64(seed << 32)
    z *= np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return (z >> np.uint64(64 - bits)).astype(np.int64)


def images(seed, count, size):
    """float32 [count, 3, size, size]: blocks of 8x8 pixels and noise, multiples of 1/64 between -3 and 3."""
    blocks = size // 8
    coarse = hash_bits(2 * seed, count * 3 * blocks * blocks, 7).reshape(count, 3, blocks, blocks) - 64
    noise = hash_bits(2 * seed + 1, count * 3 * size * size, 7).reshape(count, 3, size, size) - 64
    return ((2 * coarse.repeat(8, axis=2).repeat(8, axis=3) + noise) / 64).astype(np.float32)


def labels(seed, count, classes):
    """int64 [count] in 0 .. classes - 1."""
    return hash_bits(2 * seed + 1000, count, 31) % classes


def split(flat, shapes):
    """Takes one array apart into arrays of the given shapes, which use it up."""
    parts, offset = [], 0
    for shape in shapes:
        size = int(np.prod(shape, dtype=np.int64))
        parts.append(flat[offset:offset + size].reshape(shape))
        offset += size
    if offset != flat.size:
        raise ValueError(f"{flat.size} numbers for {offset} places")
    return parts


def quantize(gradients):
    """(I16 numbers of all tensors, float64 unit per tensor); the error must stay below 2e-4 of each tensor's norm."""
    numbers, units = [], []
    for gradient in gradients:
        unit = float(np.abs(gradient).max()) / 32767 or 1.0
        number = np.rint(gradient / unit)
        error, norm = np.linalg.norm(number * unit - gradient), np.linalg.norm(gradient)
        if error > 2e-4 * norm:
            raise ValueError(f"a gradient loses {error / norm:.1e} of its norm in 16 bits")
        numbers.append(number.astype(np.int16).ravel())
        units.append(unit)
    return np.concatenate(numbers), np.array(units)


class Golden:
    """One case, read from its .golden file: info (the metadata), weights, logits, and runs."""

    def __init__(self, path):
        self.tensors, metadata = read_safetensors(path)
        self.info = json.loads(metadata["golden"])
        self.table = self.info["tensors"]
        flat = self.tensors["weights"].astype(np.float32)
        names = [name for name, _, _ in self.table]
        self.weights = dict(zip(names, split(flat, [shape for _, _, shape in self.table])))
        self.logits = self.tensors["logits"]

    def of_kind(self, kind):
        return [(name, shape) for name, k, shape in self.table if k == kind]

    def run(self, name):
        """What is expected of a training run: loss, grad.NAME, scale.NAME, state.NAME."""
        expect = {"loss": self.tensors[f"{name}.loss"]}
        parameters, states = self.of_kind("parameter"), self.of_kind("state")
        numbers = split(self.tensors[f"{name}.gradient"], [shape for _, shape in parameters])
        units, scales = self.tensors[f"{name}.unit"], self.tensors[f"{name}.scale"]
        for (parameter, _), number, unit in zip(parameters, numbers, units):
            expect["grad." + parameter] = (number * unit).astype(np.float32)
        for (parameter, _), scale in zip(parameters, scales):
            if scale > 0:
                expect["scale." + parameter] = np.float32(scale)
        values = split(self.tensors[f"{name}.state"], [shape for _, shape in states])
        for (state, _), value in zip(states, values):
            expect["state." + state] = value
        return expect
