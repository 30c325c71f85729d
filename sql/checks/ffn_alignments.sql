--| wanted = "energy_fraction and other_layers_mean in [0, 1]"
energy_fraction not between 0 and 1 or other_layers_mean not between 0 and 1
