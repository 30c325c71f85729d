--| source = "attention_stats"
insert into head_attention_rollup by name
with

weighted as (
    select
        *,
        -- the weight of the three quantities that need a query with two keys; a prompt without any has no say
        nullif(n_multi_queries, 0) as n_multi
    from attention_stats
    where model_key = $model_key
)

select
    model_key, prompt_set, layer, head,
    count(*) as n_prompts,
    sum(n_queries) as n_queries,
    sum(n_multi_queries) as n_multi_queries,
    -- a null value has null products and, by the filter, no weight; sums of nothing are null
    sum(n_queries * entropy_nats::double) / sum(n_queries) filter (entropy_nats is not null) as entropy_nats,
    sum(n_multi * entropy_fraction::double) / sum(n_multi) filter (entropy_fraction is not null) as entropy_fraction,
    sum(n_multi * logit_std::double) / sum(n_multi) filter (logit_std is not null) as logit_std,
    sum(n_queries * logit_std_pooled::double)
    / sum(n_queries) filter (logit_std_pooled is not null) as logit_std_pooled,
    sum(n_queries * top1_weight::double) / sum(n_queries) filter (top1_weight is not null) as top1_weight,
    sum(n_queries * sink_weight::double) / sum(n_queries) filter (sink_weight is not null) as sink_weight,
    sum(n_multi * entropy_without_sink_nats::double)
    / sum(n_multi) filter (entropy_without_sink_nats is not null) as entropy_without_sink_nats,
    sum(n_queries * sink_logit_weight::double)
    / sum(n_queries) filter (sink_logit_weight is not null) as sink_logit_weight
from weighted
group by model_key, prompt_set, layer, head
order by prompt_set, layer, head;
