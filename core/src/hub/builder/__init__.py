"""From a name, or a class and its keywords, to a network."""
