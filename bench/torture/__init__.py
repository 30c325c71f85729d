"""What a warehouse must survive, and does: kills, full disks, crowds, signals, bad files, fuzzing."""
