--| about = "In a verdict: a level of chance, or that it is not known"
create or replace macro said_chance(chance) as
    coalesce(format('{:.3f}', chance), 'a level that is unknown without the hidden size');
