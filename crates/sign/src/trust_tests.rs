use super::*;
use crate::{
    Role,
    tests::{ours, program, sign_as, theirs},
};
use types::Digest;

/// A list of one signature (`EFI_SIGNATURE_LIST`).
fn list(kind: Guid, what: &[u8]) -> Vec<u8> {
    let mut list = kind.to_vec();
    for number in [28 + 16 + what.len(), 0, 16 + what.len()] {
        list.extend((number as u32).to_le_bytes());
    }
    list.extend([7; 16]);
    list.extend(what);
    list
}

fn db(roles: &[Role]) -> Vec<u8> {
    roles.iter().flat_map(|role| variable::list(ours().certificate(*role), ours().owner())).collect()
}

#[test]
fn a_program_is_started_for_those_in_db_only() {
    let signed = sign_as(ours(), Role::Debug, &program());
    let both = Trust::read(&db(&[Role::Db, Role::Debug]), &[]).unwrap();
    assert_eq!(both.signer(&signed).unwrap(), ours().certificate(Role::Debug));
    let refused = |db: &[u8], program: &[u8]| Trust::read(db, &[]).unwrap().signer(program).unwrap_err().to_string();
    assert!(refused(&db(&[Role::Db]), &signed).contains("is not signed by the key of"));
    assert!(refused(&db(&[Role::Debug]), &sign_as(theirs(), Role::Debug, &program())).contains("is not signed by"));
    assert!(refused(&db(&[Role::Debug]), &program()).contains("is not signed"));
    assert!(refused(&[], &signed).contains("db, which is empty"));
}

#[test]
fn what_dbx_forbids_is_refused_whoever_has_signed_it() {
    let signed = sign_as(ours(), Role::Debug, &program());
    let (debug, allowed) = (ours().certificate(Role::Debug), db(&[Role::Db, Role::Debug]));
    let judged = |dbx: &[u8]| {
        let trust = Trust::read(&allowed, dbx).unwrap();
        trust.signer(&signed).map(Certificate::subject).map_err(|e| e.to_string())
    };
    let mut hashed = debug.signed_part().unwrap().as_bytes().to_vec();
    hashed.extend([0; 16]); // from the beginning
    for dbx in [list(X509, debug.der()), list(HASHED, &hashed)] {
        assert!(judged(&dbx).unwrap_err().contains("debug key, whom dbx forbids"));
    }
    let digest = efi::digest(&program()).unwrap();
    assert!(judged(&list(PROGRAM, digest.as_bytes())).unwrap_err().contains("forbidden by its digest in dbx"));
    let mut others = list(PROGRAM, Digest::of(b"another").as_bytes());
    others.extend(list(X509, theirs().certificate(Role::Debug).der()));
    assert_eq!(judged(&others), Ok(debug.subject()));
    let unknown = Trust::read(&allowed, &list([3; 16], &[0; 64])).unwrap_err().to_string();
    assert!(unknown.contains("of a kind that is not known"), "{unknown}");
    assert!(Trust::read(&allowed, &others[..60]).is_err());
}

#[test]
fn a_signature_counts_by_whom_db_has_and_dbx_has_not() {
    let (digest, debug) = (Digest::of(b"words"), ours().certificate(Role::Debug));
    let wanted = crate::Wanted::new("words", Role::Debug, debug, digest);
    let signature = ours().sign(&[wanted]).unwrap().remove(0);
    let judged = |db: &[u8], dbx: &[u8]| {
        let trust = Trust::read(db, dbx).unwrap();
        trust.voucher(&digest, &signature).cloned().map_err(|e| e.to_string())
    };
    let both = db(&[Role::Db, Role::Debug]);
    assert_eq!(&judged(&both, &list(X509, ours().certificate(Role::Db).der())).unwrap(), debug);
    assert!(judged(&both, &list(X509, debug.der())).unwrap_err().ends_with("debug key is forbidden by dbx"));
    assert!(judged(&db(&[Role::Db]), &[]).unwrap_err().starts_with("it is by none of CN="));
    assert_eq!(judged(&[], &[]).unwrap_err(), "it is by none of those in db, which is empty");
    let trust = Trust::read(&both, &[]).unwrap();
    assert!(trust.voucher(&Digest::of(b"other words"), &signature).is_err() && !trust.is_empty());
}
