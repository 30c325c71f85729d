--| wanted = "sigma >= 0 and, within a head, not rising with k"
-- previous_…: of the row before in the stored order, which the same scan proves to be that of the key
sigma < 0 or (k > 0 and sigma > previous_sigma)
