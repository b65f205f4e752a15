//! The power goes at any moment.

use super::*;
use crate::power::{Event, Options as Cuts, Point, State, states};

/// Whether a state is what may be: the old contents, the new ones, or with a rename both. And whether it can be tidied up.
fn judge(change: &Change, before: &Contents, after: &Contents, state: &State<'_, &File>) -> Result<(), String> {
    let text = |e: Error| e.to_string();
    let mut edit = Edit::open(state).map_err(text)?;
    let found = contents(&edit).map_err(text)?;
    let both: Contents = before.iter().chain(after).map(|(path, bytes)| (path.clone(), bytes.clone())).collect();
    let renaming = found == both && matches!(change, Change::Rename(..));
    if found != *before && found != *after && !renaming {
        return Err(format!("neither old nor new: {:?}", found.keys().collect::<Vec<_>>()));
    }
    edit.reclaim().map_err(text)?;
    let tidied = contents(&edit).map_err(text)?;
    if tidied != found {
        return Err("reclaim changed what is visible".to_owned());
    }
    match change {
        Change::Rename(path, _) if renaming && found != *after => {
            edit.remove(path).map_err(text)?;
            if contents(&edit).map_err(text)? != *after {
                return Err("the old of two names cannot be removed".to_owned());
            }
            assert_tidy(&edit, after);
        }
        _ => assert_tidy(&edit, &tidied),
    }
    Ok(())
}

/// Applies changes, then one more and cuts the power at every moment of it.
fn cut(file: &File, first: &[Change], change: &Change, alter: impl Fn(&mut Vec<Event>)) -> Result<usize, String> {
    let base = Recorder::new(file);
    let mut edit = Edit::open(&base).unwrap();
    edit.reclaim().unwrap();
    for change in first {
        let _ = change.apply(&mut edit);
    }
    let before = contents(&edit).unwrap();
    let from = base.count();
    if change.apply(&mut edit).is_err() {
        return Ok(0);
    }
    let after = contents(&edit).unwrap();
    let (_, events) = base.into_parts();
    assert_eq!(events.last(), Some(&Event::Flush));
    let (mut events, mut last) = (events[..from].to_vec(), events[from..].to_vec());
    alter(&mut last);
    events.extend(last);
    let options = Cuts { seed: 3, random_per_point: 4, only: Some(&|point| point >= from) };
    states(&file, &events, &options, |point: &Point, state| {
        judge(change, &before, &after, state).map_err(|e| format!("{change:?}: {point}: {e}"))
    })
}

fn create(path: &str, bytes: Vec<u8>) -> Change {
    Change::Create(path.to_owned(), bytes)
}

/// What an updater does, and a little more.
fn updates() -> Vec<Change> {
    let rename = |path: &str, name: &str| Change::Rename(path.to_owned(), name.to_owned());
    let longer = format!("much longer {}.efi", "x".repeat(100));
    vec![
        create("EFI/Linux/evek-0.1.0+3.efi", vec![7; 9000]),
        rename("EFI/Linux/evek-0.1.0+3.efi", "evek-0.1.0+2-1.efi"),
        rename("EFI/Linux/evek-0.1.0+2-1.efi", "evek-0.1.0.efi"),
        rename("EFI/Linux/evek-0.1.0.efi", &longer),
        rename(&format!("EFI/Linux/{longer}"), "x.efi"),
        create("new/folders/of long names/file", vec![1; 1000]),
        Change::Replace("EFI/BOOT/BOOTX64.EFI".to_owned(), vec![8; 12_000]),
        Change::Remove("EFI/Linux/x.efi".to_owned()),
    ]
}

#[test]
fn an_update_survives_a_cut_at_any_moment() {
    for (name, file) in [
        ("FAT16", ours(Bytes::mib(5))),
        ("FAT32", ours(Bytes::mib(64))),
        ("theirs", theirs(Bytes::mib(16), 1024, fatfs::FatType::Fat16, 2)),
    ] {
        let changes = updates();
        for n in 0..changes.len() {
            let visited = cut(&file, &changes[..n], &changes[n], |_| ()).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert!(visited > 2, "{name}: {:?}", changes[n]);
        }
    }
}

/// Names that others laid over two sectors are renamed and removed too.
#[test]
fn sets_over_two_sectors_survive_a_cut() {
    let file = small_volumes(1);
    let edit = Edit::open(&file).unwrap();
    let table = edit.table().unwrap();
    let folder = edit.enter(&table, &edit.find(&table, "EFI/Linux").unwrap().entry.unwrap()).unwrap();
    let over_two: Vec<&Entry> = folder.entries.iter().filter(|e| !Folder::in_one_sector(&e.slots)).collect();
    assert!(over_two.len() > 2);
    for entry in over_two {
        let path = format!("EFI/Linux/{}", entry.name);
        let rename = Change::Rename(path.clone(), "another long name.efi".to_owned());
        for change in [Change::Remove(path.clone()), rename, Change::Replace(path, vec![9; 3000])] {
            assert!(cut(&file, &[], &change, |_| ()).unwrap() > 4, "{change:?}");
        }
    }
}

/// The judge is no yes-man: without the flushes every kind of change loses something at some moment.
#[test]
fn without_flushes_a_cut_does_harm() {
    let file = ours(Bytes::mib(5));
    let old = "EFI/BOOT/BOOTX64.EFI";
    for change in
        [create("x", vec![1; 5000]), Change::Replace(old.to_owned(), vec![2; 5000]), Change::Remove(old.to_owned())]
    {
        let harm = cut(&file, &[], &change, |events| events.retain(|e| *e != Event::Flush));
        assert!(harm.is_err(), "{change:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn any_change_survives_a_cut_at_any_moment(
        which in 0usize..3,
        first in prop::collection::vec(any_change(), 0..12),
        change in any_change(),
    ) {
        let result = cut(&small_volumes(which), &first, &change, |_| ());
        prop_assert!(result.is_ok(), "{}", result.unwrap_err());
    }
}
