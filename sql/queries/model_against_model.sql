--| title = "Models side by side: how much of its rank a head uses, and how widely it attends"
--| theme = "What predicts entropy"
--| reading = """
--| Each point is a model: the medians over its heads, the lines reach from the lower to the upper quartile. To the \
--| right the metric uses more of its head_dim directions alike: the black diamond at the same height is chance, heads \
--| of that shape with random factors. At 100% of the height attention would be spread evenly over all tokens in \
--| sight."""
--| [chart]
--| crowd = {some = "scatter", many = "scatter"}
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

sample_ranks as (
    select hidden_size, head_dim, sample, ln(effective_rank(sigma::double)) as ln_rank
    from null_spectra
    group by hidden_size, head_dim, sample
),

-- a geometric mean over the samples
nulls as (
    select hidden_size, head_dim, exp(avg(ln_rank)) / least(head_dim, hidden_size) as rank_fraction
    from sample_ranks
    group by hidden_size, head_dim
)

select
    heads.model_id, heads.prompt_set,
    median(heads.rank_fraction) as median_rank_fraction,
    quantile_cont(heads.rank_fraction, 0.25) as lower_rank_fraction,
    quantile_cont(heads.rank_fraction, 0.75) as upper_rank_fraction,
    median(nulls.rank_fraction) as chance_rank_fraction,
    median(heads.entropy_fraction) as median_entropy_fraction,
    quantile_cont(heads.entropy_fraction, 0.25) as lower_entropy_fraction,
    quantile_cont(heads.entropy_fraction, 0.75) as upper_entropy_fraction,
    count(*) as n_heads
from ranks_and_attention($model) as heads
left join nulls
    on heads.hidden_size = nulls.hidden_size
    and heads.head_dim = nulls.head_dim
where heads.rank_fraction is not null and heads.entropy_fraction is not null
group by heads.model_id, heads.prompt_set
order by heads.model_id, heads.prompt_set
