"""AcmeNet: stages of depthwise residual blocks.

Say here where the network is from: paper, original code, licence, and what is different.
"""

from __future__ import annotations

from collections.abc import Iterator

from hub import Backbone, BlockSequence
from hub_layers import ClassifierHead
from torch import Tensor, nn


class Block(nn.Module):
    """Mix neighbours within each channel, then the channels of each position.

    Args:
        width: channels C.
        expand: hidden channels, as a multiple of C.
    """

    def __init__(self, width: int, expand: int = 4) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = nn.BatchNorm2d(width)
        self.fc1 = nn.Conv2d(width, expand * width, 1)
        self.act = nn.GELU()
        self.fc2 = nn.Conv2d(expand * width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, C, H, W). Returns the same shape."""
        mixed: Tensor = self.fc2(self.act(self.fc1(self.norm(self.depthwise(x)))))
        return x + mixed


class AcmeNet(Backbone):
    """A stem that quarters the image, and stages that each halve it once more.

    Levels: the maps after each stage, at 1/4, 1/8, ... of the image.

    Args:
        depths: number of blocks in each stage.
        widths: channels of each stage.
        in_chans: channels of the images.
        num_classes: outputs of the classifier; 0 for none.
        global_pool: pool before the classifier: "avg", "max", ...; "" for none.
        drop_rate: dropout before the classifier.
    """

    classifier_path = "head.fc"

    def __init__(
        self,
        depths: tuple[int, ...] = (2, 2, 6, 2),
        widths: tuple[int, ...] = (48, 96, 192, 384),
        *,
        in_chans: int = 3,
        num_classes: int = 1000,
        global_pool: str = "avg",
        drop_rate: float = 0.0,
    ) -> None:
        super().__init__(num_classes, in_chans, global_pool, drop_rate)
        # Modules are registered in the order in which they run.
        self.stem = nn.Conv2d(in_chans, widths[0], 4, stride=4)
        self.stages = nn.ModuleList()
        rows = []
        for i, (depth, width) in enumerate(zip(depths, widths, strict=True)):
            halve = [nn.Conv2d(widths[i - 1], width, 2, stride=2)] if i > 0 else []
            self.stages.append(BlockSequence(*halve, *(Block(width) for _ in range(depth))))
            rows.append(dict(num_chs=width, reduction=4 * 2**i, module=f"stages.{i}"))
        self.feature_info = rows
        self.head = ClassifierHead(widths[-1], num_classes, global_pool, drop_rate)
        self.init_weights()

    def init_weights(self, mode: str = "") -> None:
        """Initialise all weights, now and whenever somebody asks for it again."""
        super().init_weights(mode)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.trunc_normal_(module.weight, std=0.02)

    def forward_levels(self, x: Tensor) -> Iterator[Tensor]:
        """x: (B, in_chans, H, W). Yields (B, C, H', W') after each stage."""
        x = self.stem(x)  # (B, C, H / 4, W / 4)
        for stage in self.stages:
            x = stage(x)
            yield x
