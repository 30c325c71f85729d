--| wanted = "overlap in [0, 1]"
overlap not between 0 and 1
