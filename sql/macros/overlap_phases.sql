--| about = """
--| Aggregate over pairs of layers: adjacent against distant ones, as a struct of the columns of overlap_summary"""
create or replace macro overlap_phases(overlap, distance, n_measured) as {
    'off_diagonal_mean': avg(overlap),
    'off_diagonal_std': stddev_pop(overlap),
    'off_diagonal_min': min(overlap),
    'off_diagonal_max': max(overlap),
    'adjacent_mean': avg(if(distance = 1, overlap, null)),
    'adjacent_std': stddev_pop(if(distance = 1, overlap, null)),
    'distant_mean': avg(if(distance > n_measured // 3, overlap, null)),
    'distant_std': stddev_pop(if(distance > n_measured // 3, overlap, null)),
    'gap': avg(if(distance = 1, overlap, null)) - avg(if(distance > n_measured // 3, overlap, null)),
    'verdict': verdict_overlap(
        avg(if(distance = 1, overlap, null)) - avg(if(distance > n_measured // 3, overlap, null)), avg(overlap)
    )
};
