"""The model run and watched: its attention calls, its stacks of layers, what its heads do on text."""
