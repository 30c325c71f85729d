--| wanted = "overlap and mean_overlap in [0, 1], no rank above the one before it, the mean not above rank 0"
-- previous_…: of the row before in the stored order, which the same scan proves to be that of the key
overlap not between 0 and 1
or mean_overlap not between 0 and 1
or (rank > 0 and overlap > previous_overlap)
or (rank = 0 and mean_overlap > overlap + 1e-6)
