"""What measuring costs, and whether an independent library agrees. `make bench` runs performance.py."""
