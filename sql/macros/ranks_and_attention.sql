--| about = """
--| The metric's effective rank and the attention of each head, a row a prompt set; rank_fraction is of the singular \
--| values that the head can have, depth_fraction 0 in the first layer and 1 in the last"""
create or replace macro ranks_and_attention(model := null) as table
    select
        head_descriptors.model_id, head_attention.prompt_set, head_descriptors.layer, head_descriptors.head,
        models.hidden_size, coalesce(layers.head_dim, models.head_dim) as head_dim,
        head_descriptors.effective_rank,
        head_descriptors.effective_rank
        / least(coalesce(layers.head_dim, models.head_dim), models.hidden_size) as rank_fraction,
        head_attention.entropy_nats, head_attention.entropy_fraction,
        head_descriptors.layer / nullif(models.n_layers - 1, 0) as depth_fraction
    from head_descriptors
    inner join models on head_descriptors.model_id = models.model_id
    left join layers
        on models.model_key = layers.model_key
        and head_descriptors.layer = layers.layer
    inner join head_attention
        on head_descriptors.model_id = head_attention.model_id
        and head_descriptors.layer = head_attention.layer
        and head_descriptors.head = head_attention.head
    where
        head_descriptors.operator = 'metric'
        and is_chosen(head_descriptors.model_id, model)
        and is_chosen(head_attention.model_id, model);
