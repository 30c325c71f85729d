--| about = "In a verdict: an interval of a correlation, and whether it holds chance, 0; without one, why"
create or replace macro said_interval(low, high) as
    case
        when low is null then 'no interval, for want of layers'
        else format('95% interval {:.2f} to {:.2f}, which ', low, high)
            || if(low <= 0 and high >= 0, 'holds', 'leaves out') || ' chance, 0'
    end;
