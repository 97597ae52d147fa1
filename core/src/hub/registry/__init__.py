"""Which architectures and weights there are. No torch."""

from hub.registry.listing import list_models as list_models
from hub.registry.listing import list_modules as list_modules
from hub.registry.local import find as find
from hub.registry.local import registry as registry
from hub.registry.registry import Architecture as Architecture
