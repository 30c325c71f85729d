--| about = """
--| The verdict on a head's overlaps: phase structure where the gap of adjacent and distant layers is above 0.05, \
--| else redundant where the mean overlap is above 0.7, else moderate; null without a gap"""
create or replace macro verdict_overlap(gap, mean_overlap) as
    case
        when gap > 0.05 then 'phase structure'
        when gap is not null and mean_overlap > 0.7 then 'redundant'
        when gap is not null then 'moderate'
    end;
