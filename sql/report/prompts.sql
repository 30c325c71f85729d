--| title = "Prompts that attention was measured on"
--| [parameters]
--| model = {}
select
    head_attention.prompt_set,
    max(head_attention.n_prompts) as n_prompts,
    max(head_attention.n_queries) as n_queries,
    -- measurements of other tools come without their texts
    any_value(prompts.text) as first_prompt
from head_attention
left join prompts
    on head_attention.prompt_set = prompts.prompt_set
    and prompts.prompt = 0
where head_attention.model_id = $model
group by head_attention.prompt_set
order by head_attention.prompt_set
