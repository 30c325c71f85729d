--| wanted = "gram >= 0, as of spectra that are not negative"
gram < 0
