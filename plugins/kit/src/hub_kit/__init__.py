"""Tools for plugin authors: record what a plugin's tables say, and check that it is true."""


class ConformanceError(AssertionError):
    """A network breaks a promise of `hub.Backbone`; the message says which, and how."""
