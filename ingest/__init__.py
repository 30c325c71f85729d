"""From a checkpoint to rows of the warehouse. docs/architecture.md shows the rooms in the order of the data's way."""
