--| wanted = "squared norms >= 0"
metric_fro_sq < 0 or w_q_fro_sq < 0 or w_k_fro_sq < 0 or head_product_fro_sq < 0
