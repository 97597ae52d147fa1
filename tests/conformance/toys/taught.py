"""A small DeiT (Touvron et al. 2021): a second token and classifier learn from a teacher."""

from __future__ import annotations

from hub_toys.tokens import Tokens
from torch import Tensor


class Taught(Tokens):
    num_prefix_tokens = 2
    classifier_path = ("head", "head_dist")
    pools = ("token", "avg", "")

    def forward_pool(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Each classifier sees its own token, or both the mean of the patches."""
        if self.global_pool == "token":
            return x[:, 0], x[:, 1]
        return x[:, 2:].mean(1)
