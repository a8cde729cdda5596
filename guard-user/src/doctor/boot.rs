//! How the boot loader of this machine is told what to start the kernel with.

use std::path::Path;

/// What is there of the kernel's own choice where it does not list it.
const USUAL: &str = "lockdown,capability,landlock,yama,apparmor";

/// The steps that add `bpf` to `modules`.
pub fn how_to_add_bpf(modules: &[String]) -> String {
    // `capability` is always there and always first; naming it does no harm.
    let list = if modules.is_empty() { USUAL.to_owned() } else { modules.join(",") };
    how_to_set(&format!("lsm={list},bpf"))
}

/// The steps that start the kernel with `parameter`.
pub fn how_to_set(parameter: &str) -> String {
    let exists = |path: &str| Path::new(path).exists();
    if exists("/usr/sbin/grubby") || exists("/sbin/grubby") {
        format!("grubby --update-kernel=ALL --args={parameter} && reboot")
    } else if exists("/etc/default/grub") {
        format!("add {parameter} to GRUB_CMDLINE_LINUX in /etc/default/grub, then: update-grub && reboot")
    } else if exists("/etc/kernel/cmdline") {
        format!("add {parameter} to /etc/kernel/cmdline, then: kernel-install add-all && reboot")
    } else {
        format!("boot with the kernel parameter {parameter}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_kept_and_bpf_added() {
        let modules = ["capability", "yama"].map(ToOwned::to_owned);
        assert!(how_to_add_bpf(&modules).contains("lsm=capability,yama,bpf"));
        assert!(how_to_add_bpf(&[]).contains(",bpf"));
    }
}
