//! Every call that opens a file.

use crate::way::Class::Read;
use crate::way::Outcome::Open;
use crate::way::Part::Sh;
use crate::way::{Part, Way, way};

const fn opens(name: &'static str, tries: &'static str, attempt: Part) -> Way {
    way(Read, "secrets", name, tries, attempt)
}

/// The ways.
pub const WAYS: &[Way] = &[
    opens("cat", "reads the secret, plainly", Sh("cat denied/secret")),
    opens("open", "open(2), which no C library uses any more", Sh("$attempt read --by open denied/secret")),
    opens("openat2", "openat2(2)", Sh("$attempt read --by openat2 denied/secret")),
    opens("file-handle", "open_by_handle_at(2): no name is opened", Sh("$attempt read --by handle denied/secret"))
        .apart(),
    opens("o-path", "`O_PATH`, opened again through /proc/self/fd", Sh("$attempt read --by o-path denied/secret")),
    opens("open-32-bit", "open(2) by int 0x80, as 32-bit programs do", Sh("$attempt read --by compat denied/secret")),
    opens("io-uring", "io_uring's openat", Sh("$attempt read --by uring denied/secret")).older(Open),
    opens("io-uring-openat2", "io_uring's openat2", Sh("$attempt read --by uring2 denied/secret")).older(Open),
    opens(
        "io-uring-worker",
        "io_uring's openat, in a worker thread",
        Sh("$attempt read --by uring-async denied/secret"),
    )
    .older(Open),
    opens("io-uring-polled", "io_uring's openat, in its poller", Sh("$attempt read --by uring-polled denied/secret"))
        .older(Open),
    opens(
        "io-uring-table",
        "io_uring, into the ring's own table",
        Sh("$attempt read --by uring-fixed denied/secret"),
    )
    .older(Open),
    opens(
        "io-uring-chain",
        "io_uring: open, read and write out, handed over as one chain",
        Sh("$attempt read --by uring-chain denied/secret"),
    )
    .older(Open),
];
