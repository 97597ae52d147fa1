"""Self-attentions of tokens by name; `get_attn` names those of convolutional blocks."""

from ..names import LayerFactory, LayerType, NameTable
from .attention import Attention
from .rope import AttentionRope, EvaAttention

SELF_ATTENTIONS: NameTable[LayerFactory] = NameTable(
    "self-attention", {"attention": Attention, "rope": AttentionRope, "eva": EvaAttention}
)


def get_attention_layer(attention: LayerType) -> LayerFactory:
    """Self-attention class of this name; a class or partial stays.

    Raises:
        UnknownLayerError: no self-attention has this name.
    """
    return SELF_ATTENTIONS[attention] if isinstance(attention, str) else attention
