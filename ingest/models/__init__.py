"""From stored tensors to a transformers model whose every weight is accounted for."""
