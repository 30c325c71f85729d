"""Measurements that other tools wrote, on their way into the warehouse."""
