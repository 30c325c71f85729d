--| title = "families and sizes of models, and tags of your own"
alter table models add column if not exists n_parameters bigint;
alter table models add column if not exists family varchar;
