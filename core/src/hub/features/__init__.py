"""Feature levels: the table that describes them, which are asked for, and layouts of maps."""

from hub.features.layout import LAYOUTS, check_layout, to_layout
from hub.features.table import FeatureInfo, Indices, take_indices

__all__ = ["LAYOUTS", "FeatureInfo", "Indices", "check_layout", "take_indices", "to_layout"]
