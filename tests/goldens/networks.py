"""The networks of models/ in PyTorch, for the goldens: names as README.md lists them, dropout off, any width.

Own definitions: nothing is taken from a model library but the parameters' names.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F


class Terms:
    """Collects, per scalar parameter, the tensor whose gradient holds the terms of the parameter's gradient."""

    def __init__(self):
        self.tensors = {}

    def spread(self, parameter, like):
        """parameter, one copy per element of like."""
        copy = parameter.expand(like.shape)
        if copy.requires_grad:
            copy.retain_grad()
            self.tensors[parameter] = copy
        return copy

    def watch(self, parameter, output):
        """output is a sum that parameter is added to."""
        if output.requires_grad:
            output.retain_grad()
            self.tensors[parameter] = output
        return output


TERMS = Terms()


class Margins:
    """While on, keeps the smallest distance of a relu's input to 0 and of a maximum to the next largest, in units of
    the tensor's root mean square: how much rounding a run stands before a gradient takes another way."""

    def __init__(self):
        self.smallest = None

    def note(self, distances, x):
        if self.smallest is not None and distances.numel():
            self.smallest = min(self.smallest, (distances.min() / x.square().mean().sqrt()).item())


TERMS, MARGINS = Terms(), Margins()


def relu(x):
    MARGINS.note(x.detach().abs(), x)
    return F.relu(x)


class Relu(nn.Module):
    def forward(self, x):
        return relu(x)


class MaxPool(nn.Module):
    def __init__(self, size, stride, padding=0):
        super().__init__()
        self.size, self.stride, self.padding = size, stride, padding

    def forward(self, x):
        if MARGINS.smallest is not None:
            padded = F.pad(x.detach(), [self.padding] * 4, value=-1e30).flatten(0, 1).unsqueeze(1)
            top = F.unfold(padded, self.size, stride=self.stride).topk(2, 1).values
            MARGINS.note((top[:, 0] - top[:, 1])[top[:, 0] != 0], x)
        return F.max_pool2d(x, self.size, self.stride, self.padding)


class Salu(nn.Module):
    def __init__(self, channels=0):
        super().__init__()
        self.a = nn.Parameter(torch.ones(()))
        self.b = nn.Parameter(torch.ones(()))

    def forward(self, x):
        a, b = TERMS.spread(self.a, x), TERMS.spread(self.b, x)
        return a * x / torch.sqrt(1 + a * b * x * x)


class Swalu(Salu):
    def forward(self, x):
        return x / 2 * (1 + super().forward(x))


class Galu(Salu):
    def forward(self, x):
        return x / 2 * (1 + super().forward(math.sqrt(2 / math.pi) * (x + 0.044715 * x ** 3)))


class Center(nn.Module):
    """x + bias - mean; for the first 8 steps of training mean is averaged and bias counts a hundredth."""

    def __init__(self, channels):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("mean", torch.zeros(channels))
        self.step = 8
        self.hold = False      # differences need a mean that stays

    def forward(self, x):
        shape = (1, -1) + (1,) * (x.dim() - 2)
        factor = 1.0
        if self.training and self.step < 8:
            factor = 0.01
            if not self.hold:
                batch_mean = x.detach().transpose(0, 1).flatten(1).mean(1)
                self.mean = self.mean + (batch_mean - self.mean) / (self.step + 1)
        return x + factor * self.bias.view(shape) - self.mean.view(shape)


class WatchedConv(nn.Conv2d):
    """A convolution whose bias stands in front of a batchnorm, so that its gradient is zero."""

    def forward(self, x):
        return TERMS.watch(self.bias, super().forward(x))


LAYERS = {"salu": Salu, "swalu": Swalu, "batchnorm": nn.BatchNorm2d, "relu": lambda channels: Relu(),
          "galu": Galu, "layernorm": nn.LayerNorm, "gelu": lambda channels: nn.GELU()}


def conv(channels, width, size, stride=1, groups=1):
    return nn.Conv2d(channels, width, size, stride, size // 2, groups=groups, bias=False)


class Basic(nn.Module):
    expansion = 1

    def __init__(self, channels, width, stride, norm, act):
        super().__init__()
        self.conv1, self.bn1, self.act1 = conv(channels, width, 3, stride), norm(width), act(width)
        self.conv2, self.bn2, self.act2 = conv(width, width, 3), norm(width), act(width)
        if stride != 1 or channels != width:
            self.downsample = nn.Sequential(conv(channels, width, 1, stride), norm(width))
        else:
            self.downsample = nn.Identity()

    def forward(self, x):
        h = self.act1(self.bn1(self.conv1(x)))
        h = self.bn2(self.conv2(h))
        return self.act2(h + self.downsample(x))


class Bottleneck(nn.Module):
    expansion = 4

    def __init__(self, channels, width, stride, norm, act):
        super().__init__()
        out = 4 * width
        self.conv1, self.bn1, self.act1 = conv(channels, width, 1), norm(width), act(width)
        self.conv2, self.bn2, self.act2 = conv(width, width, 3, stride), norm(width), act(width)
        self.conv3, self.bn3, self.act3 = conv(width, out, 1), norm(out), act(out)
        if stride != 1 or channels != out:
            self.downsample = nn.Sequential(conv(channels, out, 1, stride), norm(out))
        else:
            self.downsample = nn.Identity()

    def forward(self, x):
        h = self.act1(self.bn1(self.conv1(x)))
        h = self.act2(self.bn2(self.conv2(h)))
        h = self.bn3(self.conv3(h))
        return self.act3(h + self.downsample(x))


class ResNet(nn.Module):
    """depths of four stages; imagenet: 7x7/2 stem and max pool, else 3x3."""

    def __init__(self, block, depths, imagenet, width, classes, norm, act):
        super().__init__()
        norm, act = LAYERS[norm], LAYERS[act]
        self.conv1 = conv(3, width, 7, 2) if imagenet else conv(3, width, 3)
        self.bn1, self.act1 = norm(width), act(width)
        self.pool = MaxPool(3, 2, 1) if imagenet else nn.Identity()
        channels = width
        for stage, depth in enumerate(depths):
            blocks = []
            for i in range(depth):
                planes, stride = width << stage, 2 if stage > 0 and i == 0 else 1
                blocks.append(block(channels, planes, stride, norm, act))
                channels = planes * block.expansion
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
        self.fc = nn.Linear(channels, classes)

    def forward(self, x):
        x = self.pool(self.act1(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean((2, 3)))


class RescaleBlock(nn.Module):
    """relu(alpha shortcut + scale L^(-1/2) F); index k of L blocks counts from 1."""

    def __init__(self, channels, planes, inner, stride, groups, k, blocks):
        super().__init__()
        out, i = 4 * planes, blocks - 1 + (k - 1)
        self.alpha, self.beta = (i / (i + 1)) ** 0.5, blocks ** -0.5
        self.spread = ((i + 1) / blocks) ** (-1 / 6)
        self.center1, self.conv1 = Center(channels), conv(channels, inner, 1)
        self.center2, self.conv2 = Center(inner), conv(inner, inner, 3, stride, groups)
        self.center3, self.conv3 = Center(inner), conv(inner, out, 1)
        self.scale = nn.Parameter(torch.ones(()))
        if stride != 1 or channels != out:
            pool = nn.AvgPool2d(stride) if stride != 1 else nn.Identity()
            self.downsample = nn.Sequential(pool, Center(channels), conv(channels, out, 1))
        else:
            self.downsample = nn.Identity()

    def forward(self, x):
        h = relu(self.conv1(self.center1(x)))
        h = relu(self.conv2(self.center2(h)))
        h = self.conv3(self.center3(h))
        return relu(self.alpha * self.downsample(x) + TERMS.spread(self.scale, h) * self.beta * h)


class RescaleNet(nn.Module):
    def __init__(self, depths, width, classes, groups=1, base_width=64):
        super().__init__()
        self.conv1, self.center1, self.pool = conv(3, width, 7, 2), Center(width), MaxPool(3, 2, 1)
        channels, k = width, 0
        for stage, depth in enumerate(depths):
            blocks = []
            for i in range(depth):
                k += 1
                planes, stride = width << stage, 2 if stage > 0 and i == 0 else 1
                inner = planes * base_width // 64 * groups
                blocks.append(RescaleBlock(channels, planes, inner, stride, groups, k, sum(depths)))
                channels = 4 * planes
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
        self.center2, self.fc = Center(channels), nn.Linear(channels, classes)

    def forward(self, x):
        x = self.pool(relu(self.center1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.center2(x).mean((2, 3)))


class Vgg19(nn.Module):
    """norm: none, batchnorm or center."""

    def __init__(self, width, classes, size, hidden, norm):
        super().__init__()
        layers, channels = [], 3
        for factor, depth in (1, 2), (2, 2), (4, 4), (8, 4), (8, 4):
            for _ in range(depth):
                if norm == "center" and layers:
                    layers.append(Center(channels))
                kind = WatchedConv if norm == "batchnorm" else nn.Conv2d
                layers.append(kind(channels, factor * width, 3, padding=1, bias=norm != "center"))
                channels = factor * width
                if norm == "batchnorm":
                    layers.append(nn.BatchNorm2d(channels))
                layers.append(Relu())
            layers.append(MaxPool(2, 2))
        if norm == "center":
            layers.append(Center(channels))
        self.features = nn.Sequential(*layers)
        plain = norm != "center"
        self.classifier = nn.ModuleDict({
            "0": nn.Linear(channels * (size // 32) ** 2, hidden, bias=plain),
            "3": nn.Linear(hidden, hidden, bias=plain),
            "6": nn.Linear(hidden, classes)})
        for name in "center1", "center2":
            self.classifier[name] = nn.Identity() if plain else Center(hidden)

    def forward(self, x):
        layer = self.classifier
        x = relu(layer["0"](self.features(x).flatten(1)))
        x = relu(layer["3"](layer["center1"](x)))
        return layer["6"](layer["center2"](x))


class Attention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads, self.qkv, self.proj = heads, nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x):
        n, tokens, dim = x.shape
        q, k, v = self.qkv(x).view(n, tokens, 3, self.heads, dim // self.heads).permute(2, 0, 3, 1, 4)
        p = torch.softmax(q @ k.transpose(2, 3) * (dim // self.heads) ** -0.5, 3)
        return self.proj((p @ v).transpose(1, 2).reshape(n, tokens, dim))


class Mlp(nn.Module):
    def __init__(self, dim, ratio, act):
        super().__init__()
        self.fc1, self.act, self.fc2 = nn.Linear(dim, ratio * dim), act(dim), nn.Linear(ratio * dim, dim)

    def forward(self, x):
        return self.fc2(self.act(self.fc1(x)))


class VitBlock(nn.Module):
    def __init__(self, dim, heads, ratio, norm, act):
        super().__init__()
        self.norm1, self.attn, self.norm2, self.mlp = norm(dim), Attention(dim, heads), norm(dim), Mlp(dim, ratio, act)

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Vit(nn.Module):
    """Vision transformer with a class token and learned positions; ratio: of the width inside of the MLP."""

    def __init__(self, size, patch, dim, depth, heads, ratio, classes, norm, act):
        super().__init__()
        norm, act = LAYERS[norm], LAYERS[act]
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, dim, patch, patch)})
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, (size // patch) ** 2 + 1, dim))
        self.blocks = nn.Sequential(*[VitBlock(dim, heads, ratio, norm, act) for _ in range(depth)])
        self.norm, self.head = norm(dim), nn.Linear(dim, classes)

    def forward(self, x):
        x = self.patch_embed["proj"](x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1) + self.pos_embed
        return self.head(self.norm(self.blocks(x)[:, 0]))
