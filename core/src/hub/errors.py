"""What hub raises and warns with: what was given, what is allowed, what to do next."""


class HubError(Exception):
    """Base class of all errors that hub raises on purpose."""


class UnknownModelError(HubError, LookupError):
    """No installed plugin has an architecture, weight tag or family of this name."""


class ModelNameError(UnknownModelError, ValueError):
    """A path, a repository without a scheme, or nothing, stands where a model's name is due."""


class AmbiguousModelError(HubError, LookupError):
    """Two plugins claim this name and neither is its official owner."""


class MissingPluginError(UnknownModelError):
    """The name is known to live in a plugin that is not installed or is blocked."""


class PluginError(HubError):
    """A plugin could not be loaded or returned something that its hook does not allow."""


class WeightsError(HubError):
    """Weights could not be found, fetched, read, or fitted to the network."""


class HubWarning(UserWarning):
    """The one class of warnings that hub emits, so that one filter governs them all."""


class HubDeprecationWarning(HubWarning, FutureWarning):
    """An old name of an architecture was used; the message holds the new one."""
