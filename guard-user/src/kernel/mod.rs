//! The kernel side of user space: what the kernel offers, loading the programs, their maps.

mod backends;
pub mod btf;
mod diagnostics;
mod gauge;
mod hooks;
mod left;
mod load;
pub mod mounts;
mod offsets;
pub mod pins;
mod programs;
mod requirements;
pub mod securityfs;
mod signal;

pub use backends::{
    Abilities, EXEC_BY_WORDS, Hold, OTHER_FAMILIES, Reach, blind, holds, lsm_in_force, security_modules, sees_uring,
};
pub use gauge::Gauge;
pub use left::Left;
pub use load::{Kernel, ProgramRun, Ring, Settings, cgroup_root};
pub use offsets::{find as find_offsets, kernel_types};
pub use pins::{Folder, Pins};
pub use requirements::{all as requirements, check as check_requirements};
pub use signal::Target;
