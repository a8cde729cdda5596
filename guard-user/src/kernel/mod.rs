//! The kernel side of user space: what the kernel offers, loading the programs, their maps.

mod asked;
mod backends;
mod bpf;
pub mod btf;
pub mod cgroup;
mod diagnostics;
mod gauge;
mod groups;
mod hooks;
pub mod kernelfs;
mod left;
mod load;
mod modify_return;
pub mod mounts;
mod offsets;
mod own;
pub mod pins;
mod preemption;
mod programs;
mod requirements;
mod signal;

pub use asked::{Asked, Unasked, how_asked, security_modules};
pub use backends::{Abilities, EXEC_BY_WORDS, Hold, OTHER_FAMILIES, Reach, blind, holds, sees_uring};
pub use gauge::Gauge;
pub use groups::whole_hierarchy;
pub use left::Left;
pub use load::{JUDGED_BY, Kernel, ProgramRun, Ring, Settings};
pub use offsets::{find as find_offsets, kernel_types};
pub use pins::{Folder, Pins};
pub use preemption::can_be_switched_off as can_do_without_preemption;
pub use requirements::{all as requirements, check as check_requirements};
pub use signal::Target;
