//! Finds out where the running kernel keeps what the programs read.

use anyhow::{Context as _, bail};
use guard_common::offsets::{ABSENT, Offsets};

use super::btf::{Types, VMLINUX};

/// Reads the running kernel's types.
///
/// # Errors
/// Says that this kernel offers none, or that they can't be read.
pub fn kernel_types() -> anyhow::Result<Types> {
    let data = std::fs::read(VMLINUX).with_context(|| {
        format!(
            "{VMLINUX} can't be read: this kernel has no BTF. guard needs one built with CONFIG_DEBUG_INFO_BTF=y, as \
             the kernels of Debian, Ubuntu, Fedora and RHEL are"
        )
    })?;
    Types::parse(data).with_context(|| format!("{VMLINUX} is not well formed"))
}

/// Looks every member up.
///
/// # Errors
/// Names each member that guard can't do without and this kernel does not have.
pub fn find(types: &Types) -> anyhow::Result<Offsets> {
    let mut offsets = Offsets::NONE;
    let mut missing = Vec::new();
    for (path, required, offset) in offsets.members() {
        // Members that have been renamed have a name for each time.
        match path.split('|').find_map(|name| types.offset_of(name)) {
            Some(found) => *offset = found,
            None if required => missing.push(path),
            None => *offset = ABSENT,
        }
    }
    if !missing.is_empty() {
        bail!("this kernel's BTF does not have {}: guard does not know this kernel", missing.join(", "));
    }
    if offsets.dentry_name != offsets.dentry_parent + 8 {
        bail!(
            "in this kernel, dentry.d_name (at {}) does not follow dentry.d_parent (at {}): guard does not know this kernel",
            offsets.dentry_name,
            offsets.dentry_parent
        );
    }
    Ok(offsets)
}
