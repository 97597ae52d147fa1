"""The contract of a network, `Backbone`, and what belongs to it."""

from hub.backbone.backbone import Backbone
from hub.backbone.blocks import BlockSequence
from hub.backbone.depth import group_parameters
from hub.backbone.freezing import freeze, unfreeze
from hub.backbone.head import Head

__all__ = ["Backbone", "BlockSequence", "Head", "freeze", "group_parameters", "unfreeze"]
