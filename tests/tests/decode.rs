//! Garbage instead of records: an error, never a panic, and never a text from outside the record.

use guard::record::decode::{Body, decode};
use guard_common::event::{Attempt, Connect, Exec, Exit, Head, Kind, Open};
use proptest::prelude::*;

/// Length of the fixed part of a record of this kind.
fn fixed(kind: u8) -> usize {
    let body = match Kind::from_number(kind) {
        Some(Kind::Exec | Kind::Enrol | Kind::Moved) => size_of::<Exec>(),
        Some(Kind::Open) => size_of::<Open>(),
        Some(Kind::Connect) => size_of::<Connect>(),
        Some(Kind::Attempt) => size_of::<Attempt>(),
        Some(Kind::Exit) => size_of::<Exit>(),
        Some(Kind::Fork | Kind::Doomed) | None => 0,
    };
    size_of::<Head>() + body
}

fn texts(body: &Body) -> Vec<&[u8]> {
    match body {
        Body::Exec { path, cwd, session, call, argv, .. } => vec![&path[..], cwd, session, call, argv],
        Body::Open { path, .. } | Body::Connect { path, .. } => vec![path],
        Body::Attempt { path, new_path, .. } => vec![path, new_path],
        Body::Moved { path, cwd } => vec![path, cwd],
        Body::Fork | Body::Exit(_) | Body::Doomed => Vec::new(),
    }
}

/// Bytes whose kind is mostly a known one and whose lengths are mostly small, so that much of it decodes.
fn plausible() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![4 => Just(0_u8), 2 => 0..32_u8, 1 => any::<u8>()];
    (0..11_u8, prop::collection::vec(byte, 0..512)).prop_map(|(kind, mut bytes)| {
        let at = std::mem::offset_of!(Head, kind);
        if let Some(place) = bytes.get_mut(at) {
            *place = kind;
        }
        bytes
    })
}

/// What must be true of any bytes.
fn check(bytes: &[u8]) -> Result<(), TestCaseError> {
    let Ok(record) = decode(bytes) else { return Ok(()) };
    prop_assert!(Kind::from_number(record.head.kind).is_some());
    let fixed = fixed(record.head.kind);
    prop_assert!(bytes.len() >= fixed, "{} bytes were enough for {}", bytes.len(), fixed);
    // The texts are those that follow the fixed part, one after the other.
    let mut rest = &bytes[fixed..];
    for text in texts(&record.body) {
        prop_assert!(text.len() <= rest.len());
        prop_assert_eq!(text, &rest[..text.len()]);
        rest = &rest[text.len()..];
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..1024)) {
        check(&bytes)?;
    }

    #[test]
    fn bytes_that_look_like_records(bytes in plausible()) {
        check(&bytes)?;
    }

    #[test]
    fn a_record_cut_short_anywhere_is_refused(bytes in plausible(), cut in any::<prop::sample::Index>()) {
        if let Ok(record) = decode(&bytes) {
            let needed = fixed(record.head.kind) + texts(&record.body).iter().map(|text| text.len()).sum::<usize>();
            let cut = cut.index(needed);
            prop_assert!(decode(&bytes[..cut]).is_err(), "{cut} of {needed} bytes were enough");
        }
    }
}
