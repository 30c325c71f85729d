"""A model run and recorded: its attention calls, its stacks of layers, the statistics of its heads on text."""
