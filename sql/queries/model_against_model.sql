--| title = "Models side by side: how much of its rank a head uses, and how widely it attends"
--| theme = "What predicts entropy"
--| reading = "Each point is a model: the medians over its heads, the lines reach from the lower to the upper quartile. To the right the metric uses more of its head_dim directions alike: the black diamond at the same height is chance, heads of that shape with random factors. At 100% of the height attention would be spread evenly over all tokens in sight."
--| [chart]
--| mark = {type = "point", filled = true, size = 70, opacity = 1}
--| x = {shorthand = "median_rank_fraction:Q", scale = {domain = [0, 1]}, axis = {format = "%"}}
--| x_title = "effective rank, share of head_dim"
--| y = {shorthand = "median_entropy_fraction:Q", scale = {domain = [0, 1]}, axis = {format = "%"}}
--| y_title = "attention entropy, share of ln(keys in sight)"
--| detail = "model_id:N"
--| shape = "prompt_set:N"
--| [[chart.layers]]
--| mark = {type = "rule", opacity = 0.5}
--| x = "lower_rank_fraction"
--| x2 = "upper_rank_fraction"
--| [[chart.layers]]
--| mark = {type = "rule", opacity = 0.5}
--| y = "lower_entropy_fraction"
--| y2 = "upper_entropy_fraction"
--| [[chart.layers]]
--| mark = {type = "point", shape = "diamond", size = 60, color = "black", filled = false}
--| x = "chance_rank_fraction"
--| [[chart.layers]]
--| mark = {type = "text", align = "left", dx = 7, dy = -8, color = "#333333"}
--| text = "model_id"
--| [parameters]
--| model = {}
with

null_shares as (
    select *, sigma::double / sum(sigma::double) over (partition by hidden_size, head_dim, sample) as share
    from null_spectra
),

-- a mean over values of the samples' entropy is a mean over samples; exp of it, their geometric mean rank
nulls as (
    select
        hidden_size, head_dim,
        exp(-sum(share * ln(nullif(share, 0))) / count(distinct sample)) / least(head_dim, hidden_size) as rank_fraction
    from null_shares
    group by hidden_size, head_dim
),

ranks as (
    select
        head_descriptors.model_id, head_descriptors.layer, head_descriptors.head,
        -- a head has no more singular values than these
        head_descriptors.effective_rank
        / least(coalesce(layers.head_dim, models.head_dim), models.hidden_size) as rank_fraction,
        nulls.rank_fraction as chance
    from head_descriptors
    inner join models on head_descriptors.model_id = models.model_id
    left join layers on models.model_key = layers.model_key and head_descriptors.layer = layers.layer
    left join nulls
        on models.hidden_size = nulls.hidden_size
        and coalesce(layers.head_dim, models.head_dim) = nulls.head_dim
    where head_descriptors.operator = 'metric' and ($model is null or head_descriptors.model_id = $model)
)

select
    ranks.model_id, head_attention.prompt_set,
    median(ranks.rank_fraction) as median_rank_fraction,
    quantile_cont(ranks.rank_fraction, 0.25) as lower_rank_fraction,
    quantile_cont(ranks.rank_fraction, 0.75) as upper_rank_fraction,
    median(ranks.chance) as chance_rank_fraction,
    median(head_attention.entropy_fraction) as median_entropy_fraction,
    quantile_cont(head_attention.entropy_fraction, 0.25) as lower_entropy_fraction,
    quantile_cont(head_attention.entropy_fraction, 0.75) as upper_entropy_fraction,
    count(*) as n_heads
from ranks
inner join head_attention
    on ranks.model_id = head_attention.model_id
    and ranks.layer = head_attention.layer
    and ranks.head = head_attention.head
where ranks.rank_fraction is not null and head_attention.entropy_fraction is not null
group by ranks.model_id, head_attention.prompt_set
order by ranks.model_id, head_attention.prompt_set
