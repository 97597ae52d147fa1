"""Tools for plugin authors: begin a plugin, record what its tables say, check that it is true."""


class ConformanceError(AssertionError):
    """A network breaks a promise of `hub.Backbone`; the message says which, and how."""
