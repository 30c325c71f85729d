--| question = "What would a head's spectrum be if its factors were random, with the norms that they have?"
--| grain = ["model_id", "operator", "layer", "head", "k"]
--| source = """
--| Gaussian factors of the layer's hidden_size and the operator's features, mostly head_dim, times |W_Q| |W_K| / \
--| (features hidden_size)"""
--| [columns]
--| mean_sigma = """
--| mean of the scaled k-th singular value over samples, >= 0; 0 for a zero head. No rows for head_product, nor \
--| without null spectra of the shape"""
--| lowest_sigma = "smallest over samples, >= 0"
--| highest_sigma = "largest over samples, >= 0"
--| n_samples = "null spectra of the shape"
create or replace view null_head_spectra as
with

heads as (
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
    where head_norms.operator <> 'head_product'
),

-- a Gaussian factor has the squared norm head_dim * hidden_size
null_values as (
    select
        hidden_size, head_dim, k,
        avg(sigma) / (head_dim * hidden_size) as mean_value,
        min(sigma)::double / (head_dim * hidden_size) as lowest_value,
        max(sigma)::double / (head_dim * hidden_size) as highest_value,
        count(*) as n_samples
    from null_spectra
    group by hidden_size, head_dim, k
)

select
    heads.model_id, heads.operator, heads.layer, heads.head, null_values.k,
    heads.size * null_values.mean_value as mean_sigma,
    heads.size * null_values.lowest_value as lowest_sigma,
    heads.size * null_values.highest_value as highest_sigma,
    null_values.n_samples
from heads
inner join null_values
    on heads.hidden_size = null_values.hidden_size
    and heads.head_dim = null_values.head_dim;
