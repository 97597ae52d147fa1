"""Which architectures and weights there are. No torch."""

from hub.registry.listing import get_pretrained_cfg as get_pretrained_cfg
from hub.registry.listing import list_models as list_models
from hub.registry.listing import list_modules as list_modules
from hub.registry.local import find as find
from hub.registry.local import registry as registry
from hub.registry.registry import LOCAL as LOCAL
from hub.registry.registry import Architecture as Architecture
from hub.registry.registry import Registry as Registry
from hub.registry.registry import built_name as built_name
