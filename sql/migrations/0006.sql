--| title = "the dtype that prompts were run in: float32 so far"
alter table if exists attention_stats add column if not exists dtype varchar;
