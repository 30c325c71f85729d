-- texts that no model has statistics on any more; of the sets that a removed one had, or another's own would go too
delete from prompts
where list_contains($prompt_sets::varchar[], prompt_set)
    and prompt_set not in (select prompt_set from attention_stats)
