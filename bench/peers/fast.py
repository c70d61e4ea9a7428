"""SALU, SWALU and GALU in PyTorch as fast as its own operators allow: in-place operators for inference, an autograd function
with a gradient written by hand for training, and the fewest primitive operators for export to ONNX.

    salu(x)  = a x / sqrt(1 + a b x^2)          = x q,            q = 1 / sqrt(1/a^2 + (b/a) x^2)
    swalu(x) = x/2 (1 + salu(x))                = x (1/2 + x q),  q = 1 / sqrt(4/a^2 + (4 b/a) x^2)
    galu(x)  = x/2 (1 + salu(u))                = x (1/2 + u q),  u = sqrt(2/pi) (x + 0.044715 x^3)

`python3 fast.py` checks the three forms and the gradients against the formulas in double.
"""

import math

import torch
from torch import nn
from torch.autograd import Function

C, K = math.sqrt(2 / math.pi), 0.044715
_constants = {}


def constant(value):
    if len(_constants) > 4096:
        _constants.clear()
    return _constants.setdefault(value, torch.tensor(value))


def flat(t):
    """A view of one dimension, in the order of memory."""
    if t.is_contiguous():
        return t.view(-1)
    if t.dim() == 4 and t.is_contiguous(memory_format=torch.channels_last):
        return t.permute(0, 2, 3, 1).reshape(-1)
    return t.reshape(-1)


def in_order_of(x, g):
    """g in the memory order of x, so that flat() pairs equal elements."""
    return g if g.stride() == x.stride() else torch.empty_like(x).copy_(g)


def parameter_gradients(power1, power3, a, b, scale):
    """From sums of g dy/dq-like terms: the gradients by a and by b."""
    s1, s3 = power1 * scale / a**3, power3 * scale / a**3
    return s1 + 0.5 * a * b * s3, -0.5 * a * a * s3


class SaluFunction(Function):
    @staticmethod
    def forward(ctx, x, a, b):
        ctx.ab = a.item(), b.item()
        q = torch.addcmul(constant(1 / ctx.ab[0]**2), x, x, value=ctx.ab[1] / ctx.ab[0]).rsqrt_()
        ctx.save_for_backward(x, q)
        return q * x

    @staticmethod
    def backward(ctx, g):
        (x, q), (a, b) = ctx.saved_tensors, ctx.ab
        t = q * q
        t.mul_(q).mul_(in_order_of(x, g))
        power1 = torch.dot(flat(t), flat(x))
        dx = t * (1 / a**2)
        t.mul_(x).mul_(x)
        return (dx, *parameter_gradients(power1, torch.dot(flat(t), flat(x)), a, b, 1))


class SwaluFunction(Function):
    @staticmethod
    def forward(ctx, x, a, b):
        ctx.ab = a.item(), b.item()
        q = torch.addcmul(constant(4 / ctx.ab[0]**2), x, x, value=4 * ctx.ab[1] / ctx.ab[0]).rsqrt_()
        ctx.save_for_backward(x, q)
        return (q * x).add_(0.5).mul_(x)

    @staticmethod
    def backward(ctx, g):
        (x, q), (a, b) = ctx.saved_tensors, ctx.ab
        g = in_order_of(x, g)
        qx = q * x
        w = q * q
        w.mul_(qx)
        dx = torch.add(qx, w, alpha=4 / a**2).add_(0.5).mul_(g)
        w.mul_(g)
        power1 = torch.dot(flat(w), flat(x))
        w.mul_(x).mul_(x)
        return (dx, *parameter_gradients(power1, torch.dot(flat(w), flat(x)), a, b, 4))


class GaluFunction(Function):
    @staticmethod
    def forward(ctx, x, a, b):
        ctx.ab = a.item(), b.item()
        u = torch.addcmul(constant(C), x, x, value=C * K).mul_(x)
        q = torch.addcmul(constant(4 / ctx.ab[0]**2), u, u, value=4 * ctx.ab[1] / ctx.ab[0]).rsqrt_()
        ctx.save_for_backward(x, u, q)
        return (q * u).add_(0.5).mul_(x)

    @staticmethod
    def backward(ctx, g):
        (x, u, q), (a, b) = ctx.saved_tensors, ctx.ab
        g = in_order_of(x, g)
        w = q * q
        w.mul_(q).mul_(x)
        du = torch.addcmul(constant(C), x, x, value=3 * C * K)
        dx = torch.addcmul(constant(0.5), q, u)
        dx.addcmul_(w, du, value=4 / a**2).mul_(g)
        w.mul_(g)
        power1 = torch.dot(flat(w), flat(u))
        w.mul_(u).mul_(u)
        return (dx, *parameter_gradients(power1, torch.dot(flat(w), flat(u)), a, b, 4))


class Saturating(nn.Module):
    """form: `formula`, `export` and `infer` (after fix()), or `train`."""
    function, scale = None, 4

    def __init__(self, channels=0):
        super().__init__()
        self.a, self.b = nn.Parameter(torch.ones(())), nn.Parameter(torch.ones(()))
        self.form = "train"

    def fix(self, form):
        a, b = self.a.item(), self.b.item()
        self.form, self.offset, self.slope = form, self.scale / a**2, self.scale * b / a
        self.offset_tensor, self.c = torch.tensor(self.offset), torch.tensor(C)

    def argument(self, x):
        return x

    def finish(self, x, uq):
        return uq.add_(0.5).mul_(x)

    def forward(self, x):
        if self.form == "train":
            return self.function.apply(x, self.a, self.b)
        if self.form == "formula":
            return self.formula(x)
        u = self.argument(x)
        if self.form == "export":
            return self.export(x, u / torch.sqrt(u * u * self.slope + self.offset))
        return self.finish(x, torch.addcmul(self.offset_tensor, u, u, value=self.slope).rsqrt_().mul_(u))

    def export(self, x, uq):
        return x * (uq + 0.5)

    def saturate(self, u):
        return self.a * u / torch.sqrt(1 + self.a * self.b * u * u)


class Salu(Saturating):
    function, scale = SaluFunction, 1

    def formula(self, x):
        return self.saturate(x)

    def finish(self, x, uq):
        return uq

    def export(self, x, uq):
        return uq


class Swalu(Saturating):
    function = SwaluFunction

    def formula(self, x):
        return x / 2 * (1 + self.saturate(x))


class Galu(Saturating):
    function = GaluFunction

    def argument(self, x):
        if self.form == "export":
            return x * (x * x * (C * K) + C)
        return torch.addcmul(self.c, x, x, value=C * K).mul_(x)

    def formula(self, x):
        return x / 2 * (1 + self.saturate(C * (x + K * x * x * x)))


def self_check():
    torch.manual_seed(0)
    for kind in Salu, Swalu, Galu:
        m = kind().double()
        m.a.data.fill_(1.3)
        m.b.data.fill_(0.7)
        x = torch.randn(2, 3, 4, 5, dtype=torch.double).to(memory_format=torch.channels_last).requires_grad_()
        g, found = torch.randn(2, 3, 4, 5, dtype=torch.double), {}
        for form in "formula", "train":
            m.form, x.grad = form, None
            m.zero_grad()
            y = m(x)
            y.backward(g)
            found[form] = y.detach(), x.grad.clone(), m.a.grad.clone(), m.b.grad.clone()
        errors = [float((p - q).abs().max()) for p, q in zip(found["formula"], found["train"])]
        for form in "infer", "export":
            m.fix(form)
            errors.append(float((m(x.detach()) - found["formula"][0]).abs().max()))
        print(kind.__name__, *(f"{e:.1e}" for e in errors))
        assert max(errors) < 1e-6        # the constants are float32


if __name__ == "__main__":
    self_check()
