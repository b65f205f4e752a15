use super::*;
use crate::power::Recorder;
use std::{convert::Infallible, fs::File};

/// A disk of six sectors of 0.
fn disk() -> File {
    let file = tempfile::tempfile().unwrap();
    file.set_len(6 * SECTOR).unwrap();
    file
}

fn fill(recorder: &Recorder<&File>, sector: u64, values: &[u8]) {
    let bytes: Vec<u8> = values.iter().flat_map(|v| [*v; SECTOR as usize]).collect();
    recorder.write_at(&bytes, sector * SECTOR).unwrap();
}

/// The first byte of every sector.
fn firsts(blocks: &impl Blocks) -> Vec<u8> {
    let mut all = vec![0; 6 * SECTOR as usize];
    blocks.read_at(&mut all, 0).unwrap();
    all.chunks(SECTOR as usize).map(|s| s[0]).collect()
}

/// Two writes, a flush, two writes that overlap.
fn log(base: &File) -> Vec<Event> {
    let recorder = Recorder::new(base);
    fill(&recorder, 0, &[1, 2]);
    fill(&recorder, 5, &[9]);
    recorder.flush().unwrap();
    fill(&recorder, 1, &[3, 4, 5]);
    fill(&recorder, 2, &[6]);
    recorder.into_parts().1
}

fn all(options: &Options<'_>) -> Vec<(usize, Cut, Vec<u8>)> {
    let (base, mut found) = (disk(), Vec::new());
    let visited = states(&base, &log(&base), options, |point, state| {
        found.push((point.events, point.cut, firsts(state)));
        Ok::<_, Infallible>(())
    });
    let Ok(visited) = visited;
    assert_eq!(visited, found.len());
    found
}

#[test]
fn the_states_of_each_point_are_those_that_a_disk_can_be_in() {
    let found = all(&Options::default());
    let expected = [
        (0, Cut::All, [0, 0, 0, 0, 0, 0]),
        (1, Cut::Nothing, [0, 0, 0, 0, 0, 0]),
        (1, Cut::All, [1, 2, 0, 0, 0, 0]),
        (1, Cut::Torn { sectors: 1 }, [1, 0, 0, 0, 0, 0]),
        (2, Cut::Nothing, [0, 0, 0, 0, 0, 0]),
        (2, Cut::All, [1, 2, 0, 0, 0, 9]),
        (3, Cut::All, [1, 2, 0, 0, 0, 9]),
        (4, Cut::Nothing, [1, 2, 0, 0, 0, 9]),
        (4, Cut::All, [1, 3, 4, 5, 0, 9]),
        (4, Cut::Torn { sectors: 1 }, [1, 3, 0, 0, 0, 9]),
        (4, Cut::Torn { sectors: 2 }, [1, 3, 4, 0, 0, 9]),
        (5, Cut::Nothing, [1, 2, 0, 0, 0, 9]),
        (5, Cut::All, [1, 3, 6, 5, 0, 9]),
    ];
    let expected: Vec<_> = expected.into_iter().map(|(n, cut, state)| (n, cut, state.to_vec())).collect();
    assert_eq!(found, expected);
}

#[test]
fn random_states_reach_every_subset_keep_what_was_flushed_and_come_out_the_same_again() {
    let options = Options { seed: 7, random_per_point: 400, only: Some(&|point| point == 5) };
    let found = all(&options);
    assert_eq!(found, all(&options));
    assert_ne!(found, all(&Options { seed: 8, ..options }));
    let distinct: BTreeSet<&Vec<u8>> = found.iter().map(|(.., state)| state).collect();
    // sector 1 old or new, sector 2 old, 4 or 6, sector 3 old or new
    assert_eq!(distinct.len(), 2 * 3 * 2);
    for state in distinct {
        assert_eq!([state[0], state[4], state[5]], [1, 0, 9]);
        assert!([2, 3].contains(&state[1]) && [0, 4, 6].contains(&state[2]) && [0, 5].contains(&state[3]));
    }
}

#[test]
fn what_a_judge_writes_stays_in_its_state() {
    let base = disk();
    let Ok(_) = states(&base, &log(&base), &Options::default(), |point, state| {
        let before = firsts(state);
        assert!(!before.contains(&77), "{point}");
        state.write_at(&[77; 600], 4 * SECTOR - 1).unwrap();
        state.flush().unwrap();
        let mut read = [0; 3];
        state.read_at(&mut read, 4 * SECTOR - 2).unwrap();
        assert_eq!(read[1..], [77, 77]);
        assert_eq!((firsts(state)[3], firsts(state)[4], firsts(state)[5]), (before[3], 77, 77));
        assert!(state.write_at(&[1; 2], 6 * SECTOR - 1).is_err());
        Ok::<_, Infallible>(())
    });
    assert_eq!(firsts(&base), [0; 6]);
}

#[test]
fn a_judge_can_stop_and_points_can_be_chosen() {
    let base = disk();
    let events = log(&base);
    let mut visited = Vec::new();
    let stopped = states(&base, &events, &Options::default(), |point, _| {
        visited.push(point.events);
        if point.events == 1 { Err("enough") } else { Ok(()) }
    });
    assert_eq!((stopped, visited), (Err("enough"), vec![0, 1]));
    let sector = |n: u64| n * SECTOR..(n + 1) * SECTOR;
    assert_eq!(points_at(&events, &[sector(5)]), BTreeSet::from([1, 2]));
    assert_eq!(points_at(&events, &[sector(0), sector(3)]), BTreeSet::from([0, 1, 3, 4]));
    assert_eq!(points_at(&events, &[sector(4)]), BTreeSet::new());
}
