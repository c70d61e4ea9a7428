#!/usr/bin/python3
"""Makes activations.csv: SALU, SWALU and GALU and their derivatives, computed to 400 digits.

usage: make_activations.py [OUT.csv]      (default: activations.csv beside this file)
       make_activations.py --self-test    (checks the formulas against numerical derivatives; writes nothing)

400 digits, because 1 + SALU loses 180 of them at x = -1e30. Needs mpmath (Debian: python3-mpmath).
"""

import os
import struct
import sys

from mpmath import diff, mp, mpf, pi, sqrt

mp.dps = 400

PAIRS = [(1, 1), (0.5, 2), (2, 0.5), (7, 0.3), (1, 0.01), (1, 100), (0.01, 1), (100, 1), (0.01, 0.01),
         (100, 100), (0.01, 100), (100, 0.01),
         (1e-3, 1e-3), (1e3, 1e3), (1e-4, 1e4), (1e4, 1e-4), (1e-9, 1e9), (1e9, 1e-9)]
TINY = [1.4e-45, 4.2e-45, 1e-42, 1e-40, 1.17549421e-38, 1.17549435e-38, 1e-37, 1e-33, 1e-30, 1e-25, 3e-23, 1e-22,
        1e-20, 1.0842022e-19, 1e-18, 1e-14, 1e-10, 1e-8, 6e-8, 1e-6, 1e-5, 1e-4]
MIDDLE = [10 ** (k / 6) for k in range(-18, 25)] + [0.25, 0.75, 0.7517916, 0.7861514, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 20]
HUGE = [1e5, 1e6, 1e8, 1e9, 1e12, 6.9e12, 1.97e13, 1e15, 1e18, 4.6e18, 9.2233720e18, 1.8446742e19, 1.8446744e19,
        1.9e19, 1e20, 1e22, 1e25, 1e28, 5e29, 1e30]
LARGEST = mpf(2) ** 128 - mpf(2) ** 103      # from here on a number rounds to infinity in float32


def float32(x):
    return struct.unpack("f", struct.pack("f", x))[0]


def salu(x, a, b):
    return a * x / sqrt(1 + a * b * x * x)


def psi(x):
    return sqrt(2 / pi) * (x + mpf("0.044715") * x ** 3)


def swalu(x, a, b):
    return x / 2 * (1 + salu(x, a, b))


def galu(x, a, b):
    return x / 2 * (1 + salu(psi(x), a, b))


def salu_row(x, a, b):
    """f and its derivatives by x, a, b."""
    u = 1 / (1 + a * b * x * x)
    root = sqrt(u)
    return a * x * root, a * u * root, x * root * (1 + u) / 2, -a * a * x ** 3 * u * root / 2


def gated_row(x, gate, gate_slope, a, b):
    """x/2 (1 + salu(gate)) and its derivatives."""
    s, s_gate, s_a, s_b = salu_row(gate, a, b)
    return x / 2 * (1 + s), (1 + s) / 2 + x / 2 * s_gate * gate_slope, x / 2 * s_a, x / 2 * s_b


def row(x, a, b):
    """The twelve numbers of a line of the table."""
    slope = sqrt(2 / pi) * (1 + 3 * mpf("0.044715") * x * x)
    return salu_row(x, a, b) + gated_row(x, x, mpf(1), a, b) + gated_row(x, psi(x), slope, a, b)


def text(value):
    """Correctly rounded to double; inf where float32 would overflow."""
    if abs(value) >= LARGEST:
        return "inf" if value > 0 else "-inf"
    return "%.17g" % float(value)


def points():
    magnitudes = sorted({float32(x) for x in TINY + MIDDLE + HUGE})
    return [-x for x in reversed(magnitudes)] + [0.0] + magnitudes


def make(path):
    head = ["x", "a", "b"] + [f + d for f in ("salu", "swalu", "galu") for d in ("", "_dx", "_da", "_db")]
    with open(path, "w") as out:
        print(",".join(head), file=out)
        for pair in PAIRS:
            a, b = map(float32, pair)
            for x in points():
                numbers = [text(value) for value in row(mpf(x), mpf(a), mpf(b))]
                print(",".join(["%.9g" % v for v in (x, a, b)] + numbers), file=out)


def self_test():
    worst = mpf(0)
    for a, b in PAIRS:
        for x in (-1e13, -20, -1.3, -0.01, 1e-30, 0.7, 3.7, 1e5, 1e22):
            place, numbers = (mpf(x), mpf(a), mpf(b)), row(mpf(x), mpf(a), mpf(b))
            for i, f in enumerate((salu, swalu, galu)):
                wants = [f(*place)] + [diff(f, place, by) for by in ((1, 0, 0), (0, 1, 0), (0, 0, 1))]
                for got, want in zip(numbers[4 * i:], wants):
                    worst = max(worst, abs(got - want) / abs(want))
    print("self-test: worst relative difference %.1e:" % float(worst), "PASS" if worst < 1e-40 else "FAIL")
    return worst >= 1e-40


def main():
    if len(sys.argv) > 2 or sys.argv[1:] in (["-h"], ["--help"]):
        print(__doc__.strip())
        return len(sys.argv) > 2
    if sys.argv[1:] == ["--self-test"]:
        return self_test()
    here = os.path.dirname(os.path.abspath(__file__))
    make(sys.argv[1] if len(sys.argv) == 2 else os.path.join(here, "activations.csv"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
