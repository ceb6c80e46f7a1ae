"""Networks of a user without choice points, whose widths, depth and kernels are searched."""

from torch import nn


class Block(nn.Module):
    """A residual block."""

    def __init__(self, width, inner):
        super().__init__()
        self.one, self.norm = nn.Conv2d(width, inner, 3, padding=1), nn.BatchNorm2d(inner)
        self.two = nn.Conv2d(inner, width, 3, padding=1)

    def forward(self, x):
        return x + self.two(self.norm(self.one(x)).relu())


class Residual(nn.Module):
    """A small residual network."""

    def __init__(self, num_classes=10, in_channels=3):
        super().__init__()
        self.stem = nn.Conv2d(in_channels, 16, 5, padding=2)
        self.layers = nn.Sequential(Block(16, 16), Block(16, 24), Block(16, 16))
        self.classifier = nn.Linear(16, num_classes)

    def forward(self, x):
        return self.classifier(self.layers(self.stem(x)).mean((2, 3)))


class Heads(nn.Module):
    """A small vision transformer, whose heads and hidden units are searched."""

    def __init__(self, num_classes=10, in_channels=3, width=16):
        super().__init__()
        self.patches = nn.Conv2d(in_channels, width, 4, stride=4)
        self.blocks = nn.Sequential(*(EncoderBlock(width, 4) for _ in range(2)))
        self.norm, self.classifier = nn.LayerNorm(width), nn.Linear(width, num_classes)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        return self.classifier(self.norm(self.blocks(x)).mean(1))


class EncoderBlock(nn.Module):
    """Attention and a perceptron, each with its shortcut."""

    def __init__(self, width, heads):
        super().__init__()
        self.attention = Attention(width, heads)
        self.mlp = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, x):
        x = x + self.attention(x)
        return x + self.mlp(x)


class Attention(nn.Module):
    """Heads of a fixed size."""

    def __init__(self, width, heads):
        super().__init__()
        self.num_heads, self.head_dim = heads, width // heads
        self.norm, self.qkv, self.proj = nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x):
        batch, tokens, _ = x.shape
        qkv = self.qkv(self.norm(x)).reshape(batch, tokens, 3, self.num_heads, self.head_dim)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(-1, -2) / self.head_dim**0.5).softmax(-1)
        return self.proj((weights @ v).transpose(1, 2).flatten(2))
