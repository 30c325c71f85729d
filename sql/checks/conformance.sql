--| wanted = "max_rel_error in [0, 1e-3], as the gate wants it"
max_rel_error not between 0 and 1e-3
