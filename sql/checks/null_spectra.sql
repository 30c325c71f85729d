--| wanted = "sigma >= 0"
sigma < 0
