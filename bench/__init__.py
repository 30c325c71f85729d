"""What measuring costs, and whether an independent library agrees. `make bench` runs all of it."""
