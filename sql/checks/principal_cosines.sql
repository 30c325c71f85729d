--| wanted = "cosine in [0, 1] and, within a pair, not rising with k"
-- previous_…: of the row before in the stored order, which the same scan proves to be that of the key
cosine not between 0 and 1 or (k > 0 and cosine > previous_cosine)
