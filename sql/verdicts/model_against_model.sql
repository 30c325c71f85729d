--| about = "The medians of rank and entropy over the heads, the rank beside that of random heads."
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
),

medians as (
    select
        ranks.model_id, head_attention.prompt_set,
        median(ranks.rank_fraction) as rank_fraction,
        median(ranks.chance) as chance,
        median(head_attention.entropy_fraction) as entropy_fraction,
        count(*) as n_heads
    from ranks
    inner join head_attention
        on ranks.model_id = head_attention.model_id
        and ranks.layer = head_attention.layer
        and ranks.head = head_attention.head
    where ranks.rank_fraction is not null and head_attention.entropy_fraction is not null
    group by ranks.model_id, head_attention.prompt_set
)

select
    model_id,
    format(
        'The median of {} heads uses {:.0f}% of its directions ({}), and has {:.0f}% of the entropy of even attention.',
        n_heads, 100 * rank_fraction,
        coalesce(format('{:.0f}% with random factors', 100 * chance), 'no null spectrum of its shape is there'),
        100 * entropy_fraction
    ) as sentence
from medians
qualify row_number() over (partition by model_id order by n_heads desc, prompt_set) = 1
order by model_id
