"""Tools for plugin authors: record what a plugin's tables say, and check that it is true."""
