-- a prompt set is named after its hash, so a row that is there already is the same row
insert or ignore into prompts by name
select *
from read_parquet($files)
order by prompt_set, prompt;
