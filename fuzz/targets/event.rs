//! Any bytes as a record of the kernel's: decoded or refused, and never read beyond their end.
#![no_main]

use guard::record::decode::{Body, decode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(record) = decode(bytes) else { return };
    let texts: Vec<&[u8]> = match &record.body {
        Body::Exec { path, cwd, session, call, argv, .. } => vec![path, cwd, session, call, argv],
        Body::Open { path, .. } | Body::Connect { path, .. } => vec![path],
        Body::Fork | Body::Exit(_) | Body::Doomed => Vec::new(),
    };
    // The texts are the record's last bytes, in this order.
    let joined = texts.concat();
    assert!(bytes.windows(joined.len().max(1)).any(|window| window == joined) || joined.is_empty());
    // What is missing is noticed.
    let fixed = bytes.len() - joined.len().min(bytes.len());
    if let Some(shorter) = fixed.checked_sub(1) {
        drop(decode(&bytes[..shorter]));
    }
});
