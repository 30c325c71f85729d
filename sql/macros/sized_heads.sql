--| about = """
--| Each head of an operator with the shape that its random counterparts have, and the product of its factors' norms"""
create or replace macro sized_heads() as table
    select
        models.model_id, models.hidden_size,
        -- latent attention has further features, for positions alone
        case
            when head_norms.operator = 'metric_position' then layers.position_dim
            when starts_with(head_norms.operator, 'metric_rope_')
                then coalesce(layers.head_dim, models.head_dim) + coalesce(layers.position_dim, 0)
            else coalesce(layers.head_dim, models.head_dim)
        end as head_dim,
        head_norms.operator, head_norms.layer, head_norms.head,
        sqrt(head_norms.w_q_fro_sq * head_norms.w_k_fro_sq) as size
    from head_norms
    inner join models on head_norms.model_key = models.model_key
    left join layers
        on models.model_key = layers.model_key
        and head_norms.layer = layers.layer
    -- the null is the metric's; W_K W_Q^T of random factors falls otherwise
    where head_norms.operator <> 'head_product';
