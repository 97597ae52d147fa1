"""The pretrained loader: where weights come from, how they are read, fitted, loaded and saved."""
