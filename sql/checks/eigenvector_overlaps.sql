--| wanted = "top1_overlap in [0, 1]"
top1_overlap not between 0 and 1
