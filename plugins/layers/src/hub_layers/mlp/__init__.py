"""What stands after an attention: perceptrons on tokens and maps, and layer scale."""
