--| wanted = "entropies and stds >= 0, shares and weights in [0, 1], as far as float32 says"
entropy_nats < -1e-4
or logit_std < 0
or logit_std_pooled < 0
or entropy_without_sink_nats < -1e-4
or entropy_fraction not between -1e-4 and 1 + 1e-4
or top1_weight not between 0 and 1 + 1e-4
or sink_weight not between 0 and 1 + 1e-4
or sink_logit_weight not between 0 and 1 + 1e-4
